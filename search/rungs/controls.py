"""Control trials: what they may cost, and what they say about the rankings that they did not follow. Pure.

A control trial continues whatever its value. What bounds them is the training they use, not their number:
when one result in twenty continued, whatever its rung, control trials took 10 to 33 % of a search's epochs,
because a single one near the top costs as much as fifty at the bottom. So a fraction of what the search has
spent is divided equally among the rungs that may have any.

Control trials and those that continued on merit have scores at two rungs, from which the rank correlation of
the two is estimated. These trials are few, and they are selected: with the epochs of ten full trainings four
trials reach the top, most of them sent there by the ranking in question. Neither matters to a regression of
the upper score on the lower one, which is what this is: with s the normal score of a trial's rank at the
lower rung, among all that completed it, one trial ends above another with probability

    Phi(rho (s - s') / sqrt(2 (1 - rho²)))        at a rank correlation of rho,

and a prior over several values of rho is updated by these likelihoods. Pairs of n trials overlap: the
n (n - 1) / 2 of them are worth n - 1. Three trials decide nothing unless one that was ranked low wins, which
is why the default configuration, chosen by no ranking, is trained to the end early. This is in the spirit of
Hyper-Tune (Li et al. 2022, arXiv 2201.06834), which weighs the brackets of Hyperband by how far their ranks
agree with the top's.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from statistics import NormalDist

from search.rungs.results import Results

_NORMAL = NormalDist()
_FEWEST = 2  # trials that have completed both rungs
_MOST_PAIRS = 30  # the latest trials only: the cost of a decision must not grow with the search
_WEAK_FROM = 0.5  # probability above which a ranking is treated as weak
WEAK = 0.4  # a rank correlation below which a ranking is not worth following
# The prior: probabilities of rank correlations before anything is observed. In ten tables of recorded curves
# the first epoch's with the last is 0.05 to 0.85, and 0.64 to 0.99 after a third of the epochs.
_BEFORE = {-0.6: 0.04, -0.3: 0.05, 0.0: 0.08, 0.3: 0.10, 0.5: 0.15, 0.7: 0.25, 0.85: 0.23, 0.95: 0.10}


class Controls:
    """The cost of the control trials so far, and whether another one can be afforded.

    Args:
        fraction: The largest fraction of all training that control trials may use.
        costs: Cost of completing each rung from the one below it, in any unit.
    """

    def __init__(self, fraction: float, costs: Sequence[float]) -> None:
        self._fraction, self._costs = fraction, costs
        self._spent = 0.0
        self._taken = [0.0] * len(costs)
        self._trials: set[str] = set()

    def on_result(self, rung: int) -> None:
        """Record that a trial has completed `rung`."""
        self._spent += self._costs[rung]

    def take(self, trial_id: str, rung: int, *, top: int, has_finished: bool) -> bool:
        """Return whether a trial that would pause or stop at `rung` continues as a control; if so, charge it.

        It continues by one rung and no more, and to the two highest rungs only once a trial has completed the
        ladder: until then the cost is better spent on having a trained model at all.

        Args:
            top: The highest rung that trials go to now.
            has_finished: Whether a trial has completed the ladder.
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


class WeakRungs:
    """The rungs whose ranking appears weak, judged by the trials that have completed a higher rung too.

    Args:
        results: The results of each rung, lowest first, of trials that were judged there.
        can_skip_rungs: Look for weak rankings; if not, every ranking is trusted.
    """

    def __init__(self, results: Sequence[Results], *, can_skip_rungs: bool) -> None:
        self._results, self._can_skip_rungs = results, can_skip_rungs
        self._unjudged: list[dict[str, float]] = [{} for _ in results]
        self._weakness = [0.0] * len(results)  # by rung, the probability that its ranking is weak

    @property
    def lowest_trusted(self) -> int:
        """The lowest rung above all whose ranking appears weak.

        A rung is compared with the highest one that enough of its trials have completed, not with the next:
        the ranks of epochs 1 and 3 agree in any search, and both may say nothing about the last epoch.
        """
        return (
            max((rung for rung, chance in enumerate(self._weakness) if chance > _WEAK_FROM), default=-1) + 1
        )

    def on_unjudged(self, trial_id: str, rung: int, value: float) -> None:
        """Record the score of a trial at a rung below its bracket, where it is not ranked."""
        self._unjudged[rung][trial_id] = value

    def on_result(self, upper: int) -> None:
        """Update, for each rung below `upper`, the probability that its ranking says little about `upper`'s.

        Call it when `upper` has a new result. Nothing changes if enough trials have completed a higher rung.

        It is computed here, not when it is needed, so that it depends on the results alone and not on when
        it is read.
        """
        if not self._can_skip_rungs or any(len(each) >= _FEWEST for each in self._results[upper + 1 :]):
            return
        latest = list(self._results[upper].scores.items())[-_MOST_PAIRS:]
        for rung, ranked in enumerate(self._results[:upper]):
            pairs = [
                (ranked.percentile(lower), score[0])
                for trial_id, score in latest
                if (lower := self._unjudged[rung].get(trial_id, ranked.value(trial_id))) is not None
            ]
            if len(pairs) >= _FEWEST:
                self._weakness[rung] = chance_of_weakness(*zip(*pairs, strict=True))


def chance_of_weakness(percentiles: Sequence[float], upper: Sequence[float]) -> float:
    """Return the probability that two rungs' rank correlation is weak, given the trials that completed both.

    Args:
        percentiles: For each trial, the fraction of all trials at the lower rung that are worse, in (0, 1).
        upper: The trials' scores at the upper rung; larger is better.
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
    """Return the log-likelihood of all pairs, given how much higher each winner ranked at the lower rung."""
    scale = rho / math.sqrt(2 * (1 - rho * rho))
    return sum(math.log(max(_NORMAL.cdf(scale * gap), 1e-12)) for gap in gaps)
