"""Keeps the CSV files of a run up to date."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from search.history import History
from search.ledger import Ledger
from search.space import Space
from search.tables.energy import DEVICE_COLUMNS, ENERGY_COLUMNS, device_rows, energy_rows
from search.tables.trials import trial_columns, trial_rows
from search.tables.trust import TRUST_COLUMNS, trust_rows


class Tables:
    """Keeps the CSV files up to date while a run goes on.

    Args:
        every_s: Least time between two writings: a table of 5,000 trials takes 0.2 s.
    """

    def __init__(
        self,
        ledger: Ledger,
        space: Space,
        *,
        every_s: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger, self._space = ledger, space
        self._every_s, self._clock = every_s, clock
        self._written_s = float("-inf")

    def on_event(self, event: Mapping[str, Any], history: History) -> None:
        """Write the tables after a trial's end, if the last writing is long enough ago."""
        is_due = self._clock() - self._written_s >= self._every_s
        if event["event"] == "run_ended" or (event["event"] == "trial_ended" and is_due):
            self.write(history)
        if event["event"] == "run_ended":
            self._ledger.write_csv("trust.csv", TRUST_COLUMNS, trust_rows(self._space, history))

    def write(self, history: History) -> None:
        """Write the tables of trials and devices now."""
        columns = trial_columns(self._space, history)
        self._ledger.write_csv("trials.csv", columns, trial_rows(self._space, history))
        self._ledger.write_csv("energy.csv", ENERGY_COLUMNS, energy_rows(history))
        if devices := device_rows(history):
            self._ledger.write_csv("devices.csv", DEVICE_COLUMNS, devices)
        self._written_s = self._clock()
