"""Control trials: what they may cost, and what they say of the rung's ranking that they did not follow. Pure.

A control trial continues although its value does not let it. Their number is bounded by what they train, not
by how many they are: one result in twenty let on, whatever its rung, took 10 to 33 % of a search's epochs,
because a single one near the top costs as much as fifty at the bottom. So each rung that may have any shares
equally in a fraction of what the search has spent.

They and the trials that a rung promoted have scores at two rungs, of which the rank correlation of the two is
estimated. These trials are few and chosen: of ten full trainings' epochs four trials reach the top, and most
were sent there by the ranking in question. Neither matters to a regression of the upper score on the lower
one, which is what this is: with s the normal score of a trial's rank at the lower rung, among all that
completed it, one trial ends above another with probability

    Phi(rho (s - s') / sqrt(2 (1 - rho²)))        at a rank correlation of rho,

and the chances of several rho, before and after, are compared. Pairs of n trials overlap: n (n - 1) / 2 of
them are worth n - 1. Three trials decide nothing unless one that was ranked low wins: that is why the default
configuration, which no ranking has chosen, is trained to the end early. In the spirit of Hyper-Tune (Li et
al. 2022, arXiv 2201.06834), which weighs the brackets of Hyperband by how far their ranks agree with the
top's.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from statistics import NormalDist

_NORMAL = NormalDist()
FEWEST = 2  # trials that have completed both rungs
WEAK = 0.4  # a rank correlation below which a ranking is not worth following
# Rank correlations, and how likely each is before anything is seen: of ten tables of recorded curves, that of
# the first epoch with the last is 0.05 to 0.85, of a third of the epochs 0.64 to 0.99.
_BEFORE = {-0.6: 0.04, -0.3: 0.05, 0.0: 0.08, 0.3: 0.10, 0.5: 0.15, 0.7: 0.25, 0.85: 0.23, 0.95: 0.10}


class Controls:
    """What control trials have cost so far, and whether one more may be afforded.

    Args:
        fraction: Of what all trials have trained, the most that control trials may.
        costs: What it takes to complete each rung from the one below it, in any unit.
    """

    def __init__(self, fraction: float, costs: Sequence[float]) -> None:
        self._fraction, self._costs = fraction, costs
        self._spent = 0.0
        self._taken = [0.0] * len(costs)
        self._trials: set[str] = set()

    def on_result(self, rung: int) -> None:
        """Take in that a trial has completed `rung`."""
        self._spent += self._costs[rung]

    def take(self, trial_id: str, rung: int, *, top: int, has_finished: bool) -> bool:
        """Whether a trial that pauses or stops at `rung` continues to the next one; then it is paid for.

        It goes one rung further and no more, and to the two highest rungs only once a trial has ended the
        ladder: before that, what they take is better spent on having a trained model at all.

        Args:
            top: The highest rung that trials go to now.
            has_finished: A trial has ended the ladder.
        """
        last = top - 1 if has_finished else len(self._costs) - 4
        num_rungs, cost = min(last, top - 1) + 1, self._costs[min(rung + 1, len(self._costs) - 1)]
        if not self._fraction or rung >= num_rungs or trial_id in self._trials:
            return False
        allowed = self._fraction * self._spent
        if self._taken[rung] + cost > allowed / num_rungs or sum(self._taken) + cost > allowed:
            return False
        self._taken[rung] += cost
        self._trials.add(trial_id)
        return True


def chance_of_weakness(percentiles: Sequence[float], upper: Sequence[float]) -> float:
    """How likely it is that the rank correlation of two rungs is weak, given the trials that completed both.

    Args:
        percentiles: Of each trial the share of all trials at the lower rung that are worse, in (0, 1).
        upper: Its score at the upper rung, larger is better.
    """
    scores = [_NORMAL.inv_cdf(share) for share in percentiles]
    pairs = [
        scores[one] - scores[other] if upper[one] > upper[other] else scores[other] - scores[one]
        for one, other in itertools.combinations(range(len(scores)), 2)
        if upper[one] != upper[other]
    ]
    worth = 2 / max(len(scores), 1)
    logs = {rho: math.log(share) + worth * _log_chance(rho, pairs) for rho, share in _BEFORE.items()}
    most = max(logs.values())
    after = {rho: math.exp(each - most) for rho, each in logs.items()}
    return sum(share for rho, share in after.items() if rho < WEAK) / sum(after.values())


def _log_chance(rho: float, gaps: Sequence[float]) -> float:
    """Of every pair, given how much higher its winner was ranked below."""
    scale = rho / math.sqrt(2 * (1 - rho * rho))
    return sum(math.log(max(_NORMAL.cdf(scale * gap), 1e-12)) for gap in gaps)
