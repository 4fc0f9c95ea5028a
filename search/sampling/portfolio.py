"""Which points of earlier runs are tried first: those that together leave the least regret on all runs. Pure.

The greedy zero-shot rule of portfolios (Wistuba, Schilling and Schmidt-Thieme 2015; also Syne Tune's and
Auto-sklearn 2's): each further point is the one that most improves the best result of all chosen so far, on
average over the earlier runs. The average is of regret on each run's own scale, never of scores: 0.9 on one
data set says nothing about 0.9 on another. A point's gain shrinks with those chosen before it, so the gain of
the greedy choice is within 1 - 1/e of the best possible.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean, median
from typing import Any

import numpy as np

from search.freeze_thaw.kernel import Numbers
from search.freeze_thaw.points import Points
from search.sampling.proposal import EarlierTrial
from search.space import PortfolioPoint, Space
from search.space.parameters import identity
from trainables.core.contract import Mode

MOST_POINTS = 8
FEWEST_RESULTS = 5  # at a rung, for its ranks to mean something
WORST = 3.0
_PER_RUNG = 0.25  # added for each rung that a trial did not reach
_UNKNOWN = 0.3  # added if a run did not try the point: unknown is worse than known
_NEIGHBOURS = 5
_NEAR = 0.1  # in the unit cube: two points nearer than this count as one
_TOP_SHARE = 0.25


@dataclass(frozen=True, kw_only=True)
class EarlierRun:
    """The trials of an earlier run.

    Attributes:
        mode: Whether larger or smaller values of its trials are better.
        trials: By name, in the order in which they were asked for.
    """

    name: str
    mode: Mode
    trials: Mapping[str, EarlierTrial]

    @cached_property
    def regrets(self) -> dict[str, float]:
        """How far each trial lay behind the best: 0 for the best, 1 for the median, at most 3.

        Values are compared only within a rung: the highest that five trials completed, and for trials that
        did not reach it the next lower ones, with 0.25 added per rung. Trials that diverged, broke a
        constraint or ran out of memory get 3; those that failed otherwise, or completed no such rung, are
        left out. Empty if no rung has five results.
        """
        sign = 1 if self.mode == "max" else -1
        lost = {name for name, trial in self.trials.items() if _is_lost(trial)}
        rungs: dict[int, dict[str, float]] = {}
        for name, trial in self.trials.items():
            if name in lost or trial.status == "failed":
                continue
            for step, value in trial.values.items():
                rungs.setdefault(step, {})[name] = sign * value
        steps = sorted(rungs, reverse=True)
        highest = next((step for step in steps if len(rungs[step]) >= FEWEST_RESULTS), None)
        if highest is None:
            return {}
        found = dict.fromkeys(lost, WORST)
        for num_below, step in enumerate(steps[steps.index(highest) :]):
            for name, regret in _regrets_at(rungs[step]).items():
                found.setdefault(name, min(WORST, regret + num_below * _PER_RUNG))
        return {name: found[name] for name in self.trials if name in found}


def most_points(num_trials: int | None) -> int:
    """Return the largest number of points in a portfolio: eight, and at most a quarter of all trials."""
    return MOST_POINTS if num_trials is None else min(MOST_POINTS, num_trials // 4)


def within(space: Space, defaults: Mapping[str, Any], hparams: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the values of `hparams` that are searched and active in `space`; None if one lies outside it.

    A parameter that was not searched then gets its default; whatever is not searched now is left out.
    """
    point, found = dict(defaults), {}
    for name in space.search_order():
        if space.is_active(name, point):
            point[name] = found[name] = hparams.get(name, defaults.get(name))
    return found if space.contains(point) else None


def portfolio_of(
    runs: Sequence[EarlierRun], space: Space, defaults: Mapping[str, Any], *, count: int
) -> list[PortfolioPoint]:
    """Return up to `count` points of earlier runs, the most useful first.

    With a single run these are its best points, without near-duplicates. Ties go to the lower mean regret,
    then to the older point, so the same runs give the same list.

    Args:
        runs: Earlier runs, oldest first.
        defaults: The default configuration: every hparam of the trainable.
    """
    cube = Points(space, defaults)
    known = [_Known(run, space, defaults, cube) for run in runs]
    candidates = _once([each for one in known for each in one.candidates])
    if not candidates:
        return []
    regrets = np.array([[one.regret_of(point, cube) for point in candidates] for one in known])
    places = [cube.features({**defaults, **point.hparams}) for point in candidates]
    return [candidates[index] for index in _greedy(regrets, places, count)]


def _greedy(regrets: Numbers, places: Sequence[Numbers], count: int) -> list[int]:
    """Return columns of `regrets`, (runs, points), each the one that adds most to those before it."""
    mean, chosen = regrets.mean(axis=0).round(9), list[int]()
    least = np.full(len(regrets), np.inf)
    free = list(range(len(places)))
    while free and len(chosen) < count:
        left = np.minimum(least[:, None], regrets).mean(axis=0).round(9)
        best = min(free, key=lambda index: (left[index], mean[index], index))
        chosen.append(best)
        least = np.minimum(least, regrets[:, best])
        free = [index for index in free if np.linalg.norm(places[index] - places[best]) >= _NEAR]
    return chosen


class _Known:
    """An earlier run's trials, placed in the current space."""

    def __init__(self, run: EarlierRun, space: Space, defaults: Mapping[str, Any], cube: Points) -> None:
        self._regrets = run.regrets
        self._hparams = {
            name: {key: value for key, value in run.trials[name].hparams.items() if key in space.parameters}
            for name in self._regrets
        }
        self._places = np.array(
            [cube.features({**defaults, **hparams}) for hparams in self._hparams.values()]
        )
        self._defaults = defaults
        inside = {name: within(space, defaults, hparams) for name, hparams in self._hparams.items()}
        self._tried: dict[Any, list[float]] = {}
        for name, point in inside.items():
            if point is not None:
                self._tried.setdefault(identity(point), []).append(self._regrets[name])
        best = sorted(self._regrets, key=lambda name: self._regrets[name])  # stable: older first
        top = best[: math.ceil(_TOP_SHARE * len(best))]
        self.candidates = [
            PortfolioPoint(hparams=point, source=f"{run.name}/{name}")
            for name in top
            if (point := inside[name]) is not None and self._regrets[name] < WORST
        ]

    def regret_of(self, point: PortfolioPoint, cube: Points) -> float:
        """Return a point's own regret if the run tried it, else the mean of the five nearest plus 0.3."""
        if tried := self._tried.get(identity(point.hparams)):
            return fmean(tried)
        here = cube.features({**self._defaults, **point.hparams})
        nearest = np.linalg.norm(self._places - here, axis=1).argsort(kind="stable")[:_NEIGHBOURS]
        regrets = list(self._regrets.values())
        return fmean(regrets[index] for index in nearest) + _UNKNOWN


def _once(points: Sequence[PortfolioPoint]) -> list[PortfolioPoint]:
    """Return the points without those whose values repeat an earlier one's."""
    once: dict[Any, PortfolioPoint] = {}
    for point in points:
        once.setdefault(identity(point.hparams), point)
    return list(once.values())


def _is_lost(trial: EarlierTrial) -> bool:
    return trial.status in ("diverged", "infeasible") or trial.cause == "out_of_memory"


def _regrets_at(values: Mapping[str, float]) -> dict[str, float]:
    """Return regrets, larger values being better. If the median equals the best, all others get the worst."""
    best, middle = max(values.values()), median(values.values())
    if best == middle:
        return {name: 0.0 if value == best else WORST for name, value in values.items()}
    return {name: min(WORST, (best - value) / (best - middle)) for name, value in values.items()}
