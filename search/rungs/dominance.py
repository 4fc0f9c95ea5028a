"""Which result is the better one, for one objective or several. Pure."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping, Sequence

Score = tuple[float, ...]  # one number per objective, larger is better in each


def best_first(scores: Mapping[str, Score], uncerts: Mapping[str, float] | None = None) -> list[str]:
    """The trials, best first. Of equal ones the older, which is the earlier in `scores`, is first.

    Several objectives are ranked by non-dominated front, then by crowding distance: Deb et al.
    2002, "A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II". Crowding is taken over
    distinct scores, so that equal ones stay equal.

    Args:
        uncerts: Of each trial's last objective, either way, where there are several: 0 by default.
    """
    if all(len(score) == 1 for score in scores.values()):
        return sorted(scores, key=scores.__getitem__, reverse=True)
    uncerts = uncerts or dict.fromkeys(scores, 0.0)
    fronts, margin = front_of_each(scores, uncerts), 2 * max(uncerts.values(), default=0.0)
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
        margin: A difference of the last objectives up to this is a tie.
    """
    if margin and abs(score[-1] - other[-1]) <= margin:
        score, other = score[:-1], other[:-1]
    return score != other and all(map(operator.ge, score, other))


def front_of_each(scores: Mapping[str, Score], uncerts: Mapping[str, float] | None = None) -> dict[str, int]:
    """Number of each trial's non-dominated front; no trial dominates one of front 0.

    Each is one front behind the last of those that dominate it. With uncertainty, a may tie with b and b
    with c while a is better than c, so every front is searched, as in the sequential search of
    Zhang et al. 2015, "An Efficient Approach to Nondominated Sorting".
    """
    uncerts = uncerts or dict.fromkeys(scores, 0.0)
    fronts: list[list[str]] = []
    for trial_id in sorted(scores, key=scores.__getitem__, reverse=True):  # dominating ones come before
        front = len(fronts)
        while front and not _is_dominated(trial_id, fronts[front - 1], scores, uncerts):
            front -= 1
        if front == len(fronts):
            fronts.append([])
        fronts[front].append(trial_id)
    return {trial_id: front for front, members in enumerate(fronts) for trial_id in members}


def _is_dominated(
    trial_id: str, front: Sequence[str], scores: Mapping[str, Score], uncerts: Mapping[str, float]
) -> bool:
    score, uncert = scores[trial_id], uncerts[trial_id]
    return any(dominates(scores[other], score, uncerts[other] + uncert) for other in reversed(front))


def crowding_distances(front: Iterable[Score], margin: float = 0.0) -> dict[Score, float]:
    """How much room each distinct score has between its neighbours; the ends of an axis have all.

    An axis on which all are equal gives none, the last one also where they are within `margin`.
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
