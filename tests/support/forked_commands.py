"""Commands in forked processes, which need no imports and no Ray and may be killed."""

from __future__ import annotations

import gc
import os
import select
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from search import cli, launch
from search.accounting.account import Metering
from search.energy.attribution.learning import KnownWatts
from search.energy.attribution.windows import Role
from search.energy.reading import EnergyMeter, EnergySummary
from search.space import Space
from search.trial import task as tasks
from search.trial.task import TrialTask
from search.trial.training import Checkpointing
from tests.support.failing_disk import Accident, FailingDisk
from tests.support.fake_clock import FakeClock
from tests.support.meters import OneGpu, OneWindow
from tests.support.run_without_ray import LocalTestBackend, search_without_ray

MOST_S = 120.0  # a search of 16 small trials takes 0.3 s; anything this long hangs


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        status: The exit status, or minus the signal that ended it; None if it hung and was killed.
    """

    status: int | None
    output: str
    errors: str


def command(name: str, *words: object, log: Path) -> Ended:
    """Run one of the commands of scripts/ to its end."""
    return forked(lambda: cli.run(name, list(map(str, words))), log)


def search(*words: object, results: Path, log: Path, accident: Accident | None = None) -> Ended:
    """Run the search command without Ray; an accident fails its disk below `results`, or kills it there."""

    def searched() -> int:
        undone = pytest.MonkeyPatch()
        run_search = search_without_ray(undone, make_backend=MeasuringBackend)
        _write_often(undone)
        if accident:
            FailingDisk(results, accident, log.with_suffix(".accident")).install()
        return run_search(*words)

    return forked(searched, log)


def forked(act: Callable[[], int], log: Path) -> Ended:
    """Run `act` in a process of its own; return its status and what it printed."""
    files = log.with_suffix(".out"), log.with_suffix(".err")
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        _live(act, *files)
    return Ended(_status_of(pid), *(path.read_text(errors="replace") for path in files))


def _live(act: Callable[[], int], out: Path, err: Path) -> None:
    """Run `act` and exit the process at once, without any clean-up of the parent's state."""
    status = 70
    try:
        gc.disable()  # else generators of the parent could be closed here
        for path, number in ((out, 1), (err, 2)):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        sys.stdout, sys.stderr = (open(number, "w", closefd=False) for number in (1, 2))  # noqa: SIM115
        status = act()
    except SystemExit as left:
        status = left.code if isinstance(left.code, int) else 70
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _status_of(pid: int) -> int | None:
    alive = os.pidfd_open(pid)
    try:
        is_over = select.select([alive], [], [], MOST_S)[0]
        if not is_over:
            os.kill(pid, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        return status if is_over else None
    finally:
        os.close(alive)


class MeasuringBackend(LocalTestBackend):
    """The local backend with a GPU whose counter advances."""

    def start_metering(self, space: Space, known_w: KnownWatts) -> tuple[Metering, str]:
        self._gpu = TickingGpu()
        return self._gpu, ""

    @contextmanager
    def metered(self, task: TrialTask) -> Iterator[EnergyMeter]:
        yield self._gpu.window(task.trial_id)


def _write_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write tables at each trial's end and a checkpoint at each epoch, so that more can go wrong.

    Nothing then depends on how long anything takes.
    """
    monkeypatch.setattr(tasks, "Checkpointing", partial(Checkpointing, every_s=0.0))
    monkeypatch.setattr(launch, "Tables", partial(launch.Tables, every_s=0.0, clock=lambda: 0.0))
    monkeypatch.setattr(launch, "ForecastReporter", lambda *_: None)


class TickingGpu(OneGpu):
    """A GPU that uses 70 mJ between two readings of its counter.

    Its windows have names unique to the session, as with Ray's jobs.
    """

    def __init__(self) -> None:
        super().__init__(FakeClock())
        self._session = uuid4().hex[:8]
        self.counter.read_mj = self._moved  # type: ignore[method-assign]

    def window(self, trial_id: str, role: Role = "trial") -> Any:
        return _NamedWindow(super().window(trial_id, role), self._session)

    def close_windows(self, trial_id: str) -> Sequence[EnergySummary]:
        return [
            replace(closed, window=f"{self._session}/{closed.window}")
            for closed in super().close_windows(trial_id)
        ]

    def _moved(self) -> int:
        self.counter.metered_mj += 70
        return self.counter.metered_mj


class _NamedWindow:
    def __init__(self, window: OneWindow, session: str) -> None:
        self._window, self.window = window, f"{session}/{window.window}"

    def __getattr__(self, name: str) -> Any:
        return getattr(self._window, name)
