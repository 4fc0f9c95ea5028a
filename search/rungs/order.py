"""Which result is the better one, for one objective or several. Pure."""

from __future__ import annotations

import math
import operator
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from functools import partial

Score = tuple[float, ...]  # one number per objective, larger is better in each


def best_first(scores: Mapping[str, Score]) -> list[str]:
    """The trials, best first. Of equal ones the older, which is the earlier in `scores`, is first.

    Several objectives are ranked by non-dominated front, then by crowding distance: Deb et al.
    2002, "A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II". Crowding is taken over
    distinct scores, so that equal ones stay equal.
    """
    if all(len(score) == 1 for score in scores.values()):
        return sorted(scores, key=scores.__getitem__, reverse=True)
    fronts = front_of_each(scores)
    roominess = {
        score: distance
        for front in set(fronts.values())
        for score, distance in crowding_distances(scores[t] for t in fronts if fronts[t] == front).items()
    }
    return sorted(scores, key=lambda trial_id: (fronts[trial_id], -roominess[scores[trial_id]]))


def dominates(score: Score, other: Score) -> bool:
    """Whether `score` is nowhere worse than `other`, and somewhere better."""
    return score != other and all(map(operator.ge, score, other))


def front_of_each(scores: Mapping[str, Score]) -> dict[str, int]:
    """Number of each trial's non-dominated front; nobody dominates a trial of front 0.

    Zhang et al. 2015, "An Efficient Approach to Nondominated Sorting": one dominated by a member of
    a front is dominated in every front before it, so its own is found by bisection.
    """
    members: list[list[Score]] = []
    fronts: dict[str, int] = {}
    for trial_id in sorted(scores, key=scores.__getitem__, reverse=True):  # dominating ones come before
        is_free = partial(_is_undominated, scores[trial_id])
        front = fronts[trial_id] = bisect_left(members, True, key=is_free)
        if front == len(members):
            members.append([])
        members[front].append(scores[trial_id])
    return fronts


def _is_undominated(score: Score, front: list[Score]) -> bool:
    return not any(dominates(other, score) for other in reversed(front))  # the nearest ones came last


def crowding_distances(front: Iterable[Score]) -> dict[Score, float]:
    """How much room each distinct score has between its neighbours; the ends of an axis have all."""
    distances = dict.fromkeys(front, 0.0)
    for axis in range(len(next(iter(distances)))):
        along = sorted(distances, key=lambda score: score[axis])
        span = along[-1][axis] - along[0][axis]
        if span == 0:
            continue
        for before, score, after in zip(along, along[1:], along[2:], strict=False):
            distances[score] += (after[axis] - before[axis]) / span
        distances[along[0]] = distances[along[-1]] = math.inf
    return distances
