"""What a further trial is expected to gain, by the model of all learning curves and for any sampler. Pure.

It is the largest expected improvement at the top of the ladder, over the trials that are not there yet and
some 330 new configurations, each times its probability of passing the rungs on its way. Without that factor
the model expects most of slow starters, because no search trains one to the end and shows what becomes of it.

It is compared with the smallest gain that means anything: how much the metric moves from epoch to epoch,
since seeds move it about as much. If that is next to nothing, as in a table without noise, it is 2 % of the
distance from the median trial to the best.

The model's own noise would not do: it includes differences between configurations that their hyperparameters
do not show (0.027 on recorded residual networks, where neighbouring epochs differ by 0.003).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from search.budget import grid_of
from search.freeze_thaw.curve_model import (
    CurveModel,
    log_expected_improvement,
    probability_of_improvement,
)
from search.freeze_thaw.curves import THINNED_ROWS, Curves
from search.freeze_thaw.kernel import Numbers
from search.freeze_thaw.points import Points, candidates
from search.ledger.history import History, TrialRecord
from search.space import Space

_NUM_BEST = 5  # trials around which new configurations are drawn
_LEAST_SHARE = 0.02  # of the distance from the median trial to the best
_NO_RESULT = {"failed", "diverged"}
# The third difference of four values with the same noise has 1 + 9 + 9 + 1 times its variance. For normal
# noise the standard deviation is 1.4826 times the median magnitude.
_OF_THIRD_DIFFERENCE = 1.4826 / math.sqrt(20)


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A trial as its curve is modelled; larger values are better, and some may be NaN or infinite.

    Attributes:
        values: Values by step of the grid.
        epochs: Values of the latest epochs, all on the same budget, in order.
        has_result: It neither failed nor diverged, so that its configuration may be trained further.
    """

    hparams: Mapping[str, Any]
    values: Mapping[int, float]
    epochs: Sequence[float] = ()
    has_result: bool = True


@dataclass(frozen=True, kw_only=True)
class Gain:
    """The expected gain of a further trial, in units of the metric.

    Attributes:
        expected: Expected gain of the most promising trial.
        least: The smallest gain that means anything.
        least_is: What `least` was taken from, in words.
    """

    expected: float
    least: float
    least_is: str


def expected_gain(space: Space, history: History) -> Gain | None:
    """Return the expected gain of a further trial of a run; None as for `gain_of`.

    It depends on hparams, values and failures alone, not on what waits or runs, so a resumed run finds the
    same. A trial that breaks a constraint cannot be the best, and is left out.
    """
    trials = [each for each in history.trials.values() if each.rows and each.status != "infeasible"]
    if not trials:
        return None
    sign = 1.0 if space.mode == "max" else -1.0
    by_epoch = bool(space.ladder.with_pauses().pauses)  # else curves jump: only rung ends compare
    by_rung = list(range(1, len(space.ladder.rungs) + 1))
    steps = Steps(
        grid=grid_of(space.ladder.ends) if by_epoch else by_rung,
        rungs=() if space.scheduler.mode == "none" else (space.ladder.ends if by_epoch else by_rung)[:-1],
        eta=space.scheduler.eta,
    )
    curves = [_curve(trial, space.metric, sign, by_epoch=by_epoch) for trial in trials]
    seed = [space.training.seed, len(trials)]
    return gain_of(Points(space, trials[0].hparams), steps, curves, seed=seed)


@dataclass(frozen=True, kw_only=True)
class Steps:
    """The steps at which curves are read and trials are judged.

    Attributes:
        grid: As in `Curves`; the last step is the top.
        rungs: Steps below the top at which trials are judged; empty if all are trained to the end.
        eta: One in eta trials passes.
    """

    grid: Sequence[int]
    rungs: Sequence[int]
    eta: float


def gain_of(points: Points, steps: Steps, curves: Sequence[Curve], *, seed: Sequence[int]) -> Gain | None:
    """Return the expected gain of a further trial, given these curves.

    Args:
        seed: Seed of the new configurations.

    Returns:
        None if no trial has reached the top, or the model cannot be fitted.
    """
    expected = _largest_improvement(points, steps, curves, seed)
    if expected is None:
        return None
    noise, share = noise_between_epochs(curves, steps.grid[-1]), _share_of_distance(curves)
    if noise is not None and noise >= share:
        return Gain(expected=expected, least=noise, least_is="the difference between neighbouring epochs")
    return Gain(
        expected=expected, least=share, least_is="2 % of the distance from the median trial to the best"
    )


def noise_between_epochs(curves: Sequence[Curve], top: int) -> float | None:
    """Return the standard deviation of an epoch's value around its trend; None without four epochs in a row.

    It is taken from the better half of the trials at the top, in the second half of their epochs, where they
    rise least: from third differences, which are zero for a bend, and by their median, because a drop of the
    learning rate makes a step.
    """
    at_top = [curve for curve in curves if math.isfinite(curve.values.get(top, math.nan))]
    at_top.sort(key=lambda curve: -curve.values[top])
    differences: list[float] = []
    for curve in at_top[: max(2, (len(at_top) + 1) // 2)]:
        late = np.array(curve.epochs[len(curve.epochs) // 2 :])
        differences += np.abs(np.diff(late, 3)).tolist() if len(late) > 3 else []
    finite = [each for each in differences if math.isfinite(each)]
    return _OF_THIRD_DIFFERENCE * statistics.median(finite) if finite else None


def _share_of_distance(curves: Sequence[Curve]) -> float:
    finite = [[value for value in curve.values.values() if math.isfinite(value)] for curve in curves]
    best = [max(values) for values in finite if values]
    return _LEAST_SHARE * (max(best) - statistics.median(best))


def _largest_improvement(
    points: Points, steps: Steps, curves: Sequence[Curve], seed: Sequence[int]
) -> float | None:
    seen = _seen(points, steps.grid, curves)
    at_top = seen.value_at(steps.grid[-1])
    if not at_top:
        return None
    try:
        model = _Fitted(points, seen)
    except np.linalg.LinAlgError:
        return None
    forgotten = seen.without_rows(model.rows)
    known = [name for name in seen.trials if seen.reached(name) and name not in forgotten]
    features, numbers = [seen.point(name) for name in known], [seen.number(name) for name in known]
    means, _ = model.beliefs(features, numbers, steps.grid[-1])
    best_known = [curves[int(known[place])] for place in np.argsort(-means, kind="stable")[:_NUM_BEST]]
    new = _new_features(points, best_known, seed)
    features, numbers = [*features, *new], [*numbers, *[-1] * len(new)]
    means, deviations = model.beliefs(features, numbers, steps.grid[-1])
    gains = np.exp(log_expected_improvement(means, deviations, max(at_top.values())))
    for step in steps.rungs:
        gains *= _chances_to_pass(model, seen, step, steps.eta, features, numbers, known)
    is_open = [name not in at_top and curves[int(name)].has_result for name in known] + [True] * len(new)
    return float(gains[is_open].max())


class _Fitted:
    """The model of these curves, in units of the metric."""

    def __init__(self, points: Points, seen: Curves) -> None:
        self.rows = seen.kept(len(seen), THINNED_ROWS)
        self._seen, self._values = seen, seen.scaled(self.rows)
        self._middle = seen.unscaled(0.0, self.rows)
        self._unit = seen.unscaled(1.0, self.rows) - self._middle
        self._model = CurveModel(points.num_features)
        self._model.fit(seen.rows(self.rows), self._values)

    def beliefs(
        self, features: Sequence[Numbers], numbers: Sequence[int], step: int
    ) -> tuple[Numbers, Numbers]:
        """Return mean and deviation at a step of the grid, without noise, (others,) each."""
        where = np.array(features), np.array(numbers, np.int64)
        rows, time = self._seen.rows(self.rows), self._seen.time(step)
        means, deviations = self._model.beliefs(rows, self._values, *where, time)
        return means * self._unit + self._middle, deviations * self._unit


def _chances_to_pass(
    model: _Fitted,
    seen: Curves,
    step: int,
    eta: float,
    features: Sequence[Numbers],
    numbers: Sequence[int],
    known: Sequence[str],
) -> Numbers:
    """Return each trial's probability of the best 1/eta at a rung; 0 or 1 if it has completed the rung."""
    results = seen.value_at(step)
    if len(results) < eta:
        return np.ones(len(features))
    cutoff = sorted(results.values(), reverse=True)[int(len(results) / eta) - 1]
    chances = probability_of_improvement(*model.beliefs(features, numbers, step), cutoff)
    for place, name in enumerate(known):
        if name in results:
            chances[place] = float(results[name] >= cutoff)
    return chances


def _seen(points: Points, grid: Sequence[int], curves: Sequence[Curve]) -> Curves:
    """Return all curves, trial by trial, each named by its index."""
    seen = Curves(grid)
    for number, curve in enumerate(curves):
        seen.start(str(number), points.features(curve.hparams))
    for number, curve in enumerate(curves):
        for step, value in curve.values.items():
            seen.add(str(number), step, value)
    return seen


def _new_features(points: Points, best: Sequence[Curve], seed: Sequence[int]) -> list[Numbers]:
    """Return the features of new configurations: random ones, and some around the best."""
    centres = [points.shares(curve.hparams) for curve in best]
    shares = candidates(np.random.default_rng(list(seed)), points.num_parameters, centres)
    return [points.features(points.hparams(each)) for each in shares]


def _curve(trial: TrialRecord, metric: str, sign: float, *, by_epoch: bool) -> Curve:
    values: dict[int, float] = {}
    epochs: list[float] = []
    budget = -1
    for row in trial.curve.values():
        if (value := row.metrics.get(metric)) is None:  # an epoch without evaluation
            continue
        step = row.epoch if by_epoch else None if row.ended_rung is None else row.ended_rung + 1
        if step is not None:
            values[step] = sign * value
        if not by_epoch and row.rung != budget:
            epochs, budget = [], row.rung
        epochs.append(sign * value)
    return Curve(
        hparams=trial.hparams, values=values, epochs=epochs, has_result=trial.status not in _NO_RESULT
    )
