"""Keeps the files that are made from the journal up to date: a run's tables, a promoted training's files.

As observers of the run they act after an event is in the journal, so a table never shows what a kill could
still undo. Each file is replaced whole, so that a reader sees the old one or the new one, never half of one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from search.command_lines import typed_command
from search.ledger import Ledger, csv_text
from search.ledger.history import History
from search.provenance import versions
from search.run import Run
from search.space import Space
from search.tables.analysis import (
    DUPLICATE_CURVES_COLUMNS,
    RUNG_CORRELATION_COLUMNS,
    configuration_columns,
    configuration_rows,
    duplicate_curves_rows,
    pareto_columns,
    pareto_rows,
    rung_correlation_rows,
)
from search.tables.energy import DEVICE_COLUMNS, ENERGY_COLUMNS, device_rows, energy_rows
from search.tables.history import history_columns, history_rows
from search.tables.trials import trial_columns, trial_rows
from search.trial.task import config_text, task_for
from search.trial.trial_folder import CONFIG, HISTORY

_TIMES_THEIR_COST = 20  # pause between two writings, in multiples of what the last one took
CLOCKS_DIFFER_S = 0.1  # a file's time is the kernel's, which is up to 10 ms behind
Table = tuple[Sequence[str], Sequence[Mapping[str, Any]]]  # columns and rows


def live_tables(space: Space, history: History) -> dict[str, Table]:
    """The tables that follow a run, by file name.

    Tables that would be empty are left out: devices.csv without sensors, configurations.csv without repeats,
    pareto.csv without several objectives.
    """
    tables: dict[str, Table] = {
        "trials.csv": (trial_columns(space, history), trial_rows(space, history)),
        "energy.csv": (ENERGY_COLUMNS, energy_rows(history)),
    }
    if devices := device_rows(history):
        tables["devices.csv"] = DEVICE_COLUMNS, devices
    if space.repeats > 1:
        rows = configuration_rows(space, history)
        tables["configurations.csv"] = configuration_columns(space, history), rows
    if space.beside:
        tables["pareto.csv"] = pareto_columns(space, history), pareto_rows(space, history)
    return tables


class Tables:
    """Keeps the CSV files up to date during a run.

    Writing them whole takes longer the more trials there are, and writing them after each trial would cost
    the square of the number of trials. So they are written less and less often, and take at most one part in
    21 of a run's time. The end of the run always writes them.

    Args:
        every_s: Minimum time between two writings; 20 times what the last one took, if that is longer.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        ledger: Ledger,
        space: Space,
        history: History,
        *,
        every_s: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger, self._space, self._history = ledger, space, history
        self._every_s, self._clock = every_s, clock
        self._due_s = float("-inf")

    def on_event(self, event: Mapping[str, Any]) -> None:
        """Write the tables after a trial's end, if the last writing is long enough ago."""
        is_due = self._clock() >= self._due_s
        if event["event"] == "run_ended" or (event["event"] == "trial_ended" and is_due):
            self.write()
        if event["event"] == "run_ended":
            # Only at the end: intervals and comparisons of all curves are worth nothing while most trials are
            # under way.
            correlations = rung_correlation_rows(self._space, self._history)
            self._ledger.write_csv("rung_correlation.csv", RUNG_CORRELATION_COLUMNS, correlations)
            duplicates = duplicate_curves_rows(self._space, self._history)
            self._ledger.write_csv("duplicate_curves.csv", DUPLICATE_CURVES_COLUMNS, duplicates)

    def write(self) -> None:
        """Write the tables of trials and devices now."""
        began_s = self._clock()
        for name, (columns, rows) in live_tables(self._space, self._history).items():
            self._ledger.write_csv(name, columns, rows)
        ended_s = self._clock()
        self._due_s = ended_s + max(self._every_s, _TIMES_THEIR_COST * (ended_s - began_s))


class TrialHistories:
    """Writes history.csv of every trial that has ended, so that trials leave more than a checkpoint.

    Files that a kill kept from being written, and those of trials that stayed paused, are written when the
    run ends. A file may also be there and too old: of a trial that was interrupted, resumed, and had ended
    when its session was killed.
    """

    def __init__(self, run: Run) -> None:
        self._run = run

    def on_event(self, event: Mapping[str, Any]) -> None:
        """Write the history of a trial that has ended, and the missing ones when the run has."""
        if event["event"] == "trial_ended" and event["status"] != "paused":
            self._write(event["trial"])
        elif event["event"] == "run_ended":
            for trial_id, trial in self._run.history.trials.items():
                if trial.rows and (trial.status == "paused" or not self._is_written(trial_id)):
                    self._write(trial_id)

    def _is_written(self, trial_id: str) -> bool:
        """Whether the last file of a trial was written at its end or later."""
        file, ended_at = self._last_file(trial_id), self._run.history.trials[trial_id].ended_at or 0.0
        return file.is_file() and file.stat().st_mtime >= ended_at - CLOCKS_DIFFER_S

    def _last_file(self, trial_id: str) -> Path:
        """The file of a trial that is written last."""
        return self._run.ledger.trial(trial_id).history

    def _write(self, trial_id: str) -> None:
        """Write history.csv of one trial, whole, from its rows in the history."""
        ledger, trial = self._run.ledger, self._run.history.trials[trial_id]
        rows = history_rows(trial.rows)
        place = ledger.trial_folder(trial_id).relative_to(ledger.folder)
        ledger.write_text(f"{place}/{HISTORY}", csv_text(history_columns(rows), rows))


class FinalTables(TrialHistories):
    """Writes config.yaml of a promotion's trainings, beside their history.

    config.yaml has every setting that the result depends on, and in its first line the command that repeats
    the training.
    """

    def _last_file(self, trial_id: str) -> Path:
        return self._run.ledger.trial(trial_id).config

    @cached_property
    def _versions(self) -> dict[str, Any]:
        """Versions of Python and packages, looked up once: git describes the commit in a separate process."""
        return versions()

    def _write(self, trial_id: str) -> None:
        """Write history.csv and config.yaml.

        The command in config.yaml also tests (`--test`), and writes into a folder `again`, so that the two
        results can be compared.
        """
        super()._write(trial_id)
        ledger, trial = self._run.ledger, self._run.history.trials[trial_id]
        folder = ledger.trial_folder(trial_id)
        task = task_for(
            self._run.space, trial_id=trial_id, hparams=trial.hparams, seed=trial.seed, folder=folder
        )
        command = typed_command(
            *("train", "--space", ledger.space_file),
            *("--trial", f"{ledger.folder}:{trial_id}", "--seed", trial.seed),
            *("--device", "cuda" if task.gpus else "cpu", "--test", "--out", "again"),
        )
        config = config_text(task, self._versions, command=command, parent_trial=trial.parent_trial)
        ledger.write_text(f"{folder.relative_to(ledger.folder)}/{CONFIG}", config)
