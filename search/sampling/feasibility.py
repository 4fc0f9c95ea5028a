"""Where in a space trials are feasible, judged by the nearest feasible and infeasible ones. Pure.

An infeasible trial ran out of memory, or broke one of the space's constraints.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from search.sampling.axes import Axis

Codes = Mapping[str, Any]  # by parameter, without those that are switched off

INFEASIBLE = frozenset({"out_of_memory", "constraint"})  # causes that depend on the point alone
_MARGIN = 1.5
# Distance between two names. At 1, a single failure shut out its whole category: when the most
# memory-hungry kind of model was the best, 40 trials ended 0.07 below the score reached without any of this
# (32 seeds, noise 0.02).
_APART = 0.25


class Feasibility:
    """Predicts from earlier trials whether a point would run out of memory or break a constraint.

    Distances are taken in the unit cube: each axis from 0 to 1 on its own scale, names a quarter apart. A
    parameter that is switched off in either of two points does not count in their distance. This learns a
    constraint of unknown shape as Gardner et al. 2014, "Bayesian Optimization with Inequality Constraints",
    do, with nearest neighbours in place of a Gaussian process.
    """

    def __init__(self, axes: Mapping[str, Axis]) -> None:
        self._axes = axes
        self._fitting: list[Codes] = []
        self._failed: list[Codes] = []

    def learn(self, codes: Codes, *, fits: bool) -> None:
        """Record whether a trial was feasible, correcting this if it is found infeasible at a higher rung."""
        places = self._places(codes)
        if not fits:
            self._fitting = [known for known in self._fitting if known != places]
        (self._fitting if fits else self._failed).append(places)

    def clearance(self, codes: Codes) -> float:
        """Return the distance to the nearest infeasible trial over that to the nearest feasible one.

        It is infinite at a feasible trial, and while there are no infeasible or no feasible ones, since then
        nothing is known.
        """
        if not self._failed or not self._fitting:
            return math.inf
        places = self._places(codes)
        nearest_fitting = min(self._distance(places, known) for known in self._fitting)
        nearest_failed = min(self._distance(places, known) for known in self._failed)
        return nearest_failed / nearest_fitting if nearest_fitting else math.inf

    def is_likely(self, codes: Codes) -> bool:
        """Whether the nearest feasible trial is clearly nearer than the nearest infeasible one."""
        return self.clearance(codes) >= _MARGIN

    def _places(self, codes: Codes) -> Codes:
        return {name: place_of(self._axes[name], code) for name, code in codes.items()}

    def _distance(self, places: Codes, others: Codes) -> float:
        both = [name for name in places if name in others]  # in a fixed order: the last digits depend on it
        return math.hypot(*(self._gap(name, places[name], others[name]) for name in both))

    def _gap(self, name: str, place: Any, other: Any) -> float:
        if self._axes[name].is_ordered:
            return float(abs(place - other))
        return _APART if place != other else 0.0


def place_of(axis: Axis, code: Any) -> float:
    """Return where a code lies on its axis, from 0 to 1; for a name, the code itself."""
    if not axis.is_ordered or axis.low == axis.high:
        return float(code)
    if axis.log:
        return math.log(code / axis.low) / math.log(axis.high / axis.low)
    return float((code - axis.low) / (axis.high - axis.low))
