"""The results of a rung: which is better, how its trials rank, and which of them are paused. Pure.

One objective needs only sorting. With several (score and joules) trials are ranked by non-dominated fronts,
and differences within the uncertainty of the joules are ties.
"""

from __future__ import annotations

import math
import operator
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator, Mapping, Sequence

Score = tuple[float, ...]  # one number per objective, larger is better in each
_Key = tuple[float, int, str]  # best first: the score's negative, then the older one


class Results:
    """Scores of the trials that completed a rung, with their ranking kept up to date result by result.

    With one objective a new result costs one search in a sorted list. Several objectives give no total order,
    so trials are ranked anew when a place is requested.

    Args:
        num_objectives: Numbers in a score.
    """

    def __init__(self, num_objectives: int) -> None:
        self._num_objectives = num_objectives
        self.scores: dict[str, Score] = {}
        self._uncertainties: dict[str, float] = {}
        self._keys: dict[str, _Key] = {}
        self._sorted: list[_Key] = []
        self._waiting: list[_Key] = []
        self._is_exact = True  # no result is uncertain
        self._places: dict[str, int] = {}  # with several objectives, the latest ranking

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def num_waiting(self) -> int:
        return len(self._waiting)

    def add(self, trial_id: str, score: Score, uncertainty: float) -> None:
        """Record a result. Of equal results the older ranks first."""
        key = -score[0], len(self.scores), trial_id
        self.scores[trial_id], self._uncertainties[trial_id], self._keys[trial_id] = score, uncertainty, key
        self._is_exact &= not uncertainty
        insort(self._sorted, key)

    def place(self, trial_id: str) -> int:
        """Return the number of trials ranked before one that has completed the rung."""
        return self._place(self._keys[trial_id])

    def value(self, trial_id: str) -> float | None:
        """Return the first number of the trial's score; None if it has not completed the rung."""
        score = self.scores.get(trial_id)
        return None if score is None else score[0]

    def percentile(self, value: float) -> float:
        """Return the fraction of results worse than `value`, counting half of the equal ones, in (0, 1)."""
        below = len(self._sorted) - bisect_right(self._sorted, (-value, math.inf))
        up_to = len(self._sorted) - bisect_left(self._sorted, (-value,))
        return (below + up_to + 1) / 2 / (len(self._sorted) + 1)

    def num_ahead(self, trial_id: str) -> int:
        """Return the number of trials that are certainly better than this one; equal ones do not count."""
        score, uncertainty = self.scores[trial_id], self._uncertainties[trial_id]
        if self._has_order:
            return bisect_left(self._sorted, (-score[0],))
        others = self.scores.items()
        return sum(dominates(other, score, self._uncertainties[name] + uncertainty) for name, other in others)

    def wait(self, trial_id: str) -> None:
        """Mark a trial that has completed the rung as waiting to continue."""
        insort(self._waiting, self._keys[trial_id])

    def leave(self, trial_id: str) -> None:
        """Undo a `wait`."""
        del self._waiting[bisect_left(self._waiting, self._keys[trial_id])]

    def first_waiting(self) -> str | None:
        """Return the best of the waiting trials, or None."""
        if self._num_objectives == 1:
            return self._waiting[0][-1] if self._waiting else None
        return min((trial_id for *_, trial_id in self._waiting), key=self.place, default=None)

    def hopeless(self, num_passing: int) -> Iterator[str]:
        """Yield the waiting trials with at least `num_passing` ahead of them, worst first."""
        for _, _, trial_id in reversed(self._waiting):
            if self.num_ahead(trial_id) >= num_passing:
                yield trial_id
            elif self._has_order:  # all remaining ones have fewer ahead
                return

    @property
    def _has_order(self) -> bool:
        """Whether a trial that ranks before another is at least as good."""
        return self._num_objectives == 1 and self._is_exact

    def _place(self, key: _Key) -> int:
        if self._num_objectives == 1:
            return bisect_left(self._sorted, key)
        if len(self._places) != len(self.scores):  # results are only ever added
            ranking = best_first(self.scores, self._uncertainties)
            self._places = {trial_id: place for place, trial_id in enumerate(ranking)}
        return self._places[key[-1]]


def best_first(scores: Mapping[str, Score], uncertainties: Mapping[str, float] | None = None) -> list[str]:
    """Return the trials, best first. Of equal trials the older, which comes earlier in `scores`, is first.

    Several objectives are ranked by non-dominated front, then by crowding distance: Deb et al.
    2002, "A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II". Crowding is taken over
    distinct scores, so that equal ones stay equal.

    Args:
        uncertainties: With several objectives, plus or minus this much in each trial's last one; default 0.
    """
    if all(len(score) == 1 for score in scores.values()):
        return sorted(scores, key=scores.__getitem__, reverse=True)
    uncertainties = uncertainties or dict.fromkeys(scores, 0.0)
    fronts, margin = front_of_each(scores, uncertainties), 2 * max(uncertainties.values(), default=0.0)
    roominess = {
        score: distance
        for front in set(fronts.values())
        for score, distance in crowding_distances(
            (scores[t] for t in fronts if fronts[t] == front), margin
        ).items()
    }
    return sorted(scores, key=lambda trial_id: (fronts[trial_id], -roominess[scores[trial_id]]))


def dominates(score: Score, other: Score, margin: float = 0.0) -> bool:
    """Whether `score` is nowhere worse than `other`, and somewhere better.

    Args:
        margin: Differences of the last objective up to this are ties.
    """
    if margin and abs(score[-1] - other[-1]) <= margin:
        score, other = score[:-1], other[:-1]
    return score != other and all(map(operator.ge, score, other))


def front_of_each(
    scores: Mapping[str, Score], uncertainties: Mapping[str, float] | None = None
) -> dict[str, int]:
    """Return the number of each trial's non-dominated front; no trial dominates one of front 0.

    Each trial is one front behind the last one with a trial that dominates it. With uncertainty, a may tie
    with b and b with c while a is better than c, so every front is searched, as in the sequential search of
    Zhang et al. 2015, "An Efficient Approach to Nondominated Sorting".
    """
    uncertainties = uncertainties or dict.fromkeys(scores, 0.0)
    fronts: list[list[str]] = []
    for trial_id in sorted(
        scores, key=scores.__getitem__, reverse=True
    ):  # those that dominate it come before it
        front = len(fronts)
        while front and not _is_dominated(trial_id, fronts[front - 1], scores, uncertainties):
            front -= 1
        if front == len(fronts):
            fronts.append([])
        fronts[front].append(trial_id)
    return {trial_id: front for front, members in enumerate(fronts) for trial_id in members}


def _is_dominated(
    trial_id: str, front: Sequence[str], scores: Mapping[str, Score], uncertainties: Mapping[str, float]
) -> bool:
    score, uncertainty = scores[trial_id], uncertainties[trial_id]
    return any(
        dominates(scores[other], score, uncertainties[other] + uncertainty) for other in reversed(front)
    )


def crowding_distances(front: Iterable[Score], margin: float = 0.0) -> dict[Score, float]:
    """Return the room that each distinct score has between its neighbours; infinite at the ends of an axis.

    An axis on which all scores are equal adds nothing, nor does the last one if all lie within `margin`.
    """
    distances = dict.fromkeys(front, 0.0)
    num_axes = len(next(iter(distances)))
    for axis in range(num_axes):
        along = sorted(distances, key=lambda score: score[axis])
        span = along[-1][axis] - along[0][axis]
        if span <= (margin if axis == num_axes - 1 else 0):
            continue
        for before, score, after in zip(along, along[1:], along[2:], strict=False):
            distances[score] += (after[axis] - before[axis]) / span
        distances[along[0]] = distances[along[-1]] = math.inf
    return distances
