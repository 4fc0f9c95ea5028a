"""Sessions of a run that tests end at any event, as a kill would."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from search.backends.local import execute_here
from search.ledger import Ledger
from search.ledger.history import History
from search.run import Run
from search.sampling.proposal import Sampler
from search.space import Space
from tests.support.toy_runs import SteadyMeter

FATES = [
    {"fate": "fine", "score": 0.3},
    {"fate": "raise"},
    {"fate": "fine", "score": 0.5},
    {"fate": "nan"},
    {"fate": "fine", "score": 0.1},
    {"fate": "fine", "score": 0.6},
]


class Killed(BaseException):
    """Stands in for SIGKILL; nothing may catch it."""


class FragileLedger(Ledger):
    """A ledger that dies right after its n-th event is on disk."""

    events_left = 10**9

    def __init__(self, folder: Path, *, clock: Callable[[], float] = time.time) -> None:
        super().__init__(folder, clock=clock)
        self._write, self.journal.append = self.journal.append, self._append

    def _append(self, event: Mapping[str, Any]) -> dict[str, Any]:
        self.events_left -= 1
        stamped = self._write(event)
        if self.events_left < 0:
            raise Killed
        return stamped


class CopyingLedger(Ledger):
    """A ledger that copies its folder right before and after each event is on disk, as a kill leaves it."""

    num_copies = 0

    def __init__(self, folder: Path, *, clock: Callable[[], float] = time.time) -> None:
        super().__init__(folder, clock=clock)
        self._write, self.journal.append = self.journal.append, self._append

    def _append(self, event: Mapping[str, Any]) -> dict[str, Any]:
        if self.num_copies:
            shutil.copytree(self.folder, self.folder.with_name(f"cut-before-{self.num_copies}"))
        stamped = self._write(event)
        if event["event"] != "journal_started":  # a journal without a session: no run to resume
            shutil.copytree(self.folder, self.folder.with_name(f"cut-{self.num_copies}"))
            self.num_copies += 1
        return stamped


def session(space: Space, folder: Path, sampler: Sampler, *, events_left: int = 10**9) -> Run | None:
    """Run one process's session in `folder`; return the run if it finished, None if it was killed."""
    ledger = FragileLedger(folder) if Ledger(folder).has_run else FragileLedger.create(folder)
    assert isinstance(ledger, FragileLedger)
    ledger.events_left = events_left
    try:
        run = Run(space, sampler, ledger)
        execute_here(run, SteadyMeter())
    except Killed:
        return None
    return run


def whole(space: Space, folder: Path, sampler: Sampler) -> Run:
    """Execute the run in `folder` to its end."""
    run = session(space, folder, sampler)
    assert run is not None
    return run


def cut(space: Space, folder: Path, make_sampler: Callable[[], Sampler], events_left: int) -> Run:
    """Execute the run in `folder`, killed at this event and resumed to its end."""
    assert session(space, folder, make_sampler(), events_left=events_left) is None
    return whole(space, folder, make_sampler())


def whole_with_cuts(space: Space, folder: Path, sampler: Sampler) -> Run:
    """Execute the run in `folder` to its end, with copies of what a kill at each event would leave.

    A kill right after event N leaves cut-N beside the run, one right before it cut-before-N. `cut` repeats
    the events before each kill; here they happen once, which takes half the time.
    """
    run = Run(space, sampler, CopyingLedger.create(folder))
    execute_here(run, SteadyMeter())
    return run


def outcome(run: Run) -> list[tuple[object, ...]]:
    """The results that must not depend on interruptions."""
    return outcome_of_history(run.history)


def outcome_of_history(history: History) -> list[tuple[object, ...]]:
    """The same for a run that is over."""
    return [
        (
            trial.trial_id,
            dict(trial.hparams),
            trial.status,
            trial.cause,
            trial.epochs,
            trial.rung,
            curve(trial),
        )
        for trial in history.trials.values()
    ]


def curve(trial: Any) -> list[tuple[int, str]]:
    return [(epoch, str(row.metrics["val_accuracy"])) for epoch, row in trial.curve.items()]
