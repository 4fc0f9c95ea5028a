"""Whether decisions follow the ranks at rungs or the model: whichever ranked trials better lately. Pure.

The comparison is prequential, so nothing is scored after the fact: each time a trial reaches an epoch of the
grid, both have already predicted its rank among those that reached it. The rungs predict the rank that it had
one step earlier, the model the rank of its mean. The one whose last twenty predictions agree better with the
ranks observed gets more of the decisions.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from search.rank_correlation import spearman

_WINDOW, _FEWEST_SEEN, _FEWEST_OTHERS = 20, 8, 4
_RATE = 0.1
_LEAST, _MOST = 0.2, 0.9  # each always decides some, since one that is never asked cannot win back


class Guard:
    """The fraction of decisions that follow the ranks at rungs.

    Args:
        share: The fraction to begin with.

    Attributes:
        share: The current fraction.
        num_foreseen: Number of values that the model had predicted.
        num_covered: Number of these values that lay within its 80 % interval.
    """

    def __init__(self, share: float) -> None:
        self.share = share
        self.num_foreseen = self.num_covered = 0
        self._seen: deque[tuple[float, float, float]] = deque(maxlen=_WINDOW)

    @property
    def losses(self) -> tuple[float, float] | None:
        """One minus the rank correlation with the outcomes, for rungs and model; None if they are too few."""
        if len(self._seen) < _FEWEST_SEEN:
            return None
        came, by_rungs, by_model = zip(*self._seen, strict=True)
        return 1 - spearman(came, by_rungs), 1 - spearman(came, by_model)

    def on_arrival(
        self,
        value: float,
        expected: float,
        others: Sequence[float],
        before: float,
        others_before: Sequence[float],
        *,
        is_covered: bool,
    ) -> None:
        """Record that a trial has reached an epoch of the grid.

        Args:
            value: Its value there.
            expected: The model's prediction of `value`.
            others: Values of the trials that reached the epoch before it.
            before, others_before: The same values one step of the grid earlier.
            is_covered: Whether `value` lies within the model's 80 % interval.
        """
        self.num_foreseen += 1
        self.num_covered += is_covered
        if len(others) < _FEWEST_OTHERS:
            return
        ranks = (_rank(value, others), _rank(before, others_before), _rank(expected, others))
        self._seen.append(ranks)
        if losses := self.losses:
            by_rungs, by_model = losses
            self.share = min(_MOST, max(_LEAST, self.share + _RATE * (by_model - by_rungs)))


def _rank(value: float, others: Sequence[float]) -> float:
    """Return the fraction of the others that are worse, counting half of the equal ones."""
    return sum((other < value) + 0.5 * (other == value) for other in others) / len(others)
