"""The results of one rung: how its trials rank, and which are paused there. Pure."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator

from search.rungs.dominance import Score, best_first, dominates

_Key = tuple[float, int, str]  # best first: the score's negative, then the older one


class Results:
    """Scores of the trials that ended a rung, their ranking kept up to date result by result.

    With one objective a result costs a search in a sorted list, however many there are. Several objectives
    have no order of single trials: they are ranked again when it is asked for.

    Args:
        num_objectives: Numbers in a score.
    """

    def __init__(self, num_objectives: int) -> None:
        self._num_objectives = num_objectives
        self.scores: dict[str, Score] = {}
        self._uncerts: dict[str, float] = {}
        self._keys: dict[str, _Key] = {}
        self._sorted: list[_Key] = []
        self._waiting: list[_Key] = []
        self._is_exact = True  # no result is uncertain
        self._places: dict[str, int] = {}  # of several objectives, as last ranked

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def num_waiting(self) -> int:
        return len(self._waiting)

    def add(self, trial_id: str, score: Score, uncert: float) -> None:
        """Take in a result. Of equal ones the older ranks first."""
        key = -score[0], len(self.scores), trial_id
        self.scores[trial_id], self._uncerts[trial_id], self._keys[trial_id] = score, uncert, key
        self._is_exact &= not uncert
        insort(self._sorted, key)

    def place(self, trial_id: str) -> int:
        """How many rank before a trial that has ended the rung."""
        return self._place(self._keys[trial_id])

    def value(self, trial_id: str) -> float | None:
        """The first number of its score; None of a trial that has not ended the rung."""
        score = self.scores.get(trial_id)
        return None if score is None else score[0]

    def percentile(self, value: float) -> float:
        """The share of results that are worse than this one, half of the equal ones among them, in (0, 1)."""
        below = len(self._sorted) - bisect_right(self._sorted, (-value, math.inf))
        up_to = len(self._sorted) - bisect_left(self._sorted, (-value,))
        return (below + up_to + 1) / 2 / (len(self._sorted) + 1)

    def num_ahead(self, trial_id: str) -> int:
        """How many are better than a trial beyond doubt: equal ones are not."""
        score, uncert = self.scores[trial_id], self._uncerts[trial_id]
        if self._has_order:
            return bisect_left(self._sorted, (-score[0],))
        others = self.scores.items()
        return sum(dominates(other, score, self._uncerts[name] + uncert) for name, other in others)

    def wait(self, trial_id: str) -> None:
        """Let a trial that has ended the rung wait for its promotion."""
        insort(self._waiting, self._keys[trial_id])

    def leave(self, trial_id: str) -> None:
        """Take back a `wait`."""
        del self._waiting[bisect_left(self._waiting, self._keys[trial_id])]

    def first_waiting(self) -> str | None:
        """The best of those that wait."""
        if self._num_objectives == 1:
            return self._waiting[0][-1] if self._waiting else None
        return min((trial_id for *_, trial_id in self._waiting), key=self.place, default=None)

    def hopeless(self, num_passing: int) -> Iterator[str]:
        """Those that wait and have `num_passing` or more ahead of them, the worst first."""
        for _, _, trial_id in reversed(self._waiting):
            if self.num_ahead(trial_id) >= num_passing:
                yield trial_id
            elif self._has_order:  # all before it have fewer ahead
                return

    @property
    def _has_order(self) -> bool:
        """Whether a trial that ranks before another is at least as good."""
        return self._num_objectives == 1 and self._is_exact

    def _place(self, key: _Key) -> int:
        if self._num_objectives == 1:
            return bisect_left(self._sorted, key)
        if len(self._places) != len(self.scores):  # results are only ever added
            ranking = best_first(self.scores, self._uncerts)
            self._places = {trial_id: place for place, trial_id in enumerate(ranking)}
        return self._places[key[-1]]
