"""A run in an experiment tracker: TensorBoard event files, or an MLflow experiment.

TensorBoard files are written by tensorboardX, which Ray Tune requires, so it is always there. MLflow has to
be installed separately, since it brings a web server and a database layer.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from search.export import ExportError
from search.export.tracked_trial import LoggedTrial, Point

_STATUSES = {"failed": "FAILED", "diverged": "FAILED", "interrupted": "KILLED"}
# What MLflow accepts in one call of `log_batch`, and the length of a tag, in characters, that every version
# accepts.
_MOST_METRICS = 1000
_MOST_PARAMS = 100
_LONGEST = 500
_LONGEST_NAME, _LONGEST_PARAM = 250, 6000
_UNNAMABLE = re.compile(r"[^/\w.\- :]")


def export_tensorboard(trials: Iterable[LoggedTrial], folder: Path, *, metric: str) -> int:
    """Write every trial's curves and hparams; return the number of trials.

    The HParams tab compares `metric`, the other values of the last epoch, and what a trial cost.
    """
    from tensorboardX import SummaryWriter
    from tensorboardX.summary import hparams

    logging.getLogger("tensorboardX").setLevel(logging.ERROR)  # it warns once for each NaN
    num_trials = 0
    for trial in trials:
        with SummaryWriter(logdir=str(folder / trial.trial_id)) as writer:
            compared = [metric, *(name for name in trial.summary if name != metric)]
            for summary in hparams(dict(trial.hparams), dict.fromkeys(compared)):
                writer.file_writer.add_summary(summary, walltime=trial.started_at)
            _add_points(writer, trial)
        num_trials += 1
    return num_trials


def _add_points(writer: Any, trial: LoggedTrial) -> None:
    """Add the curves, with the time of each epoch, so that TensorBoard can show wall time on the x axis."""
    for point in (*trial.points, _summary_point(trial)):
        for name, value in point.metrics.items():
            writer.add_scalar(name, value, point.epoch, walltime=point.at)


def missing_mlflow() -> list[str]:
    """A line that says how to install MLflow; none if it is installed."""
    if importlib.util.find_spec("mlflow") is not None:
        return []
    return [f"--mlflow: mlflow is not installed; install it: {sys.executable} -m pip install mlflow"]


def export_mlflow(trials: Iterable[LoggedTrial], folder: Path, *, name: str) -> int:
    """Write an experiment with a run per trial to `folder`, as a database that `mlflow ui` opens.

    Nothing is sent to a server, whatever MLFLOW_TRACKING_URI is set to.

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
    """The value for `mlflow ui --backend-store-uri`."""
    return f"sqlite:///{folder.absolute()}/mlflow.db"


def _add_run(client: Any, entities: Any, experiment: str, trial: LoggedTrial) -> None:
    """Add one trial as a run. A trial that is still running gets no end, so MLflow shows it as running too.

    MLflow counts time in whole milliseconds since 1970.
    """
    run = client.create_run(
        experiment,
        start_time=_milliseconds(trial.started_at),
        run_name=trial.trial_id,
        tags={"status": trial.status, "cause": trial.cause, "message": trial.message[:_LONGEST]},
    )
    names = _names_in_mlflow(trial.hparams)
    params = [entities.Param(names[key], str(value)[:_LONGEST_PARAM]) for key, value in trial.hparams.items()]
    for begin in range(0, len(params), _MOST_PARAMS):
        client.log_batch(run.info.run_id, params=params[begin : begin + _MOST_PARAMS])
    points = (*trial.points, _summary_point(trial))
    names = _names_in_mlflow(dict.fromkeys(key for point in points for key in point.metrics))
    metrics = [
        entities.Metric(names[key], value, _milliseconds(point.at), point.epoch)
        for point in points
        for key, value in point.metrics.items()
    ]
    for begin in range(0, len(metrics), _MOST_METRICS):
        client.log_batch(run.info.run_id, metrics=metrics[begin : begin + _MOST_METRICS])
    if trial.status != "running":
        status = _STATUSES.get(trial.status, "FINISHED")
        client.set_terminated(run.info.run_id, status=status, end_time=_milliseconds(trial.ended_at))


def _names_in_mlflow(names: Iterable[str]) -> dict[str, str]:
    """Each name in the characters that MLflow takes, which lack the brackets of "metrics/mAP50(B)".

    A name is also a path there: none of its parts may be empty or consist of dots.
    """
    found: dict[str, str] = {}
    for name in names:
        parts = _UNNAMABLE.sub("_", name).split("/")
        plain = "/".join(part for part in parts if part.strip("."))[:_LONGEST_NAME] or "_"
        found[name] = plain if plain not in found.values() else f"{plain[: _LONGEST_NAME - 8]}-{len(found)}"
    return found


def _summary_point(trial: LoggedTrial) -> Point:
    """The values that only the summary has, by name, at the last epoch.

    Values that epochs also have are left out: a second one at the same step would be drawn as a jump.
    """
    shown = {name for point in trial.points for name in point.metrics}
    epoch = trial.points[-1].epoch if trial.points else 0
    left = {name: trial.summary[name] for name in sorted(set(trial.summary) - shown)}
    return Point(epoch=epoch, at=trial.ended_at, metrics=left)


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
