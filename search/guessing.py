"""Whether scores are better than guessing: the best score possible without any input. Pure.

For accuracy, for example, it is the fraction of the commonest class. A model that has learnt nothing scores
like this, and on a skewed data set that looks like a success: 0.9 if nine in ten are healthy.

A rung at which all trials score like this does not tell which of them would learn, and ranks them by chance.
On 428 photographs an epoch is 27 steps or fewer, which teach a network without pretrained weights little: of
16 trials 12 scored exactly 0.5 there, the oldest of them continued, and the search ended at 0.80 where Ray
Tune's ASHA, which lets all ties pass, reached 0.96.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from search.intervals import CONFIDENCE, Interval, score_interval
from search.ranking import Configuration
from search.space import Space
from trainables.core.contract import Mode, by_guessing, num_examples

NO_BETTER = "no better than guessing"
REMEDY = (
    "nothing was learnt that holds on unseen data: start from pretrained weights (weights: hub), give more "
    "epochs, pixels or examples (--budget-epochs, --budget-size, --budget-subset), and check whether the "
    "model can overfit a few examples (train --smoke)"
)


@dataclass(frozen=True, kw_only=True)
class AgainstGuessing:
    """The best trial of a search against guessing, on validation.

    Attributes:
        guessing: The score of guessing.
        num_examples: Size of the validation set; None if the trainable does not report it.
        interval: Interval of the best score, widened because it is the best of many.
        num_compared: Number of configurations with a score.
        is_better: Whether the best trial is better than guessing; None if the interval does not tell.
    """

    guessing: float
    num_examples: int | None
    interval: Interval
    num_compared: int
    is_better: bool | None


def scored_set(
    space: Space, value_of: Callable[[str], float | None], metric: str
) -> tuple[float | None, int | None]:
    """Return the score of guessing on the set that `metric` was scored on, and that set's number of examples.

    Args:
        value_of: Returns the value of a metric by name; None if there is none.
    """
    guessing = value_of(by_guessing(metric))
    count = value_of(num_examples(metric))
    # A trainable reports it for the set it scored; the scale has scores that hold for any set: 0.5 for AUC.
    known = space.scale.guessing if guessing is None else guessing
    return known, None if count is None else round(count)


def is_better_than_guessing(interval: Interval, guessing: float | None, mode: Mode) -> bool | None:
    """Whether guessing lies outside the interval on its worse side; None if that is unknown."""
    if guessing is None:
        return None
    sign = 1 if mode == "max" else -1
    if sign * (interval.mean - guessing) <= 0:  # decided without an interval
        return False
    end = interval.low if mode == "max" else interval.high
    return None if end is None else sign * (end - guessing) > 0


def against_guessing(space: Space, best: Configuration, *, num_compared: int) -> AgainstGuessing | None:
    """Compare the best trial with guessing; None if the score of guessing is unknown.

    The best of many scores is high by chance too: with k configurations its interval is one of
    1 - 0.05 / k (Bonferroni), so that at most 5 % of searches that learn nothing appear to have learnt.
    """
    return _against_guessing(space, best.values, best.first.value, num_compared)


def _against_guessing(
    space: Space, values: Sequence[float], value_of: Callable[[str], float | None], num_compared: int
) -> AgainstGuessing | None:
    guessing, count = scored_set(space, value_of, space.metric)
    if guessing is None:
        return None
    confidence = 1 - (1 - CONFIDENCE) / max(1, num_compared)
    interval = score_interval(values, space.scale, count, confidence=confidence)
    return AgainstGuessing(
        guessing=guessing,
        num_examples=count,
        interval=interval,
        num_compared=num_compared,
        is_better=is_better_than_guessing(interval, guessing, space.mode),
    )


_FEWEST_AT_CHANCE = 4  # one is the default configuration, which learns if any does


class ChanceLevel:
    """The best score so far at the end of each rung, compared with guessing."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self._sign = 1 if space.mode == "max" else -1
        self._best: dict[int, Mapping[str, float]] = {}
        self._counts: Counter[int] = Counter()
        self._beaten: set[int] = set()  # permanent: a hundred more that guess do not undo it

    def on_result(self, rung: int, metrics: Mapping[str, float]) -> bool:
        """Record a trial's scores at the end of `rung`; return whether none there is better than guessing.

        False as long as fewer than four trials have completed the rung, and if the score of guessing or the
        size of the validation set is unknown.
        """
        if rung in self._beaten:
            return False
        metric, best = self._space.metric, self._best.get(rung)
        is_best = best is None or self._sign * (metrics[metric] - best[metric]) > 0
        if is_best:
            self._best[rung] = metrics
        self._counts[rung] += 1
        count = self._counts[rung]
        if count < _FEWEST_AT_CHANCE:
            return False
        if is_best or count == _FEWEST_AT_CHANCE:  # with more trials an older best only looks worse
            best = self._best[rung]
            found = _against_guessing(self._space, [best[metric]], best.get, count)
            if found is None or found.is_better is not False:
                self._beaten.add(rung)
        return rung not in self._beaten
