"""history.csv of a training: what each epoch achieved and cost.

It has one row per epoch, even if an epoch was trained twice because its worker was lost: the metrics are
those of the last time, from which the training continued; seconds and joules are those of all times, which
were all paid for.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from search.energy.reading import EnergyReading
from search.energy.units import to_joules
from search.ledger import csv_text
from search.ledger.trial_energy import TrialEnergy
from search.tables.columns import Column, ColumnGroup, Table, column_names, lifted, rows_of
from search.tables.energy import SPENT
from search.trial import EpochRow
from trainables.core.files import replacing


def _energy(attempts: Sequence[EpochRow]) -> EnergyReading:
    return EnergyReading.sum(row.energy for row in attempts)


# An item is one epoch: the rows of all its attempts, in order.
HISTORY_TABLE: Table[Sequence[EpochRow]] = [
    Column("epoch", "", "from 1", lambda attempts: attempts[-1].epoch),
    Column("rung", "", "the rung at whose budget it ran, from 0", lambda attempts: attempts[-1].rung),
    Column(
        "seconds",
        "s",
        "training and evaluation; in the last epoch also the test",
        lambda attempts: sum(row.seconds for row in attempts),
    ),
    Column(
        "start_s",
        "s",
        "a start before the epoch: before the first, and after an interruption",
        lambda attempts: _sum(row.start_s for row in attempts),
    ),
    Column(
        "overhead_s",
        "s",
        "time since the previous epoch that is neither",
        lambda attempts: _sum(row.overhead_s for row in attempts),
    ),
    *lifted(
        SPENT,
        _energy,
        "since the previous epoch, as in trials.csv",
    ),
    Column(
        "energy_start_j",
        "J",
        "joules used in `start_s`",
        lambda attempts: to_joules(EnergyReading.sum(row.start_energy for row in attempts).total_mj),
    ),
    ColumnGroup(
        "*metrics*",
        "",
        ("under their own names, such as `lr` (after the epoch), `train_loss` and `val_accuracy`"),
        lambda attempts: attempts[-1].metrics,
    ),
]
HISTORY_COLUMNS = column_names(HISTORY_TABLE)


def history_columns(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """The columns of history.csv: those of every training, then its metrics in the order in which they
    first appear."""
    return list(dict.fromkeys((*HISTORY_COLUMNS, *(name for row in rows for name in row))))


def history_rows(rows: Iterable[EpochRow]) -> list[dict[str, Any]]:
    """One row per epoch, in order. A repeated one has its last metrics and everything it cost."""
    attempts: dict[int, list[EpochRow]] = {}
    for row in rows:
        attempts.setdefault(row.epoch, []).append(row)
    return rows_of(HISTORY_TABLE, (attempts[epoch] for epoch in sorted(attempts)))


class HistoryFile:
    """history.csv of a training in this process (`train.py`), which has no journal to make it from.

    It is written whole after each epoch. Epochs that an earlier call left in the file stay, up to the first
    epoch of this call: a training that resumes at epoch 6 replaces 6 and later.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: list[EpochRow] = []
        self._joules = TrialEnergy()
        self._earlier: list[dict[str, Any]] = []
        if path.is_file():
            with path.open(newline="", encoding="utf-8") as file:
                self._earlier = list(csv.DictReader(file))

    def add(self, row: EpochRow) -> None:
        """Write the file with `row` in it.

        A resumed training reports the row of its checkpoint again, marked as a replay. It is written only if
        it is not in the file: a kill may have come between the checkpoint and the table.

        Raises:
            OSError: The file cannot be written; the earlier one is still there.
        """
        if row.is_replay and any(int(earlier["epoch"]) == row.epoch for earlier in self._earlier):
            return
        self._joules.book(row, self._rows)
        ours = history_rows(self._rows)
        rows = [*(row for row in self._earlier if int(row["epoch"]) < ours[0]["epoch"]), *ours]
        with replacing(self._path) as scratch:
            scratch.write_text(csv_text(history_columns(rows), rows), encoding="utf-8")


def _sum(seconds: Iterable[float | None]) -> float | None:
    """The sum of what is known; None if nothing is."""
    known = [one for one in seconds if one is not None]
    return sum(known) if known else None
