"""A run as an MLflow experiment. MLflow is none of this program's requirements."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from search.export.targets import ExportError
from search.export.tracked_trial import LoggedTrial, Point

_STATUSES = {"failed": "FAILED", "diverged": "FAILED", "interrupted": "KILLED"}
_MOST_METRICS = 1000  # that MLflow takes in one call
_MOST_PARAMS = 100
_LONGEST = 500  # characters of a tag that every version takes


def missing_mlflow() -> list[str]:
    """One line that says how to get MLflow; none where it is there."""
    if importlib.util.find_spec("mlflow") is not None:
        return []
    return [f"--mlflow: mlflow is not installed; install it: {sys.executable} -m pip install mlflow"]


def export_mlflow(trials: Iterable[LoggedTrial], folder: Path, *, name: str) -> int:
    """Write an experiment with a run per trial to `folder`, as a database that `mlflow ui` opens.

    Returns:
        The number of trials.

    Raises:
        ExportError: MLflow is not installed.
    """
    if missing := missing_mlflow():
        raise ExportError(missing[0])
    mlflow: Any = importlib.import_module("mlflow")
    folder.mkdir(parents=True, exist_ok=True)
    client = mlflow.MlflowClient(tracking_uri=store_uri(folder))
    experiment = client.create_experiment(name, artifact_location=(folder / "artifacts").absolute().as_uri())
    num_trials = 0
    for trial in trials:
        _add_run(client, mlflow.entities, experiment, trial)
        num_trials += 1
    return num_trials


def store_uri(folder: Path) -> str:
    """What `mlflow ui --backend-store-uri` takes."""
    return f"sqlite:///{folder.absolute()}/mlflow.db"


def _add_run(client: Any, entities: Any, experiment: str, trial: LoggedTrial) -> None:
    run = client.create_run(
        experiment,
        start_time=_milliseconds(trial.started_at),
        run_name=trial.trial_id,
        tags={"status": trial.status, "cause": trial.cause, "message": trial.message[:_LONGEST]},
    )
    params = [entities.Param(key, str(value)) for key, value in trial.hparams.items()]
    for begin in range(0, len(params), _MOST_PARAMS):
        client.log_batch(run.info.run_id, params=params[begin : begin + _MOST_PARAMS])
    last = Point(epoch=trial.points[-1].epoch if trial.points else 0, at=trial.ended_at, metrics=_rest(trial))
    metrics = [
        entities.Metric(key, value, _milliseconds(point.at), point.epoch)
        for point in (*trial.points, last)
        for key, value in point.metrics.items()
    ]
    for begin in range(0, len(metrics), _MOST_METRICS):
        client.log_batch(run.info.run_id, metrics=metrics[begin : begin + _MOST_METRICS])
    if trial.status != "running":
        status = _STATUSES.get(trial.status, "FINISHED")
        client.set_terminated(run.info.run_id, status=status, end_time=_milliseconds(trial.ended_at))


def _rest(trial: LoggedTrial) -> dict[str, float]:
    """What only the summary has."""
    shown = {name for point in trial.points for name in point.metrics}
    return {name: value for name, value in trial.summary.items() if name not in shown}


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
