"""What to try next: Optuna's samplers behind ask, report and finish. The only user of Optuna."""

from __future__ import annotations

import bisect
import itertools
import math
import statistics
import warnings
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import TrialState

from search.history import Origin, Status
from search.proposal import FixedList, Proposal, Sampler, first_points, grid_points
from search.space import Choice, Integer, Normal, Parameter, Space

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

optuna.logging.set_verbosity(optuna.logging.WARNING)

_TAIL = 1e-6
_STATES: Mapping[Status, TrialState] = {
    "finished": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
    "diverged": TrialState.PRUNED,
    "failed": TrialState.FAIL,
    "interrupted": TrialState.FAIL,
}


def make_sampler(space: Space, defaults: Mapping[str, Any]) -> Sampler:
    """The sampler that `space` asks for.

    A grid is a list: it learns nothing, and Optuna's own cannot be asked and told to its end.

    Args:
        defaults: The default configuration: every hparam of the trainable.
    """
    if space.sampler == "grid":
        points = [*first_points(space, defaults), *grid_points(space, defaults)]
        return FixedList([Proposal(hparams=point, origin=origin) for point, origin in points])
    return OptunaSampler(space, defaults)


class OptunaSampler:
    """Optuna by ask and tell: the default configuration first, then start points, then search.

    Trials that a rung stops are told PRUNED with their value at every rung they ended, so that
    TPE ranks them below those that went further instead of taking a cheap score for a final
    one. Diverged trials are PRUNED too, failed ones FAIL; none is left RUNNING.

    Args:
        defaults: The trainable's own hparams, with the space's fixed values in their place.
    """

    def __init__(self, space: Space, defaults: Mapping[str, Any]) -> None:
        self._space = space
        self._defaults = dict(defaults)
        self._first = deque(first_points(space, defaults))
        self._study = optuna.create_study(
            direction="maximize" if space.mode == "max" else "minimize", sampler=_optuna_sampler(space)
        )
        self._open: dict[str, optuna.Trial] = {}
        self._last_value: dict[str, float] = {}

    def ask(self, trial_id: str) -> Proposal:
        origin: Origin = "sampler"
        if self._first:
            point, origin = self._first.popleft()
            if not self._space.contains(point):  # a default outside the ranges: run it, learn nothing
                return Proposal(hparams=point, origin=origin)
            self._study.enqueue_trial(self._encoded(point))
        trial = self._study.ask()
        self._open[trial_id] = trial
        return Proposal(hparams=self._suggest(trial), origin=origin)

    def report(self, trial_id: str, rung: int, value: float) -> None:
        if trial_id in self._open and math.isfinite(value):
            self._open[trial_id].report(value, step=self._space.ladder.rungs[rung].epochs)
            self._last_value[trial_id] = value

    def finish(self, trial_id: str, status: Status) -> None:
        trial = self._open.pop(trial_id, None)
        if trial is None:
            return
        value = self._last_value.pop(trial_id, None)
        state = _STATES[status]
        if state == TrialState.COMPLETE and value is None:
            state = TrialState.FAIL
        self._study.tell(trial, value if state == TrialState.COMPLETE else None, state=state)

    def states(self) -> list[str]:
        """Optuna's state of every trial it was asked for, in order."""
        return [trial.state.name for trial in self._study.get_trials(deepcopy=False)]

    def intermediate_values(self) -> list[dict[int, float]]:
        """What Optuna knows of every trial: value by epochs."""
        return [dict(trial.intermediate_values) for trial in self._study.get_trials(deepcopy=False)]

    def _suggest(self, trial: optuna.Trial) -> dict[str, Any]:
        hparams = dict(self._defaults)
        for name in self._space.search_order():
            if self._space.is_active(name, hparams):
                axis = _axis(self._space.parameters[name])
                hparams[name] = axis.decode(_suggested(trial, name, axis.distribution))
        return hparams

    def _encoded(self, point: Mapping[str, Any]) -> dict[str, Any]:
        active = [name for name in self._space.parameters if self._space.is_active(name, point)]
        return {name: _axis(self._space.parameters[name]).encode(point[name]) for name in active}


def _optuna_sampler(space: Space) -> BaseSampler:
    if space.sampler == "random":
        return optuna.samplers.RandomSampler(seed=space.seed)
    with warnings.catch_warnings():
        # multivariate, group and constant_liar are marked experimental; each is what makes
        # TPE right for conditional spaces and for several trials at a time.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(
            multivariate=True, group=True, constant_liar=True, seed=space.seed, n_startup_trials=10
        )


@dataclass(frozen=True)
class _Axis:
    """A parameter as Optuna sees it: a distribution of codes, and codes from and to values."""

    distribution: BaseDistribution
    decode: Callable[[Any], Any]
    encode: Callable[[Any], Any]


def _axis(parameter: Parameter) -> _Axis:
    if isinstance(parameter, Choice):
        return _choice_axis(parameter)
    if isinstance(parameter, Integer):
        return _integer_axis(parameter)
    if isinstance(parameter, Normal):
        return _normal_axis(parameter)
    return _Axis(
        FloatDistribution(parameter.low, parameter.high, log=parameter.log),
        lambda code: _clipped(_stepped(code, parameter.step), parameter.low, parameter.high),
        float,
    )


def _integer_axis(integer: Integer) -> _Axis:
    low, high, step = integer.low, integer.high, integer.step
    if not integer.log:
        return _Axis(IntDistribution(low, high, step=step), int, int)
    last = (high - low) // step  # Optuna has no steps on a log scale: draw any, take the nearest
    return _Axis(
        IntDistribution(low, high, log=True),
        lambda code: low + min(round((code - low) / step), last) * step,
        int,
    )


def _choice_axis(choice: Choice) -> _Axis:
    values = list(choice.values)
    if choice.probabilities is not None:
        edges = list(itertools.accumulate(choice.probabilities))
        starts = [0.0, *edges[:-1]]
        return _Axis(
            FloatDistribution(0.0, 1.0),
            lambda code: values[min(bisect.bisect_right(edges, code), len(values) - 1)],
            lambda value: (starts[values.index(value)] + edges[values.index(value)]) / 2,
        )
    if len(values) > 2 and all(type(value) in (int, float) for value in values):
        values.sort()  # numbers have an order, and TPE finds a good region of it sooner than names
        return _Axis(IntDistribution(0, len(values) - 1), values.__getitem__, values.index)
    return _Axis(CategoricalDistribution(range(len(values))), values.__getitem__, values.index)


def _normal_axis(normal: Normal) -> _Axis:
    """A normal distribution through its quantiles, cut at 1e-6 on either side."""
    curve = statistics.NormalDist(normal.mean, normal.deviation)

    def decode(code: float) -> float:
        value = curve.inv_cdf(code)
        return _stepped(math.exp(value) if normal.log else value, normal.step)

    def encode(value: float) -> float:
        return _clipped(curve.cdf(math.log(value) if normal.log else value), _TAIL, 1 - _TAIL)

    return _Axis(FloatDistribution(_TAIL, 1 - _TAIL), decode, encode)


def _suggested(trial: optuna.Trial, name: str, distribution: BaseDistribution) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return trial.suggest_categorical(name, distribution.choices)
    if isinstance(distribution, IntDistribution):
        low, high = distribution.low, distribution.high
        return trial.suggest_int(name, low, high, log=distribution.log, step=distribution.step)
    assert isinstance(distribution, FloatDistribution)
    return trial.suggest_float(name, distribution.low, distribution.high, log=distribution.log)


def _stepped(value: float, step: float | None) -> float:
    return value if step is None else round(round(value / step) * step, 12)


def _clipped(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)
