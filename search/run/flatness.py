"""When further trials are unlikely to gain: how often that is estimated, and what follows. Pure.

Each estimate is an event of the journal, so that a resumed run, the page and a reader a year later have the
same numbers, and a search that ends because of one is ended by its journal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from search.ledger.history import ExpectedGain, History
from search.space import Space

# Before four trials have completed the ladder the model guesses where curves end: on recorded curves,
# searches that ended after two or three lost up to 0.28 of regret, and those that ended later lost none.
_FEWEST_FINISHED, _FEWEST_TRIALS = 4, 20
_GROWTH_PERCENT = 10  # of all epochs, from one estimate to the next: each costs a fit, 0.2 s at most
FLAT = "further trials are unlikely to gain"
_IN_A_ROW = 2  # estimates, since new configurations are drawn at random


class Flatness:
    """Whether a run's further trials are unlikely to gain, by the estimates in its journal.

    Args:
        is_estimated: Make further estimates. None make sense for a list, which is trained whole, or for
            made-up scores; with several objectives, whose gain is no number, none are made in any case.
    """

    def __init__(self, space: Space, history: History, *, is_estimated: bool) -> None:
        self._space, self._history = space, history
        self._is_estimated = is_estimated and len(space.modes) == 1

    @property
    def reason(self) -> str:
        """Why further trials are unlikely to gain anything; empty as long as one may."""
        return flat_reason(self._history.gains, self._space.metric)

    @property
    def end_reason(self) -> str | None:
        """Why the run ends because of it, if the space asks for that; None otherwise."""
        is_asked = self._space.limits.stop_when_flat and self._is_estimated
        return f"{FLAT}: {reason}" if is_asked and (reason := self.reason) else None

    def estimate_if_due(self, num_finished: int) -> Mapping[str, Any] | None:
        """Return the content of an estimate's event; None if none is due, or none can be made.

        Args:
            num_finished: Trials that have completed the ladder.
        """
        num_trials = len(self._history.trials)
        if not self._is_estimated or not is_due(
            self._history, num_trials=num_trials, num_finished=num_finished
        ):
            return None
        return gain_estimate(self._space, self._history)


def is_due(history: History, *, num_trials: int, num_finished: int) -> bool:
    """Whether to estimate the gain of further trials now.

    Args:
        num_finished: Trials that have completed the ladder.
    """
    latest = history.gains[-1].num_epochs if history.gains else 0
    grown = 100 * history.epochs_at_end >= (100 + _GROWTH_PERCENT) * latest
    has_enough = num_finished >= _FEWEST_FINISHED and num_trials >= _FEWEST_TRIALS
    return has_enough and grown


def gain_estimate(space: Space, history: History) -> Mapping[str, Any] | None:
    """The content of an estimate's event; None if no estimate can be made."""
    from search.freeze_thaw.expected_gain import expected_gain  # SciPy: 0.5 s, and short runs need none

    if (gain := expected_gain(space, history)) is None:
        return None
    estimate = ExpectedGain(
        num_trials=len(history.trials),
        num_epochs=history.epochs_at_end,
        expected_gain=_rounded(gain.expected),
        least_gain=_rounded(gain.least),
        least_is=gain.least_is,
    )
    return asdict(estimate)


def _rounded(number: float) -> float:
    return float(f"{number:.6g}")


def flat_reason(gains: Sequence[ExpectedGain], metric: str) -> str:
    """Why further trials are unlikely to gain anything; empty as long as one may.

    Args:
        gains: All estimates of a run, the latest last.
    """
    latest = gains[-_IN_A_ROW:]
    if len(latest) < _IN_A_ROW or not all(each.is_flat for each in latest):
        return ""
    gain = latest[-1]
    return (
        f"the most promising one is expected to gain {gain.expected_gain:.2g} of {metric}, "
        f"less than {gain.least_gain:.2g}, {gain.least_is}"
    )
