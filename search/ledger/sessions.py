"""The sessions of a run: how long each lasted, and what its devices used. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

DeviceRow = Mapping[str, Any]


@dataclass
class Session:
    """One process's life on a run, from its first event to its last.

    Attributes:
        devices: What each device had used at the latest reading: rows of devices.csv.
        is_closed: That reading came after the last trial's end; not so if the session was killed.
    """

    started_at: float
    last_at: float
    devices: Sequence[DeviceRow] = ()
    is_closed: bool = False


@dataclass
class Sessions:
    """All sessions, the present one last. Nothing runs between two of them."""

    all: list[Session] = field(default_factory=list)

    def on_event(self, event: Mapping[str, Any]) -> None:
        """Take in any event of the journal."""
        if event["event"] == "session_started":
            self.all.append(Session(event["time"], event["time"]))
        if not self.all:
            return
        self.all[-1].last_at = event["time"]
        if event["event"] == "devices_read":
            self.all[-1].devices, self.all[-1].is_closed = event["rows"], event["is_final"]

    @property
    def earlier_s(self) -> float:
        """How long the sessions before the present one lasted."""
        return sum(session.last_at - session.started_at for session in self.all[:-1])

    @property
    def idle_mj(self) -> int:
        """What all devices used while no trial held them, as far as it was read."""
        return sum(millijoules(row, "energy_idle_j") for session in self.all for row in session.devices)


def millijoules(row: DeviceRow, column: str) -> int:
    """A column of joules as the whole number of millijoules that it was made of."""
    return round(float(row[column]) * 1000)
