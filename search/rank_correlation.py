"""Whether cheap scores can be trusted: the rank correlation between rungs, with its uncertainty. Pure.

Ranking at a low rung is a proxy for ranking at a high one: this is the proxy rank correlation of
multi-fidelity search. Over all trials it is optimistic, since any proxy detects a learning rate that is far
too low, so it is also computed over the better half, where the winner is decided.

Only trials that completed both rungs can be compared, and most of those continued because the lower rung
ranked them high. Control trials, which continue whatever their value, add the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from search.intervals import correlation_interval
from search.ledger.history import TrialRecord

_FEWEST = 4  # three pairs can only have a rank correlation of -1, -0.5, 0.5 or 1
# At 0.5 two in three pairs of trials are ranked alike (Kendall 0.35 for normal scores); a coin gets one in
# two.
_WEAK = 0.5
_STRONG = 0.8  # an interval from below 0.5 up to here cannot decide


@dataclass(frozen=True)
class Correlation:
    """Spearman's rank correlation with its 95 % interval over trials, by Fisher's z (Bonett and Wright 2000).

    A bootstrap over trials would have no width if a few trials agree perfectly: with 1.00 (1.00 to 1.00)
    four trials would prove everything.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class RungCorrelation:
    """How well a rung's ranking agrees with the next one's, over the trials that completed both.

    Attributes:
        num_control_trials: How many of them continued only as control trials.
        overall: Correlation over all of them; None with fewer than four.
        better_half: Correlation over the half that the lower rung ranks higher; None with fewer than four.
    """

    rung: int
    num_trials: int
    num_control_trials: int
    overall: Correlation | None
    better_half: Correlation | None

    @property
    def decisive(self) -> Correlation | None:
        """The correlation over the better half if it has enough trials, else over all."""
        return self.better_half or self.overall

    @property
    def is_sure(self) -> bool:
        """Whether the rung ranks like the one above it even at the low end of the interval."""
        return self.decisive is not None and self.decisive.low >= _WEAK

    @property
    def warning(self) -> str | None:
        """Why the lower rung's ranking cannot be trusted; None if nothing speaks against it."""
        decisive = self.decisive
        if decisive is None or decisive.value >= _WEAK:
            return None
        half = "the better half of " if self.better_half else ""
        trials = f"{half}{self.num_trials} trials"
        interval = f"(Spearman {decisive.value:.2f}, {decisive.low:.2f} to {decisive.high:.2f})"
        rung, above = f"rung {self.rung}", f"rung {self.rung + 1}"
        if decisive.high >= _STRONG:
            return f"too few to tell whether {rung} ranks {trials} like {above} {interval}"
        return (
            f"{rung} ranks {trials} unlike {above} {interval}: "
            f"give the lower rung more epochs or data, or lower eta, so that more trials continue"
        )


def rung_correlations(
    trials: Sequence[TrialRecord], metric: str, mode: str, *, num_rungs: int
) -> list[RungCorrelation]:
    """Return the correlation of each rung but the top one with the next, lowest first."""
    return [_between(trials, metric, mode, rung) for rung in range(num_rungs - 1)]


def spearman(first: Sequence[float], second: Sequence[float]) -> float:
    """Return Spearman's rank correlation of two lists of equal length; 0 if one of them is constant."""
    import numpy as np
    from scipy import stats  # 0.5 s to import, and only the end of a run needs it

    ranks = stats.rankdata(np.asarray([first, second], dtype=float), axis=-1)  # (2, length)
    ranks -= ranks.mean(axis=-1, keepdims=True)
    # Ties share their mean rank, so this is Pearson's correlation of the ranks, not 1 - 6 Σd² / (n³ - n).
    spread = float(np.sqrt((ranks**2).sum(axis=-1).prod()))
    return float(ranks.prod(axis=0).sum()) / spread if spread else 0.0


def _between(trials: Sequence[TrialRecord], metric: str, mode: str, rung: int) -> RungCorrelation:
    sign = 1 if mode == "max" else -1
    both = [
        (sign * low, sign * high, rung in trial.control_rungs)
        for trial in trials
        if (low := trial.value_at(metric, rung)) is not None
        and (high := trial.value_at(metric, rung + 1)) is not None
    ]
    both.sort(key=lambda pair: -pair[0])
    pairs = [(low, high) for low, high, _ in both]
    return RungCorrelation(
        rung=rung,
        num_trials=len(pairs),
        num_control_trials=sum(is_control for _, _, is_control in both),
        overall=_correlation(pairs),
        # Halved in the lower rung's order: halving in the higher one's would hide trials that it misjudged.
        better_half=_correlation(pairs[: (len(pairs) + 1) // 2]),
    )


def _correlation(pairs: Sequence[tuple[float, float]]) -> Correlation | None:
    if len(pairs) < _FEWEST:
        return None
    value = spearman(*zip(*pairs, strict=True))
    found = correlation_interval([value], len(pairs), "spearman")
    assert found.low is not None
    assert found.high is not None
    return Correlation(value, found.low, found.high)
