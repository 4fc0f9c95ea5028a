"""Who may use which share of which device, from when to when."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

from search.energy.counters.counter import SensorError
from search.energy.processes import ProcessTable
from search.energy.reading import End

Role = Literal["trial", "background"]  # what a lease is for: a trial, or the load beside the trials


@dataclass(frozen=True, kw_only=True)
class Lease:
    """A trial's hold on devices. Ray reuses processes, so a trial is never a pid alone.

    Attributes:
        pid: Root of the trial's process tree.
        start_ticks: When that process began; None if it cannot be seen from here, and is not watched.
        shares: Reserved share by device name.
        missing: What could not be opened, by kind of device, and why.
        heartbeat_timeout_s: Silence after which the lease ends; None for a lease that sends none.
    """

    name: str
    trial: str
    pid: int
    start_ticks: int | None
    shares: Mapping[str, Fraction]
    missing: Mapping[str, str]
    opened_s: float
    heartbeat_timeout_s: float | None = None


@dataclass(frozen=True)
class Ended:
    """When and why a lease ended; an empty reason means that it is open."""

    why: End = ""
    at_s: float = 0.0


@dataclass
class Leases:
    """All leases of a node, the ended ones too: a killed attempt's joules stay readable."""

    processes: ProcessTable
    _leases: dict[str, Lease] = field(default_factory=dict)
    _ended: dict[str, Ended] = field(default_factory=dict)
    _heard_s: dict[str, float] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Lease:
        try:
            return self._leases[name]
        except KeyError:
            raise KeyError(f"no lease {name!r} was opened at this meter") from None

    def add(self, lease: Lease) -> None:
        self._leases[lease.name] = lease
        self._heard_s[lease.name] = lease.opened_s

    def hear(self, name: str, now_s: float) -> None:
        self._heard_s[name] = now_s

    def end(self, name: str, why: End, now_s: float) -> None:
        self._ended[name] = Ended(why, now_s)

    def ended(self, name: str) -> Ended:
        return self._ended.get(name, Ended())

    @property
    def open(self) -> list[Lease]:
        return [lease for name, lease in self._leases.items() if name not in self._ended]

    @property
    def num_opened(self) -> int:
        return len(self._leases)

    def lost(self, now_s: float) -> list[tuple[Lease, End]]:
        """The open leases that nobody holds any more: their process is gone, or has gone silent."""
        causes = ((lease, self._cause(lease, now_s)) for lease in self.open)
        return [(lease, cause) for lease, cause in causes if cause]

    def _cause(self, lease: Lease, now_s: float) -> End:
        if lease.start_ticks is not None:
            with suppress(SensorError):  # nobody can tell: its heartbeats do
                process = self.processes.find(lease.pid)
                if process is None or process.start_ticks != lease.start_ticks:
                    return "pid_died"
        timeout_s = lease.heartbeat_timeout_s
        is_silent = timeout_s is not None and now_s - self._heard_s[lease.name] > timeout_s
        return "heartbeat_lost" if is_silent else ""
