"""The warm worker: one process that trains one trial after another.

A new process imports torch (1 to 3 s), opens the GPU and reads the data again, which at small budgets takes
longer than the epochs themselves; a warm one does not. The price is that a trial could be affected by what an
earlier one left: `readiness` restores that, or has the process replaced.
"""

from __future__ import annotations

import contextlib
import faulthandler
import functools
import gc
import os
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from search.backends.ray.children import end_if_forked
from search.backends.ray.memory_watch import MemoryWatch, watching
from search.backends.ray.metering import TrialWindow, node_meter
from search.backends.ray.readiness import Readiness
from search.backends.trial_log import captured, epoch_line, has_epoch_line, open_log
from search.energy.attribution.windows import Role
from search.energy.process_meter import meter_for
from search.energy.reading import EnergyMeter
from search.trial import EpochRow, run_task
from search.trial.epoch_time import overdue, start_limit_s
from search.trial.failure import classify
from search.trial.task import TrialTask
from trainables.core.gpu import release_memory


class TrialWorker:
    """A Ray actor that trains one trial after another: one `step` is one epoch of `run_task`.

    The process, its imports and its data stay alive between trials. Everything that belongs to a trial hangs
    on its generator and goes with it, and whatever else it changed is restored. Errors are results like any
    other, so that they do not cost the process; only an error that leaves the process unusable is raised.
    """

    _is_released = True  # until the first task
    _memory: MemoryWatch | None = None
    _ends: ExitStack | None = None

    def take(self, task: TrialTask) -> bool:
        """Accept a task; return False if it needs a new process, because an earlier trial spoilt this one.

        Nothing is loaded yet: the first `step` is the start, and has a deadline.
        """
        self.release()
        self._task = task
        self._rows: Iterator[EpochRow | None] | None = None
        self._ready = _readiness(task.trainable)
        self._pid = os.getpid()
        self._is_released = False
        self._memory, self._ends = watching(has_gpu=bool(task.gpus)) if task.memory else (None, None)
        return not self._ready.unfit

    def release(self) -> None:
        """Release the GPU memory, the script and the folder's lock of a trial that ended or paused here.

        The trial may continue on another worker before this one is given another trial. What it changed in
        the process is restored; if that is not possible, the process is unfit.
        """
        if self._is_released:
            return
        self._is_released = True
        try:
            self.cleanup()
            if lines := self._ready.restore():
                self._log("\n".join(lines))
        except (
            BaseException
        ):  # caused by the trial that ended: the next one is not to blame, and gets a new process
            self._log(f"the worker could not be made ready for another trial\n{traceback.format_exc()}")
            os._exit(1)

    def step(self) -> dict[str, Any]:
        """Start the training or run its next epoch.

        Returns:
            "started" once the first epoch may begin, if epochs have a limit; "row" after an epoch; "failure"
            if the attempt failed.
        """
        if self._rows is None:
            self._ready.begin(self._task.training.seed)
            self._rows = _rows(self._task, self._ready, must_save=self._must_save)
        try:
            with captured(self._task.log):
                row = next(self._rows)
            end_if_forked(self._pid, None)
            if row is None:
                return {"started": True}
        except BaseException as error:
            end_if_forked(self._pid, error)
            if _is_rays(error):
                raise
            self._rows = None
            failure = classify(error)
            self._log(failure.traceback)
            if failure.is_sticky:
                raise
            return {"failure": failure}
        if late := overdue(row, self._task.epoch_limit_s):
            self._rows = None
            self._log(late.message)
            return {"failure": late}
        if not (row.is_replay and has_epoch_line(row, self._task.log)):
            self._log(epoch_line(row))
        # As in the table's note: a checkpoint that could not be read or written.
        if lost := row.notes.get("checkpoint"):
            self._log(f"  checkpoint: {lost}")
        # A retry in this worker may use the states of all epochs reported so far.
        self._task = replace(self._task, known_epochs=max(self._task.known_epochs or 0, row.epoch))
        if self._memory and not row.is_replay:
            row = replace(row, memory_mib=self._memory.take_mib())
        return {"row": row}

    def _log(self, text: str) -> None:
        """Add lines to the log, not through the stream the trial printed to, which it may have closed."""
        with open_log(self._task.log) as log:
            log.write(text.rstrip("\n") + "\n")

    def _must_save(self) -> bool:
        """Return whether the trial may be moved after this epoch, so that its state must be saved.

        It may if it has outgrown its share of a device's memory, or is measured for the first time.
        """
        share = self._task.memory
        if share is None or self._memory is None:
            return False
        return not share.is_known or self._memory.has_exceeded(share.mib)

    def cleanup(self) -> None:
        """Release the training, its GPU memory and its meter."""
        self._rows = None
        if self._ends:
            self._ends.close()
        gc.collect()  # reference cycles of the training would keep its GPU memory
        release_memory()
        gc.freeze()  # only modules and caches are left: with torch, a collection then takes 1 ms, not 0.2 s


def _rows(task: TrialTask, ready: Readiness, *, must_save: Callable[[], bool]) -> Iterator[EpochRow | None]:
    """Yield the rows of `task`; before them, if epochs have a limit, None once the first one may begin."""
    limit_s = task.epoch_limit_s
    with metered(task) as (meter, hold):
        with _announcing_waits(task.log, limit_s and start_limit_s(limit_s)):
            checkpointing = replace(task.checkpointing, must_save=must_save)
            rows = run_task(task, meter, checkpointing=checkpointing, importing=ready.importing)
        if limit_s is not None:
            yield None
        while True:
            with _announcing_waits(task.log, limit_s):
                row = next(rows, None)
            if row is None:
                return
            yield row
            hold()


@contextlib.contextmanager
def _announcing_waits(path: Path, limit_s: float | None) -> Iterator[None]:
    """Write every thread's stack to the log if the block exceeds its limit.

    A C thread does this, so it need not wait for Python: the driver ends the process soon afterwards.
    """
    if limit_s is None:
        yield
        return
    with open_log(path) as log:
        faulthandler.dump_traceback_later(limit_s, file=log)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()


def _is_rays(error: BaseException) -> bool:
    """Whether Ray ends this process with this error. A trial that calls `sys.exit()` has merely failed."""
    return isinstance(error, SystemExit) and hasattr(error, "ray_terminate_msg")


@contextlib.contextmanager
def metered(task: TrialTask, *, role: Role = "trial") -> Iterator[tuple[EnergyMeter, Callable[[], None]]]:
    """Yield a window at the node's meter, and a function that waits for the trial's turn between two epochs.

    Without a node's meter it is the process's own, which sees no other trial.
    """
    if (actor := _node_meter()) is None:
        yield _own_meter(task.gpus, task.cpus), _continue_at_once
        return
    key = task.kind_of_work
    window = TrialWindow(actor, task.trial_id, gpus=task.gpus, cpus=task.cpus, key=key, role=role)
    try:
        yield window, window.wait_for_slot if task.has_exclusive_slots else _continue_at_once
    finally:
        window.close()


def _continue_at_once() -> None:
    return None


_node_meter = functools.cache(node_meter)


_readiness = functools.cache(Readiness)  # once per process: a run has one trainable


@functools.cache
def _own_meter(gpus: float, cpus: float) -> EnergyMeter:
    """Open the process's own meter, once, because probing sensors takes time."""
    return meter_for(gpus=gpus, cpus=cpus)
