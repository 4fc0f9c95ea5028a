"""Runs on a node with one GPU, driven by the test, and the contents of their energy tables."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from search.accounting.reconciliation import EnergyCheck, check_energy
from search.energy.reading import EnergyReading
from search.ledger import Ledger, csv_text
from search.run import Run
from search.tables import live_tables
from search.trial import EpochRow
from search.trial.background import Background
from tests.support.fake_clock import FakeClock
from tests.support.meters import OneGpu, OneWindow
from tests.support.toy_runs import made_space, sampler_for

Tables = Mapping[str, Sequence[dict[str, str]]]


class Scene:
    """A run on a node with one GPU, driven by the test."""

    def __init__(
        self, folder: Path, *overrides: str, share: str = "1", background: Background | None = None
    ) -> None:
        self.clock = FakeClock()
        self.gpu = OneGpu(self.clock, share)
        self.space = made_space(folder, overrides=overrides)
        self.folder, self.background = folder, background
        self.open()

    def open(self) -> None:
        path = self.folder / "run"
        ledger = Ledger(path) if Ledger(path).has_run else Ledger.create(path)
        self.run = Run(
            self.space,
            sampler_for(self.space),
            ledger,
            metering=self.gpu,
            background=self.background,
            clock=self.clock,
        )

    def start(self) -> tuple[str, OneWindow]:
        task = self.run.next_task()
        assert task is not None
        return task.trial_id, self.gpu.window(task.trial_id)

    def use(self, joules: float) -> None:
        """Let a second pass in which the device uses `joules`."""
        self.gpu.counter.metered_mj += round(joules * 1000)
        self.clock.now_s += 1.0

    def epoch(self, trial_id: str, window: OneWindow, joules: float, epoch: int = 1) -> str:
        before = window.read()
        self.use(joules)
        return self.run.on_epoch(
            trial_id,
            epoch_row(epoch, window.read() - before, window.window, sensors=window.sensors.to_dict()),
        )


def epoch_row(epoch: int, energy: EnergyReading, window: str, **others: Any) -> EpochRow:
    """The row of an epoch of 1 s, on a ladder of 1, 3 and 9 epochs."""
    return EpochRow(
        epoch=epoch,
        rung={1: 0, 2: 1, 3: 1}.get(epoch, 2),
        completes_rung=epoch in {1, 3, 9},
        metrics={"val_accuracy": 0.5},
        seconds=1.0,
        energy=energy,
        window=window,
        **others,
    )


def checked(run: Run) -> tuple[list[str], list[str]]:
    check = checked_tables(written(run))
    return check.problems, check.notes


def checked_tables(tables: Tables) -> EnergyCheck:
    return check_energy(tables["trials.csv"], tables["energy.csv"], tables["devices.csv"])


def written(run: Run) -> Tables:
    """The run's tables as read back from their files."""
    tables = live_tables(run.space, run.history).items()
    return {name: list(csv.DictReader(csv_text(*table).splitlines())) for name, table in tables}
