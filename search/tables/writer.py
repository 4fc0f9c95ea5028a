"""Keeps the CSV files of a run up to date."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from search.ledger import Ledger
from search.ledger.history import History
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
from search.tables.trials import trial_columns, trial_rows

_TIMES_THEIR_COST = 20
Table = tuple[Sequence[str], Sequence[Mapping[str, Any]]]  # columns and rows


def live_tables(space: Space, history: History) -> dict[str, Table]:
    """The tables that follow a run, by file name."""
    tables: dict[str, Table] = {
        "trials.csv": (trial_columns(space, history), trial_rows(space, history)),
        "energy.csv": (ENERGY_COLUMNS, energy_rows(history)),
    }
    if devices := device_rows(history):
        tables["devices.csv"] = DEVICE_COLUMNS, devices
    if space.repeats > 1:
        rows = configuration_rows(space, history)
        tables["configurations.csv"] = configuration_columns(space, history), rows
    if space.cost:
        tables["pareto.csv"] = pareto_columns(space, history), pareto_rows(space, history)
    return tables


class Tables:
    """Keeps the CSV files up to date during a run.

    Written whole they take longer the more trials there are, so they are written the less often: at most
    one part in 21 of a run's time goes into them.

    Args:
        every_s: Least time between two writings; 20 times what the last one took, if that is longer.
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
