"""The warm worker: one process that trains one trial after another."""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from ray.tune import Trainable as TuneTrainable

from search.cluster.metering import TrialLease, node_meter
from search.cluster.trial_log import open_log
from search.energy import EnergyMeter, meter_for
from search.energy.attribution.leases import Role
from search.trial import EpochRow
from search.trial.failure import classify
from search.trial.task import TrialTask, run_task
from trainables.gpu import release_memory


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
        self.release()
        self.setup(new_config)
        return True

    def release(self) -> None:
        """Drop what belongs to the trial, which has ended or pauses here: its GPU memory, its script and the
        lock on its folder. It may be promoted on another worker before this one is given another trial."""
        try:
            self.cleanup()
        except Exception:  # of the trial that has ended: the next one is not to blame, and gets a new process
            with open_log(self._task.log) as log:
                log.write(f"the worker could not be made ready for another trial\n{traceback.format_exc()}")
            os._exit(1)

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
            if not (row.is_replay and _is_logged(row, self._task.log)):
                log.write(_line(row) + "\n")
            if lost := row.notes.get("checkpoint"):
                log.write(f"  checkpoint: {lost}\n")
            self._task = replace(self._task, known_epochs=max(self._task.known_epochs or 0, row.epoch))
        return {"row": row}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: a trial's state is saved by `run_trial`, in the run's own folder."""

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
        """Nothing: `run_trial` goes on from the checkpoint it finds."""

    def cleanup(self) -> None:
        self._rows = None
        gc.collect()  # a training's cycles would keep its GPU memory
        release_memory()
        gc.freeze()  # what is left is modules and caches: with torch a collection goes from 0.2 s to 1 ms


def _rows(task: TrialTask) -> Iterator[EpochRow]:
    with metered(task) as (meter, hold):
        for row in run_task(task, meter):
            yield row
            hold()


@contextlib.contextmanager
def metered(task: TrialTask, *, role: Role = "trial") -> Iterator[tuple[EnergyMeter, Callable[[], None]]]:
    """A lease at the node's meter, and what waits for its turn between two epochs.

    Without a meter of the node the process's own, which sees no other trial.
    """
    if (actor := _node_meter()) is None:
        yield _own_meter(task.gpus, task.cpus), _go_on
        return
    key = _kind_of_work(task)
    lease = TrialLease(actor, task.trial_id, gpus=task.gpus, cpus=task.cpus, key=key, role=role)
    try:
        yield lease, lease.hold if task.has_solo_slices else _go_on
    finally:
        lease.close()


def _go_on() -> None:
    return None


_node_meter = functools.cache(node_meter)


@functools.cache
def _own_meter(gpus: float, cpus: float) -> EnergyMeter:
    """Opened once, for probing sensors costs time."""
    return meter_for(gpus=gpus, cpus=cpus)


def _kind_of_work(task: TrialTask) -> str:
    """What makes trials draw alike for the same utilisation."""
    knobs = (task.hparams.get(name, "") for name in ("model", "batch_size"))
    return " ".join(map(str, (task.trainable, *knobs, task.resolution)))


@contextlib.contextmanager
def _captured(log: Any) -> Iterator[None]:
    with contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
        yield


def _line(row: EpochRow) -> str:
    metrics = "  ".join(f"{name} {value:.6g}" for name, value in row.metrics.items())
    start = "" if row.start_s is None else f"  (start {row.start_s:.2f} s)"
    return f"{_head(row)}{row.seconds:.2f} s{start}  {metrics}"


def _head(row: EpochRow) -> str:
    return f"epoch {row.epoch}  rung {row.rung}  "


def _is_logged(row: EpochRow, log: Path) -> bool:
    """Whether the epoch that a trial resumes after has its line: it has not if its worker was lost."""
    try:
        with log.open(encoding="utf-8", errors="replace") as lines:
            return any(line.startswith(_head(row)) for line in lines)
    except OSError:  # a log that cannot be read takes no line either
        return True
