"""Execute a run in this process, one trial after another, without Ray: for debugging, notebooks and tests.

Breakpoints in a trainable work, and what a trial prints is visible, since nothing is captured or sent to
another process. The price is that only one trial runs at a time, that whatever a trial changes in the process
(other than random seeds) is left for the next one, and that nothing can end an epoch that hangs.
"""

from __future__ import annotations

import bdb
import gc
import os
import socket
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import replace
from typing import Any, TextIO
from uuid import uuid4

from search.accounting.account import Metering
from search.backends.backend import Capacity, Say
from search.backends.sensors import start_metering_if_measurable
from search.backends.trial_log import epoch_line, open_log
from search.energy.attribution.learning import KnownWatts
from search.energy.gpus import visible_gpus
from search.energy.node import CpuPower, open_node_meter
from search.energy.process_meter import ProcessMeter, meter_for
from search.energy.reading import EnergyMeter, EnergySummary
from search.preflight import PreflightRequest, Report
from search.preflight.local import examining_here
from search.run import Run
from search.space import Space
from search.trial import EpochRow, run_task
from search.trial.background import Background
from search.trial.epoch_time import overdue
from search.trial.failure import Failure, classify
from search.trial.task import TrialTask
from search.trial.worker_env import seed_all
from trainables.core.gpu import release_memory

_NOTES = ["--backend local: one trial at a time, in this process; an epoch that hangs is not ended"]


class LocalBackend:
    """Trains in this process, on its GPUs and cores."""

    where = "training in this process"
    is_here = is_in_process = True

    def __init__(self) -> None:
        self._meters: LocalMeters | None = None

    def examining(
        self, request: PreflightRequest
    ) -> AbstractContextManager[Callable[[Say], Sequence[Report]]]:
        """Check in a separate process even here: a trainable that exits on import should cause a message."""
        return examining_here(request)

    @contextmanager
    def started(self, *, remedy: str) -> Iterator[Capacity]:
        """Yield this machine's capacity: nothing has to start. Opened meters are closed after the block."""
        num_gpus = len(visible_gpus(os.environ).uuids)
        try:
            yield Capacity(
                num_cpus=len(os.sched_getaffinity(0)),
                num_gpus=num_gpus,
                max_workers=1,
                has_room_beside=False,
                notes=_NOTES,
            )
        finally:
            if self._meters:
                self._meters.close()
                self._meters = None

    def start_metering(self, space: Space, known_w: KnownWatts) -> tuple[Metering, str]:
        """Open a meter of this machine, as a search with Ray does on each node."""

        def start(cpu_power: CpuPower | None) -> Metering:
            self._meters = LocalMeters(cpu_power, known_w)
            return self._meters

        return start_metering_if_measurable(space, start, is_here=True)

    @contextmanager
    def metered(self, task: TrialTask) -> Iterator[EnergyMeter]:
        """Yield the meter of one attempt; without sensors, one that says so in each row."""
        if self._meters:  # the run closes the window, so that it is booked once
            yield self._meters.open_window(task)
        else:
            with closing(meter_for(gpus=task.gpus, cpus=task.cpus)) as meter:
                yield meter

    def execute(self, run: Run, *, background: Background | None = None, say: Say = lambda line: None) -> str:
        """Execute `run` to its end and return the reason it ended.

        An epoch that takes longer than `limits.epoch_minutes` fails its attempt, as on Ray, but only once the
        epoch has ended.
        """
        assert background is None, "a backend without room beside trials is given none"
        while (task := run.next_task()) is not None:
            while self._must_retry(run, task):
                task = run.retried(task)
        return run.end()

    def _must_retry(self, run: Run, task: TrialTask) -> bool:
        """Train `task` until the run stops it, and return whether it failed and should be retried.

        Every error of the trial itself is a failure, including `SystemExit`. Actions of the user (Ctrl-C, q
        in pdb) and errors of the journal are not: they end the run.
        """
        with open_log(task.log) as log, self.metered(task) as meter:
            try:
                late = _train(run, task, meter, log)
            except bdb.BdbQuit as quit:  # q in pdb: from the user, not the trial
                raise KeyboardInterrupt from quit
            except (Exception, SystemExit, GeneratorExit) as error:  # a trial's own error never ends the run
                late = classify(error)
                log.write(late.traceback.rstrip("\n") + "\n")
        if late is None:
            return False
        if late.is_sticky:  # such as a CUDA error, after which Ray would start another process
            run.interrupt(f"{late.cause}: {late.message}; it leaves this process unusable", is_failure=True)
        return run.on_failure(task.trial_id, late)


def _train(run: Run, task: TrialTask, meter: EnergyMeter, log: TextIO) -> Failure | None:
    """Train until the run stops the trial; return the failure of an epoch that took too long, if any."""
    seed_all(task.training.seed)
    with closing(_rows(task, meter)) as rows:
        for row in rows:
            if not row.is_replay:
                run.check_epoch_time(task.trial_id, row.seconds)
                log.write(epoch_line(row) + "\n")
            if late := overdue(row, task.epoch_limit_s):
                log.write(late.message + "\n")
                return late
            if run.on_epoch(task.trial_id, row) == "stop":
                return None
    return None


def _rows(task: TrialTask, meter: EnergyMeter) -> Generator[EpochRow, None, None]:
    """Yield the rows of `task`, and then free its GPU memory for the next trial."""
    try:
        yield from run_task(
            task,
            meter,
            checkpointing=task.checkpointing,
            importing=lambda: _seeded_after_imports(task.training.seed),
        )
    finally:
        if task.gpus:
            gc.collect()  # reference cycles of the training would keep its GPU memory
            release_memory()


@contextmanager
def _seeded_after_imports(seed: int) -> Iterator[None]:
    """Seed again after the block: the first trial imports torch and numpy, which have seeds of their own."""
    yield
    seed_all(seed)


class LocalMeters:
    """The `Metering` of this machine, and the windows of trials in this process.

    A trial is charged as a Ray worker would be, by its reserved cores and its share of a GPU, so that joules
    of the same trial are comparable between the backends.
    """

    def __init__(self, cpu_power: CpuPower | None = None, known_w: KnownWatts | None = None) -> None:
        visible = visible_gpus(os.environ)
        self._gpus, self._gpu_reason = visible.uuids, visible.reason
        self._node = open_node_meter(visible.uuids, cpu_power=cpu_power, known_w=known_w)
        self._session = uuid4().hex[:8]  # makes window names unique among all sessions of a run
        self._open: dict[str, list[str]] = {}

    def open_window(self, task: TrialTask) -> EnergyMeter:
        """Return the meter of one attempt, which begins with a start."""
        shares = {uuid: min(task.gpus, 1.0) for uuid in self._gpus} if task.gpus else {}
        window = self._node.open_window(
            trial=task.trial_id,
            pid=os.getpid(),
            gpus=shares,
            cpu_share=min(task.cpus / (os.cpu_count() or 1), 1.0),
            key=task.kind_of_work,
            is_starting=True,
        )
        self._open.setdefault(task.trial_id, []).append(window)
        meter = ProcessMeter(self._node, window, reason=self._gpu_reason if task.gpus else "")
        meter.window = self._name(window)
        return meter

    def close_windows(self, trial_id: str) -> Sequence[EnergySummary]:
        """End the trial's windows and return their final summaries."""
        windows = self._open.pop(trial_id, [])
        return [replace(self._node.close_window(window), window=self._name(window)) for window in windows]

    def late_windows(self) -> Sequence[EnergySummary]:
        """Return none: no answer gets lost within a process."""
        return ()

    def device_rows(self) -> Sequence[Mapping[str, Any]]:
        """Return what each device has used since the session began: rows of devices.csv."""
        return self._node.device_rows()

    def close(self) -> None:
        """Close the meter; its open windows end with it."""
        self._node.close()

    def _name(self, window: str) -> str:
        """Return a window's name, which begins with the node as its devices' rows name it."""
        return f"{socket.gethostname()}/{self._session}/{window}"


class _OneMeter(LocalBackend):
    """A local backend whose trials share one meter made by the caller, for probes and tests."""

    def __init__(self, meter: EnergyMeter) -> None:
        super().__init__()
        self._meter = meter

    @contextmanager
    def metered(self, task: TrialTask) -> Iterator[EnergyMeter]:
        yield self._meter


def execute_here(run: Run, meter: EnergyMeter) -> str:
    """Execute `run` to its end, all trials on one meter, and return the reason it ended."""
    return _OneMeter(meter).execute(run)
