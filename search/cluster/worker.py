"""The warm worker: one process that trains one trial after another."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator
from typing import Any

from ray.tune import Trainable as TuneTrainable

from search.cluster.trial_log import open_log
from search.energy import EnergyMeter, meter_for
from search.failure import classify
from search.task import TrialTask
from search.trial import Checkpointing, EpochRow, run_trial

_meters: dict[tuple[float, float], EnergyMeter] = {}


class TrialWorker(TuneTrainable):
    """Ray Tune's view of a training: one `step` is one epoch of `run_trial`.

    The process, its imports and its data stay alive between trials; everything that belongs to
    a trial hangs on its generator and goes with it. Errors are results like any other, so that
    they do not cost the process: only an error that leaves the process unusable is raised.
    """

    def setup(self, config: dict[str, Any]) -> None:
        self._task: TrialTask = config["task"]
        self._rows: Iterator[EpochRow] | None = None

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.cleanup()
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        if self._rows is None:
            self._rows = _rows(self._task)
        with open_log(self._task.log) as log, _captured(log):
            try:
                row = next(self._rows)
            except Exception as error:
                self._rows = None
                failure = classify(error)
                log.write(failure.traceback)
                if failure.is_sticky:
                    raise
                return {"failure": failure}
            log.write(_line(row) + "\n")
        return {"row": row}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: a trial's state is saved by `run_trial`, in the run's own folder."""

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
        """Nothing: `run_trial` goes on from the checkpoint it finds."""

    def cleanup(self) -> None:
        self._rows = None
        gc.collect()  # a training's cycles would keep its GPU memory
        gc.freeze()  # what is left is modules and caches: with torch a collection goes from 0.2 s to 1 ms


def _rows(task: TrialTask) -> Iterator[EpochRow]:
    trainable, hparams = task.load()
    yield from run_trial(
        trainable,
        hparams,
        task.ladder,
        task.env(),
        _meter(task),
        checkpointing=Checkpointing(path=task.checkpoint),
        metric=task.metric,
        final=task.final if task.should_test else None,
    )


def _meter(task: TrialTask) -> EnergyMeter:
    """The process's meter for the trial's reservation; opened once, for probing sensors costs time."""
    reserved = task.gpus, task.cpus
    if reserved not in _meters:
        _meters[reserved] = meter_for(gpus=task.gpus, cpus=task.cpus)
    return _meters[reserved]


@contextlib.contextmanager
def _captured(log: Any) -> Iterator[None]:
    with contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
        yield


def _line(row: EpochRow) -> str:
    metrics = "  ".join(f"{name} {value:.6g}" for name, value in row.metrics.items())
    return f"epoch {row.epoch}  rung {row.rung}  {row.seconds:.2f} s  {metrics}"
