"""Which points of earlier runs are tried first: those that together leave the least regret on all of them.

The greedy zero-shot rule of portfolios (Wistuba, Schilling and Schmidt-Thieme 2015; also Syne Tune's and
Auto-sklearn 2's): each further point is the one by which the best of all chosen so far comes out best on
average over the earlier runs. What is averaged is regret on each run's own scale, never a score: 0.9 on one
data set says nothing of 0.9 on another. The gain of a point shrinks with those chosen before it, so the
greedy choice is within 1 - 1/e of the best one. Pure.
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
FEWEST_RESULTS = 5  # at a rung, for its ranks to say something
WORST = 3.0
_PER_RUNG = 0.25  # what is added for each rung that a trial did not reach
_UNKNOWN = 0.3  # added where a run did not try the point: unknown is worse than known
_NEIGHBOURS = 5
_NEAR = 0.1  # of the unit cube: two points that are nearer than this are one
_TOP_SHARE = 0.25


@dataclass(frozen=True, kw_only=True)
class EarlierRun:
    """What an earlier run knows.

    Attributes:
        mode: Whether larger or smaller values of its trials are better.
        trials: By their names, in the order in which they were asked for.
    """

    name: str
    mode: Mode
    trials: Mapping[str, EarlierTrial]

    @cached_property
    def regrets(self) -> dict[str, float]:
        """By trial, how far it lay behind the best: 0 is the best, 1 the median, at most 3.

        Values are compared within a rung alone: the highest that five trials ended, and for trials that did
        not reach it the next lower ones, a quarter more for each. Trials that diverged, broke a constraint or
        had too little memory have 3; those that failed otherwise, or ended no such rung, are left out. Empty
        where no rung has five.
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
    """How many points a portfolio may have: eight, and at most a quarter of all trials."""
    return MOST_POINTS if num_trials is None else min(MOST_POINTS, num_trials // 4)


def within(space: Space, defaults: Mapping[str, Any], hparams: Mapping[str, Any]) -> dict[str, Any] | None:
    """The searched values of `hparams` that are active in `space`; None where one lies outside of it.

    A parameter that was not searched then has its default; whatever is not searched now is left out.
    """
    point, found = dict(defaults), {}
    for name in space.search_order():
        if space.is_active(name, point):
            point[name] = found[name] = hparams.get(name, defaults.get(name))
    return found if space.contains(point) else None


def portfolio_of(
    runs: Sequence[EarlierRun], space: Space, defaults: Mapping[str, Any], *, count: int
) -> list[PortfolioPoint]:
    """Up to `count` points of earlier runs, the most useful first.

    With one run they are its best, without near-duplicates. Of equally useful points the one with the lower
    mean regret comes first, and of those the older one: the same runs give the same list.

    Args:
        runs: The oldest first.
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
    """The chosen columns of `regrets`, (runs, points), by how much each adds to those before it."""
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
    """A run's trials as they lie in the space of today."""

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
        """The regret of a point: its own where the run tried it, else that of the nearest five and 0.3."""
        if tried := self._tried.get(identity(point.hparams)):
            return fmean(tried)
        here = cube.features({**self._defaults, **point.hparams})
        nearest = np.linalg.norm(self._places - here, axis=1).argsort(kind="stable")[:_NEIGHBOURS]
        regrets = list(self._regrets.values())
        return fmean(regrets[index] for index in nearest) + _UNKNOWN


def _once(points: Sequence[PortfolioPoint]) -> list[PortfolioPoint]:
    """The first of the points with the same values."""
    once: dict[Any, PortfolioPoint] = {}
    for point in points:
        once.setdefault(identity(point.hparams), point)
    return list(once.values())


def _is_lost(trial: EarlierTrial) -> bool:
    return trial.status in ("diverged", "infeasible") or trial.cause == "out_of_memory"


def _regrets_at(values: Mapping[str, float]) -> dict[str, float]:
    """Regret of values that are larger where better. Where half of them are best, all others are lost."""
    best, middle = max(values.values()), median(values.values())
    if best == middle:
        return {name: 0.0 if value == best else WORST for name, value in values.items()}
    return {name: min(WORST, (best - value) / (best - middle)) for name, value in values.items()}
