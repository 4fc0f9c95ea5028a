"""Ray Tune's ASHA and OptunaSearch, and Optuna alone, with their own defaults."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Protocol

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.trial import TrialState
from ray.tune.experiment import Trial
from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler
from ray.tune.search.optuna import OptunaSearch

from benchmarks.search_quality.plain import RandomPoints
from benchmarks.search_quality.simulate import Answer, Asked
from benchmarks.search_quality.table import Table

optuna.logging.set_verbosity(optuna.logging.ERROR)


class _Searcher(Protocol):
    def suggest(self, trial_id: str) -> list[float]: ...
    def on_placed(self, trial_id: str, point: Sequence[float]) -> None: ...
    def on_result(self, trial_id: str, result: dict[str, Any]) -> None: ...
    def on_complete(self, trial_id: str, result: dict[str, Any]) -> None: ...


class RandomSearcher:
    """Random points, without learning."""

    def __init__(self, table: Table, seed: int) -> None:
        self._points = RandomPoints(table, seed)

    def suggest(self, trial_id: str) -> list[float]:
        asked = self._points.next_trial()
        assert asked
        return list(asked.point)

    def on_placed(self, trial_id: str, point: Sequence[float]) -> None:
        return None

    def on_result(self, trial_id: str, result: dict[str, Any]) -> None:
        return None

    def on_complete(self, trial_id: str, result: dict[str, Any]) -> None:
        return None


class OptunaSearcher:
    """`OptunaSearch` with its default sampler, TPE.

    A trial's result is added by `add_evaluated_point` at the row's own coordinates, and the suggested trial
    ends as failed, which TPE ignores.
    """

    def __init__(self, table: Table, seed: int) -> None:
        self._names = _names(table)
        space: dict[str, BaseDistribution] = {name: FloatDistribution(0.0, 1.0) for name in self._names}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._search = OptunaSearch(space, metric="val_accuracy", mode="max", seed=seed)
        self._points: dict[str, dict[str, float]] = {}

    def suggest(self, trial_id: str) -> list[float]:
        config = self._search.suggest(trial_id) or {}
        return [config[name] for name in self._names]

    def on_placed(self, trial_id: str, point: Sequence[float]) -> None:
        self._points[trial_id] = dict(zip(self._names, point, strict=True))

    def on_result(self, trial_id: str, result: dict[str, Any]) -> None:
        self._search.on_trial_result(trial_id, result)

    def on_complete(self, trial_id: str, result: dict[str, Any]) -> None:
        self._search.on_trial_complete(trial_id, error=True)
        self._search.add_evaluated_point(self._points[trial_id], result["val_accuracy"])


class RayAsha:
    """`ASHAScheduler` as `tune.Tuner` calls it: a result that stops a trial reaches the searcher as final."""

    def __init__(self, table: Table, searcher: _Searcher) -> None:
        self._searcher = searcher
        self._scheduler = AsyncHyperBandScheduler(
            time_attr="training_iteration", metric="val_accuracy", mode="max", max_t=table.num_epochs
        )
        self._trials: dict[str, Trial] = {}
        self._controller: Any = None  # passed to ASHA, which never uses it

    def next_trial(self) -> Asked | None:
        trial_id = f"trial_{len(self._trials)}"
        trial = Trial("curves", trial_id=trial_id, stub=True)
        self._trials[trial_id] = trial
        self._scheduler.on_trial_add(self._controller, trial)
        return Asked(trial_id, self._searcher.suggest(trial_id))

    def on_placed(self, trial_id: str, point: Sequence[float]) -> None:
        self._searcher.on_placed(trial_id, point)

    def on_epoch(self, trial_id: str, epoch: int, accuracy: float) -> Answer:
        result = {"training_iteration": epoch, "val_accuracy": accuracy}
        if (
            self._scheduler.on_trial_result(self._controller, self._trials[trial_id], result)
            == TrialScheduler.CONTINUE
        ):
            self._searcher.on_result(trial_id, result)
            return "continue"
        self._scheduler.on_trial_complete(self._controller, self._trials[trial_id], result)
        self._searcher.on_complete(trial_id, result)
        return "stop"


class OptunaHyperband:
    """Optuna's ask-and-tell interface with its default sampler and `HyperbandPruner`."""

    def __init__(self, table: Table, seed: int) -> None:
        self._names, self._num_epochs = _names(table), table.num_epochs
        self._study = optuna.create_study(
            study_name=f"seed {seed}",  # Hyperband derives a trial's bracket from it
            direction="maximize",
            sampler=optuna.samplers.TPESampler(seed=seed),
            pruner=optuna.pruners.HyperbandPruner(min_resource=1, max_resource=table.num_epochs),
        )
        self._trials: dict[str, optuna.Trial] = {}
        self._num_asked = 0

    def next_trial(self) -> Asked | None:
        proposed = self._study.ask()
        point = [proposed.suggest_float(name, 0.0, 1.0) for name in self._names]
        self._study.tell(proposed, state=TrialState.FAIL)  # replaced by a trial at the row's own point
        self._num_asked += 1
        return Asked(str(self._num_asked), point)

    def on_placed(self, trial_id: str, point: Sequence[float]) -> None:
        self._study.enqueue_trial(dict(zip(self._names, point, strict=True)))
        trial = self._study.ask()
        for name in self._names:
            trial.suggest_float(name, 0.0, 1.0)
        self._trials[trial_id] = trial

    def on_epoch(self, trial_id: str, epoch: int, accuracy: float) -> Answer:
        trial = self._trials[trial_id]
        trial.report(accuracy, step=epoch)
        if epoch == self._num_epochs:
            self._study.tell(trial, accuracy)
            return "stop"
        if trial.should_prune():
            self._study.tell(trial, state=TrialState.PRUNED)
            return "stop"
        return "continue"


def _names(table: Table) -> list[str]:
    return [f"x{index}" for index in range(table.num_dimensions)]
