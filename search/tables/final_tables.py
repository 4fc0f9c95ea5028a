"""Keeps history.csv and config.yaml of promoted trainings, from the journal."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from search.ledger import csv_text
from search.provenance import versions
from search.run import Run
from search.tables.history import history_columns, history_rows
from search.trial.config import config_text
from search.trial.task import task_for
from search.trial.trial_folder import CONFIG, HISTORY


class FinalTables:
    """Follows a promotion. What a kill kept from being written is written at the end."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def on_event(self, event: Mapping[str, Any]) -> None:
        """Write the files of a training that has ended."""
        if event["event"] == "trial_ended":
            self._write(event["trial"])
        elif event["event"] == "run_ended":
            for trial_id, trial in self._run.history.trials.items():
                if trial.ended_at and not self._run.ledger.trial(trial_id).config.is_file():
                    self._write(trial_id)

    @cached_property
    def _versions(self) -> dict[str, Any]:
        return versions()

    def _write(self, trial_id: str) -> None:
        ledger, trial = self._run.ledger, self._run.history.trials[trial_id]
        folder = ledger.trial_folder(trial_id)
        rows = history_rows(trial.rows)
        task = task_for(
            self._run.space, trial_id=trial_id, hparams=trial.hparams, seed=trial.seed, folder=folder
        )
        command = [
            *("python", "scripts/train.py", "--space", ledger.space_file),
            *("--trial", f"{ledger.folder}:{trial_id}", "--seed", trial.seed),
            *("--device", "cuda" if task.gpus else "cpu", "--test", "--out", "again"),
        ]
        place = folder.relative_to(ledger.folder)
        ledger.write_text(f"{place}/{HISTORY}", csv_text(history_columns(rows), rows))
        config = config_text(
            task, self._versions, command=shlex.join(map(str, command)), parent_trial=trial.parent_trial
        )
        ledger.write_text(f"{place}/{CONFIG}", config)
