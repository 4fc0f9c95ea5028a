"""Whether scores are better than guessing: the best score possible without any input. Pure.

It is the share of the commonest class for accuracy, for example. A model that has learnt nothing scores like
this, and on a skewed data set that seems a success: 0.9 where nine in ten are healthy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from search.intervals import CONFIDENCE, Interval, score_interval
from search.ranking import Configuration
from search.space import Space
from trainables.core.contract import Mode, by_guessing, num_examples

NO_BETTER = "no better than guessing"
REMEDY = (
    "nothing was learnt that holds on unseen data: start from pretrained weights (weights: hub), give more "
    "epochs, pixels or examples (--budget-epochs, --budget-size, --budget-subset), and check whether the "
    "model can overfit a few examples (scripts/train.py --smoke)"
)


@dataclass(frozen=True, kw_only=True)
class AgainstGuessing:
    """The best trial of a search against guessing, on validation.

    Attributes:
        guessing: The score of guessing.
        num_examples: Size of the validation set; None if the trainable does not report it.
        interval: Interval of the best score, widened because it is the best of many.
        num_compared: Number of configurations with a score.
    """

    guessing: float
    num_examples: int | None
    interval: Interval
    num_compared: int
    is_better: bool | None


def scored_set(
    space: Space, value_of: Callable[[str], float | None], metric: str
) -> tuple[float | None, int | None]:
    """The score of guessing on the set that `metric` was scored on, and the number of its examples.

    Args:
        value_of: Gives the value of a metric by name; None if there is none.
    """
    guessing = value_of(by_guessing(metric))
    count = value_of(num_examples(metric))
    # A trainable reports it for the set it scored; the scale has what holds for any set, such as 0.5 for AUC.
    known = space.scale.guessing if guessing is None else guessing
    return known, None if count is None else round(count)


def is_better_than_guessing(interval: Interval, guessing: float | None, mode: Mode) -> bool | None:
    """Whether guessing is outside the interval, on its worse side; None if that is unknown."""
    if guessing is None:
        return None
    sign = 1 if mode == "max" else -1
    if sign * (interval.mean - guessing) <= 0:  # decided without an interval
        return False
    end = interval.low if mode == "max" else interval.high
    return None if end is None else sign * (end - guessing) > 0


def against_guessing(space: Space, best: Configuration, *, num_compared: int) -> AgainstGuessing | None:
    """The best trial against guessing; None if the score of guessing is unknown.

    The best of many scores is high by chance too: with k configurations its interval is one of
    1 - 0.05 / k (Bonferroni), so that at most 5 % of searches that learn nothing appear to have learnt.
    """
    guessing, count = scored_set(space, best.first.value, space.metric)
    if guessing is None:
        return None
    confidence = 1 - (1 - CONFIDENCE) / max(1, num_compared)
    interval = score_interval(best.values, space.scale, count, confidence=confidence)
    return AgainstGuessing(
        guessing=guessing,
        num_examples=count,
        interval=interval,
        num_compared=num_compared,
        is_better=is_better_than_guessing(interval, guessing, space.mode),
    )
