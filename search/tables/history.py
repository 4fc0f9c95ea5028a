"""The rows of a promoted training's history.csv: what each epoch brought and cost."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from search.energy import EnergyReading
from search.ledger.run_folder import csv_text
from search.ledger.trial_energy import TrialEnergy
from search.tables.energy_columns import joules
from search.trial import EpochRow
from trainables.core.files import replacing

_JOULES = ("energy_j", "energy_gpu_j", "energy_cpu_j", "energy_dram_j", "energy_estimated_j")
HISTORY_COLUMNS = ("epoch", "rung", "seconds", "start_s", "overhead_s", *_JOULES, "energy_start_j")


def history_columns(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """The columns of history.csv: those of every training, then its metrics."""
    return list(dict.fromkeys((*HISTORY_COLUMNS, *(name for row in rows for name in row))))


def history_rows(rows: Iterable[EpochRow]) -> list[dict[str, Any]]:
    """A row for each epoch, in order. Of one that was repeated: its last metrics, and all it cost."""
    attempts: dict[int, list[EpochRow]] = {}
    for row in rows:
        attempts.setdefault(row.epoch, []).append(row)
    return [_history_row(attempts[epoch]) for epoch in sorted(attempts)]


class HistoryFile:
    """history.csv of a training in this process; epochs that an earlier call left in it stay."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: list[EpochRow] = []
        self._joules = TrialEnergy()
        self._earlier: list[dict[str, Any]] = []
        if path.is_file():
            with path.open(newline="", encoding="utf-8") as file:
                self._earlier = list(csv.DictReader(file))

    def add(self, row: EpochRow) -> None:
        """Write the file with `row` in it, unless the earlier call did: a kill may have come before."""
        if row.is_replay and any(int(earlier["epoch"]) == row.epoch for earlier in self._earlier):
            return
        self._joules.book(row, self._rows)
        ours = history_rows(self._rows)
        rows = [*(row for row in self._earlier if int(row["epoch"]) < ours[0]["epoch"]), *ours]
        with replacing(self._path) as scratch:
            scratch.write_text(csv_text(history_columns(rows), rows), encoding="utf-8")


def _history_row(attempts: Sequence[EpochRow]) -> dict[str, Any]:
    last = attempts[-1]
    spent_j = joules(EnergyReading.sum(row.energy for row in attempts))
    start_mj = EnergyReading.sum(row.start_energy for row in attempts).total_mj
    return {
        "epoch": last.epoch,
        "rung": last.rung,
        "seconds": sum(row.seconds for row in attempts),
        "start_s": _sum(row.start_s for row in attempts),
        "overhead_s": _sum(row.overhead_s for row in attempts),
        **{name: spent_j[name] for name in _JOULES},
        "energy_start_j": None if start_mj is None else start_mj / 1000,
        **last.metrics,
    }


def _sum(seconds: Iterable[float | None]) -> float | None:
    """Of what is known; None where nothing is."""
    known = [one for one in seconds if one is not None]
    return sum(known) if known else None
