"""Whether scores are better than guessing, which looks at no input. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from search.intervals import CONFIDENCE, Interval, score_interval
from search.ranking import Configuration
from search.space import Space
from trainables.core.contract import Mode, by_guessing, num_examples

NO_BETTER = "no better than guessing"
REMEDY = (
    "nothing was learnt that shows on held-out data: start from pretrained weights (weights: hub), give more "
    "epochs, pixels or examples (--budget-epochs, --budget-size, --budget-subset), and look whether a few "
    "examples can be learnt at all (scripts/train.py --smoke)"
)


@dataclass(frozen=True, kw_only=True)
class AgainstGuessing:
    """The best trial of a search against guessing, on validation.

    Attributes:
        guessing: What guessing comes to.
        num_examples: Of validation; None where the trainable does not say.
        interval: Of the best score. It counts that the score is the best of many.
        num_compared: How many configurations had a score.
    """

    guessing: float
    num_examples: int | None
    interval: Interval
    num_compared: int
    is_better: bool | None


def scored_set(
    space: Space, value_of: Callable[[str], float | None], metric: str
) -> tuple[float | None, int | None]:
    """What guessing comes to on the set that `metric` was scored on, and how many examples it has.

    Args:
        value_of: The score of a name; None where there is none.
    """
    guessing = value_of(by_guessing(metric))
    count = value_of(num_examples(metric))
    known = space.scale.guessing if guessing is None else guessing
    return known, None if count is None else round(count)


def is_better_than_guessing(interval: Interval, guessing: float | None, mode: Mode) -> bool | None:
    """Whether guessing lies outside the interval on its worse side; None where that is unknown."""
    if guessing is None:
        return None
    sign = 1 if mode == "max" else -1
    if sign * (interval.mean - guessing) <= 0:
        return False
    end = interval.low if mode == "max" else interval.high
    return None if end is None else sign * (end - guessing) > 0


def against_guessing(space: Space, best: Configuration, *, num_compared: int) -> AgainstGuessing | None:
    """The best trial against guessing; None where it is unknown what guessing comes to.

    The best of many scores is high by chance too: with k configurations its interval is one of
    1 - 0.05 / k (Bonferroni), so that of searches that learn nothing at most 5 % look as if they had.
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
