"""A run as TensorBoard event files: a folder per trial, written by tensorboardX, which Ray Tune brings."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from search.export.tracked_trial import LoggedTrial


def export_tensorboard(trials: Iterable[LoggedTrial], folder: Path, *, metric: str) -> int:
    """Write every trial's curves and hparams; gives the number of trials.

    The tab HParams compares `metric`, the other values of the last epoch, and what a trial cost.
    """
    from tensorboardX import SummaryWriter
    from tensorboardX.summary import hparams

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
    for point in trial.points:
        for name, value in point.metrics.items():
            writer.add_scalar(name, value, point.epoch, walltime=point.at)
    shown = {name for point in trial.points for name in point.metrics}
    for name in sorted(set(trial.summary) - shown):
        epoch = trial.points[-1].epoch if trial.points else 0
        writer.add_scalar(name, trial.summary[name], epoch, walltime=trial.ended_at)
