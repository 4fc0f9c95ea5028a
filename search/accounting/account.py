"""What a run has used so far: what its trials reported, and what the meters know beyond that."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from search.accounting.metering import ClosedLease, Metering
from search.ledger.history import History
from search.ledger.sessions import DeviceRow, beside_trials_mj, millijoules

_POLL_S = 1.0  # as often as the meters sample
_KEEP_S = 60.0  # a kill loses the idle joules of at most this long; trials' are in their rows


class EnergyAccount:
    """Reads the meters once a second at most, and adds up.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, metering: Metering, clock: Callable[[], float] = time.monotonic) -> None:
        self._metering, self._clock = metering, clock
        self._rows: Sequence[DeviceRow] = ()
        self._polled_s = self._kept_s = float("-inf")
        self._earlier_mj = self._earlier_beside_mj = 0

    def begin(self, history: History) -> None:
        """Take what earlier sessions used as given."""
        self._earlier_mj = history.energy.total_mj or 0
        self._earlier_beside_mj = history.sessions.beside_mj

    def close_leases(self, trial_id: str) -> Sequence[ClosedLease]:
        return self._metering.close_leases(trial_id)

    def late_leases(self) -> Sequence[ClosedLease]:
        return self._metering.late_leases()

    def refresh(self) -> None:
        """Read the meters, if they were not read just now."""
        if self._clock() - self._polled_s >= _POLL_S:
            self._rows = self._metering.device_rows()
            self._polled_s = self._clock()

    def read(self) -> tuple[float, Sequence[DeviceRow]]:
        """The devices' rows of this session, a second old at most, and when they were read."""
        self.refresh()
        return self._polled_s, self._rows

    def rows_to_keep(self, *, is_final: bool = False) -> list[Mapping[str, Any]]:
        """The devices' rows, when it is time to write them down; the last ones are read anew."""
        if is_final:
            self._rows = self._metering.device_rows()
        elif self._clock() - self._kept_s < _KEEP_S:
            return []
        self._kept_s = self._clock()
        return [dict(row) for row in self._rows]

    def spent_j(self, history: History) -> float | None:
        """Trials, background and idle devices of all sessions; what others used is not the run's."""
        reported_mj = history.energy.total_mj
        if reported_mj is None and not self._rows:
            return None
        reported_mj = reported_mj or 0
        known_mj = sum(millijoules(row, "energy_trials_j") for row in self._rows)
        unreported_mj = max(0, known_mj - (reported_mj - self._earlier_mj))
        beside_mj = sum(map(beside_trials_mj, self._rows)) + self._earlier_beside_mj
        return (reported_mj + unreported_mj + beside_mj) / 1000
