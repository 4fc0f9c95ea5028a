"""A run as an Optuna study in SQLite: for optuna-dashboard, and to continue with Optuna.

Ray Tune's own searcher hands a stopped trial to Optuna as COMPLETE with its last, cheap value. Here a stopped
trial is PRUNED and has the value of every epoch, so that plots and samplers see where it ended.
"""

from __future__ import annotations

import json
import math
import sqlite3
import warnings
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.pool import NullPool

from search.energy.units import to_joules
from search.ledger.history import History, TrialRecord
from search.run.objective import values_of
from search.sampling.sampler import STATES
from search.space import Choice, Normal, Space
from search.space.parameters import Parameter, is_number
from trainables.core.files import replacing

# Optuna's distributions have bounds, a normal one has none. One point in two million is beyond five
# deviations.
_DEVIATIONS = 5.0


def export_study(space: Space, history: History, path: Path, *, name: str) -> int:
    """Write every trial of `history` as the study `name` into a new SQLite file; return their number.

    The file appears once it is complete: it is written under another name and renamed.

    Raises:
        OSError: It cannot be written.
    """
    with replacing(path) as scratch:
        # Not by a URL with the path, in which ? and { mean something.
        storage = optuna.storages.RDBStorage(
            "sqlite://", engine_kwargs={"creator": lambda: sqlite3.connect(scratch), "poolclass": NullPool}
        )
        try:
            study = optuna.create_study(
                storage=storage,
                study_name=name,
                directions=["maximize" if mode == "max" else "minimize" for mode in space.modes],
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                study.set_metric_names(list(space.objective))  # what dashboards write on the axes
            for key, value in {"trainable": space.title, "seed": space.training.seed}.items():
                study.set_user_attr(key, value)
            for trial in frozen_trials(space, history.trials.values()):
                study.add_trial(trial)
        finally:
            storage.remove_session()
            storage.engine.dispose()
    return len(history.trials)


def frozen_trials(space: Space, trials: Iterable[TrialRecord]) -> list[FrozenTrial]:
    """The trials as Optuna's own: parameters with their distributions, the metric of every epoch, states.

    A stopped, paused or diverged trial is PRUNED, one that failed or was interrupted FAIL, as the sampler
    sees them. A value outside the space (the default configuration may have one) widens the distribution:
    of that trial for numbers, of all trials for names, as Optuna requires one set of choices per study.
    """
    trials = list(trials)
    points = [_searched(space, trial) for trial in trials]
    distributions = {name: _distribution(name, space.parameters[name], points) for name in space.parameters}
    return [_frozen(space, trial, point, distributions) for trial, point in zip(trials, points, strict=True)]


def _frozen(
    space: Space,
    trial: TrialRecord,
    point: Mapping[str, Any],
    distributions: Mapping[str, BaseDistribution],
) -> FrozenTrial:
    """One trial.

    A value that no distribution can hold is left out of the parameters; all values are in the attribute
    `hparams`. A finished trial without a score or another objective is FAIL: Optuna refuses
    COMPLETE without a value for each objective.
    """
    params = {
        name: _choice(value, distributions[name])
        for name, value in point.items()
        if _has_place(value, distributions[name])
    }
    state = STATES.get(trial.status, TrialState.RUNNING)
    values = _values(space, trial, state)
    if state == TrialState.COMPLETE and values is None:
        state = TrialState.FAIL
    frozen = optuna.trial.create_trial(
        state=state,
        values=values,
        params=params,
        distributions={name: _holding(distributions[name], value) for name, value in params.items()},
        intermediate_values=_curve(space, trial),
        user_attrs=_attributes(trial),
        constraints=_violations(space, trial),
    )
    # Optuna's own trials have local time without a zone.
    frozen.datetime_start = datetime.fromtimestamp(trial.asked_at)
    if state.is_finished():
        frozen.datetime_complete = datetime.fromtimestamp(max(trial.asked_at, trial.ended_at or 0.0))
    return frozen


def _values(space: Space, trial: TrialRecord, state: TrialState) -> list[float] | None:
    """Each objective of a finished trial; the last metric of a pruned one, as `Study.tell` records it."""
    is_final = state == TrialState.COMPLETE
    if state not in {TrialState.COMPLETE, TrialState.PRUNED} or (space.beside and not is_final):
        return None  # with several objectives, Optuna accepts values of complete trials only
    values = values_of(space, trial)
    return None if values is None else list(values.numbers)


def _violations(space: Space, trial: TrialRecord) -> dict[str, float]:
    """By how much each known number violates its bound, 0 or less if it does not, as in Optuna."""
    numbers = trial.last_metrics
    return {
        name: bound.violation(numbers[name]) for name, bound in space.constraints.items() if name in numbers
    }


def _curve(space: Space, trial: TrialRecord) -> dict[int, float]:
    """The metric by epoch. Optuna plots these as intermediate values, and its pruners compare them."""
    metrics = {epoch: row.metrics.get(space.metric) for epoch, row in trial.curve.items()}
    return {epoch: value for epoch, value in metrics.items() if value is not None}


def _attributes(trial: TrialRecord) -> dict[str, Any]:
    """What Optuna has no field for; unknown values are left out."""
    known: dict[str, Any] = {
        "trial": trial.trial_id,
        "status": trial.status,
        "cause": trial.cause,
        "message": trial.message,
        "proposed_by": trial.proposed_by,
        "seed": trial.seed,
        "rung": trial.rung,
        "epochs": trial.epochs,
        "seconds": round(trial.seconds, 3),
        "hparams": json.dumps(dict(trial.hparams)),
    }
    if trial.start_s is not None:
        known["start_s"] = round(trial.start_s, 3)
    if (mj := trial.energy.total_mj) is not None:
        known["energy_j"] = to_joules(mj)
    return {name: value for name, value in known.items() if value not in (None, "")}


def _searched(space: Space, trial: TrialRecord) -> dict[str, Any]:
    """The values of the searched parameters that are active, given the others."""
    return {
        name: trial.hparams[name]
        for name in space.parameters
        if name in trial.hparams and space.is_active(name, trial.hparams)
    }


def _distribution(name: str, parameter: Parameter, points: Sequence[Mapping[str, Any]]) -> BaseDistribution:
    """The distribution of one parameter over the whole study.

    Optuna requires one set of choices per study, so it has the values of all trials, after those of the
    space.

    Args:
        points: The searched values of every trial.
    """
    seen = [point[name] for point in points if name in point]
    if isinstance(parameter, Choice) or not all(map(is_number, seen)):
        own = parameter.values if isinstance(parameter, Choice) else ()
        return CategoricalDistribution(list(dict.fromkeys(map(_named, (*own, *seen)))))
    if isinstance(parameter, Normal):
        return _bell(parameter)
    low, high = parameter.ends
    if parameter.log and low == 0:  # a step rounded it down to 0, which a logarithmic scale does not have
        low = parameter.low
    if isinstance(parameter.step, int) and all(isinstance(value, int) for value in seen):
        whole_step = 1 if parameter.log else parameter.step  # Optuna has no steps on a log scale
        return IntDistribution(
            max(int(low), int(parameter.log)), int(high), log=parameter.log, step=whole_step
        )
    return FloatDistribution(low, high, log=parameter.log, step=None if parameter.log else parameter.step)


def _bell(normal: Normal) -> FloatDistribution:
    """A normal distribution as a uniform one ten deviations wide, since Optuna has no normal one."""
    low, high = (normal.mean + side * _DEVIATIONS * normal.deviation for side in (-1, 1))
    if not normal.log:
        return FloatDistribution(low, high)
    return FloatDistribution(math.exp(low), math.exp(high), log=True)


def _holding(distribution: BaseDistribution, value: Any) -> BaseDistribution:
    """The distribution, widened to contain `value`; a value between its steps removes them."""
    if isinstance(distribution, CategoricalDistribution) or distribution._contains(value):
        return distribution
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    low, high = min(distribution.low, value), max(distribution.high, value)
    if isinstance(distribution, IntDistribution):
        return IntDistribution(int(low), int(high), log=distribution.log)
    return FloatDistribution(low, high, log=distribution.log)


def _has_place(value: Any, distribution: BaseDistribution) -> bool:
    """Whether a value fits the scale: 0 has no place on a logarithmic one, and a study has one scale."""
    is_log = isinstance(distribution, IntDistribution | FloatDistribution) and distribution.log
    return not is_log or value > 0


def _choice(value: Any, distribution: BaseDistribution) -> Any:
    """The value as its distribution holds it."""
    return _named(value) if isinstance(distribution, CategoricalDistribution) else value


def _named(value: Any) -> Any:
    """The value as Optuna stores it among choices: lists and mappings as JSON."""
    return value if isinstance(value, str | int | float | bool | None) else json.dumps(value)
