"""Who is trusted with decisions, the ranks at rungs or the model: what ranked trials better lately. Pure.

Prequential, as nothing is scored after the fact: each time a trial reaches an epoch of the grid, both have
said before what its rank among those that reached it will be. The rungs say the rank it had one step earlier,
the model what its mean predicts. The one whose last twenty ranks agree better with those that came gets more
of the decisions.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from search.rank_correlation import spearman

_WINDOW, _FEWEST_SEEN, _FEWEST_OTHERS = 20, 8, 4
_RATE = 0.1
_LEAST, _MOST = 0.2, 0.9  # either always decides some: who is never asked can never win back


class Guard:
    """The share of decisions that ranks at rungs make.

    Args:
        share: To begin with.

    Attributes:
        share: Now.
        num_foreseen: Values of which the model had said what they would be.
        num_covered: Those that came to lie within its 80 % interval.
    """

    def __init__(self, share: float) -> None:
        self.share = share
        self.num_foreseen = self.num_covered = 0
        self._seen: deque[tuple[float, float, float]] = deque(maxlen=_WINDOW)

    @property
    def losses(self) -> tuple[float, float] | None:
        """One minus the rank correlation with what came, of the rungs and of the model; None of too few."""
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
        """Take in that a trial has reached an epoch.

        Args:
            value: What it shows.
            expected: What the model said that it would show.
            others: What the trials that reached the epoch before it showed there.
            before, others_before: The same one step of the grid earlier.
            is_covered: It lies within the model's 80 % interval.
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
    """The share of the others that are worse."""
    return sum((other < value) + 0.5 * (other == value) for other in others) / len(others)
