"""Windows: a trial's use of devices between two moments, and what it used of each device."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

from search.energy.attribution.tick import Method, Share
from search.energy.counters.counter import SensorError
from search.energy.counters.gpu import GpuState
from search.energy.processes import ProcessTable
from search.energy.reading import End
from search.energy.units import to_joules

Role = Literal["trial", "background"]  # whom a window serves: a trial, or the workload beside the trials

# Median error of a window's active energy, simulated with four trials of 120 to 560 W over 60 s
# (benchmarks/attribution.py). Reserved shares say no more about work than equal ones.
RELATIVE_ERROR: Mapping[Method, float] = {
    "exclusive": 0.0,
    "calibrated": 0.05,
    "utilisation": 0.25,
    "equal": 0.35,
    "reserved": 0.35,
}
_BEST_FIRST: tuple[Method, ...] = ("exclusive", "calibrated", "utilisation", "equal", "reserved")
# Fraction of the joules that decides the label: a worse method that split at most a twentieth is ignored.
_LABELLED = Fraction(95, 100)
_COUNTER_STEP_S = 0.1  # longest step of NVML's counter, by which a window's start and end may be off


@dataclass(kw_only=True)
class Window:
    """A trial's use of devices from opening to end. Ray reuses processes, so a pid does not identify a trial.

    Attributes:
        name: Unique at its meter: the trial and the number of the window.
        pid: Root of the trial's process tree, as the trial itself sees it.
        start_ticks: When that process started; None if it cannot be seen from here and is not watched.
        key: The kind of work; windows with the same key share the watts learnt for it.
        shares: Reserved share by device name.
        missing: Why devices could not be opened, by kind of device.
        heartbeat_timeout_s: Silence after which the window ends; None for a window that sends no heartbeats.
        heard_s: When it was opened, or last sent a heartbeat.
        gpu_memory_mib: Memory that the trial reports to hold on the device; None if it reported none.
        end: Why it ended, at `ended_s`; empty while it is open.
        starting_since_s: When the current start began; None outside of starts.
        start_s: Total time of all finished starts.
    """

    name: str
    pid: int
    trial: str = ""
    start_ticks: int | None = None
    key: str = ""
    role: Role = "trial"
    shares: Mapping[str, Fraction] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    opened_s: float = 0.0
    heartbeat_timeout_s: float | None = None
    heard_s: float = 0.0
    gpu_memory_mib: float | None = None
    end: End = ""
    ended_s: float = 0.0
    starting_since_s: float | None = None
    start_s: float = 0.0

    @property
    def is_open(self) -> bool:
        """Whether joules are still counted for it."""
        return not self.end

    def end_start(self, now_s: float) -> None:
        """Add the time of the current start, if there is one, to the finished ones."""
        if self.starting_since_s is not None:
            self.start_s += now_s - self.starting_since_s
            self.starting_since_s = None

    def starts_s(self, until_s: float) -> float:
        """Return how long its starts took until `until_s`, the current one included."""
        return self.start_s + (0.0 if self.starting_since_s is None else until_s - self.starting_since_s)

    def loss(self, processes: ProcessTable, now_s: float) -> End:
        """Return how the window lost its trial: the process died or fell silent; empty if neither."""
        if self.start_ticks is not None:
            with suppress(SensorError):  # /proc cannot be read: heartbeats decide
                process = processes.find(self.pid)
                if process is None or process.start_ticks != self.start_ticks:
                    return "pid_died"
        timeout_s = self.heartbeat_timeout_s
        return "heartbeat_lost" if timeout_s is not None and now_s - self.heard_s > timeout_s else ""


@dataclass
class WindowRecord:
    """What one window has used of one device; `book` is called for each settled stretch.

    Attributes:
        share: Reserved share of the device.
        role: Decides the column of devices.csv that has the joules.
        lost: Why the device did not answer when the window ended; empty if it did, or the window is open.
        covered_s: Time in which the device's counter answered and its increments could be split.
        alone_s: The part of `covered_s` with no other window open and no external process at work.
        whole_device_mj: What the whole device used during `covered_s`, others' work included.
        is_by_earlier_run: Whether some of the energy was split by watts that an earlier run learnt.
        start: The same record for the window's starts, which are not training; see `begin_start`.
    """

    share: Fraction
    role: Role = "trial"
    lost: str = ""
    active_mj: int = 0
    context_mj: int = 0
    idle_share_mj: int = 0
    covered_s: float = 0.0
    alone_s: float = 0.0
    whole_device_mj: int = 0
    is_by_earlier_run: bool = False
    power_max_w: float | None = None
    power_min_w: float | None = None
    by_method_mj: dict[Method, int] = field(default_factory=dict)
    utilisation: TimeMean = field(default_factory=lambda: TimeMean())
    temperature_c: TimeMean = field(default_factory=lambda: TimeMean())
    sm_clock_mhz: TimeMean = field(default_factory=lambda: TimeMean())
    memory_clock_mhz: TimeMean = field(default_factory=lambda: TimeMean())
    start: WindowRecord | None = None
    is_starting: bool = False

    def begin_start(self) -> None:
        """Count what follows as a start: imports, loading data, building a model."""
        self.start = self.start or WindowRecord(share=self.share, role=self.role)
        self.is_starting = True

    def end_start(self) -> None:
        """Count what follows as training."""
        self.is_starting = False

    @property
    def current(self) -> WindowRecord:
        """The record that counts now: the training's, or its start's."""
        return self.start if self.is_starting and self.start else self

    @property
    def start_mj(self) -> int:
        return self.start.used_mj if self.start else 0

    @property
    def used_mj(self) -> int:
        """What the window used of the device: the sum of its three parts."""
        return self.active_mj + self.context_mj + self.idle_share_mj

    @property
    def power_mean_w(self) -> float | None:
        return to_joules(self.whole_device_mj) / self.covered_s if self.covered_s else None

    @property
    def uncertainty_mj(self) -> int:
        """Expected error of the split, plus that of the counter's steps at the window's start and end.

        It never decreases, because the second part is computed from the largest power so far.
        """
        split_mj = sum(RELATIVE_ERROR[method] * split for method, split in self.by_method_mj.items())
        return round(split_mj + 2 * self._step_mj)

    _step_mj: float = 0.0

    @property
    def method(self) -> Method:
        """The best method such that 95 % of the joules were split by it or by a better one."""
        remaining = sum(self.by_method_mj.values())
        if not remaining:
            return "exclusive" if self.share == 1 else "reserved"
        needed, reached = _LABELLED * remaining, 0
        for method in _BEST_FIRST:
            reached += self.by_method_mj.get(method, 0)
            if reached >= needed:
                return method
        raise AssertionError("the parts of a sum reach it")

    def book(
        self, part: Share, method: Method, *, whole_device_mj: int, duration_s: float, is_alone: bool
    ) -> None:
        """Add a settled stretch: the window's part of it, and how the stretch was split."""
        self.active_mj += part.active_mj
        self.context_mj += part.context_mj
        self.idle_share_mj += part.idle_share_mj
        self.by_method_mj[method] = self.by_method_mj.get(method, 0) + part.used_mj
        self.whole_device_mj += whole_device_mj
        self.covered_s += duration_s
        self.alone_s += duration_s if is_alone else 0.0
        if duration_s >= 1.0:
            self._step_mj = max(self._step_mj, part.used_mj / duration_s * _COUNTER_STEP_S)

    def show(self, state: GpuState, duration_s: float) -> None:
        """Add the device's state at the end of a stretch; unknown values are left out of the means."""
        if state.power_w is not None:
            self.power_max_w = max(self.power_max_w or 0.0, state.power_w)
            self.power_min_w = (
                state.power_w if self.power_min_w is None else min(self.power_min_w, state.power_w)
            )
        self.utilisation.add(state.utilisation, duration_s)
        self.temperature_c.add(state.temperature_c, duration_s)
        self.sm_clock_mhz.add(state.sm_clock_mhz, duration_s)
        self.memory_clock_mhz.add(state.memory_clock_mhz, duration_s)


@dataclass
class TimeMean:
    """A mean weighted by time; None before the first known value.

    Samples come every second, but also whenever windows change, so that a plain mean would give busy times
    too much weight.
    """

    weighted: float = 0.0
    seconds: float = 0.0

    @property
    def value(self) -> float | None:
        return self.weighted / self.seconds if self.seconds else None

    def add(self, value: float | None, duration_s: float) -> None:
        if value is not None:
            self.weighted += value * duration_s
            self.seconds += duration_s
