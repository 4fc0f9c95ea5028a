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

Role = Literal["trial", "background"]  # what a window is for: a trial, or the load beside the trials


@dataclass(frozen=True, kw_only=True)
class Window:
    """A trial's hold on devices. Ray reuses processes, so a trial is never a pid alone.

    Attributes:
        pid: Root of the trial's process tree.
        start_ticks: When that process began; None if it cannot be seen from here, and is not watched.
        shares: Reserved share by device name.
        missing: What could not be opened, by kind of device, and why.
        heartbeat_timeout_s: Silence after which the window ends; None for a window that sends none.
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
    """When and why a window ended; an empty reason means that it is open."""

    why: End = ""
    at_s: float = 0.0


@dataclass
class Windows:
    """All windows of a node, the ended ones too: a killed attempt's joules stay readable."""

    processes: ProcessTable
    _windows: dict[str, Window] = field(default_factory=dict)
    _ended: dict[str, Ended] = field(default_factory=dict)
    _heard_s: dict[str, float] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Window:
        try:
            return self._windows[name]
        except KeyError:
            raise KeyError(f"no window {name!r} was opened at this meter") from None

    def add(self, window: Window) -> None:
        self._windows[window.name] = window
        self._heard_s[window.name] = window.opened_s

    def hear(self, name: str, now_s: float) -> None:
        self._heard_s[name] = now_s

    def end(self, name: str, why: End, now_s: float) -> None:
        self._ended[name] = Ended(why, now_s)

    def ended(self, name: str) -> Ended:
        return self._ended.get(name, Ended())

    @property
    def open(self) -> list[Window]:
        return [window for name, window in self._windows.items() if name not in self._ended]

    @property
    def num_opened(self) -> int:
        return len(self._windows)

    def lost(self, now_s: float) -> list[tuple[Window, End]]:
        """The open windows that lost their trial: its process is gone, or has gone silent."""
        causes = ((window, self._cause(window, now_s)) for window in self.open)
        return [(window, cause) for window, cause in causes if cause]

    def _cause(self, window: Window, now_s: float) -> End:
        if window.start_ticks is not None:
            with suppress(SensorError):  # /proc cannot be read: heartbeats decide
                process = self.processes.find(window.pid)
                if process is None or process.start_ticks != window.start_ticks:
                    return "pid_died"
        timeout_s = window.heartbeat_timeout_s
        is_silent = timeout_s is not None and now_s - self._heard_s[window.name] > timeout_s
        return "heartbeat_lost" if is_silent else ""
