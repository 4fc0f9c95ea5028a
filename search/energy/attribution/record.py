"""What one window used of one device: joules by kind, how they were split, and what the device showed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from search.energy.attribution.tick import Method, Share
from search.energy.attribution.windows import Role
from search.energy.counters.gpu_telemetry import GpuState
from search.energy.reading import to_joules

# Error of a window's active energy that half of the windows stay under: simulated, four trials of 120 to
# 560 W for 60 s (benchmarks/attribution.py). A reserved share knows as little as an equal one.
RELATIVE_ERROR: Mapping[Method, float] = {
    "exclusive": 0.0,
    "calibrated": 0.05,
    "utilisation": 0.25,
    "equal": 0.35,
    "reserved": 0.35,
}
_BEST_FIRST: tuple[Method, ...] = ("exclusive", "calibrated", "utilisation", "equal", "reserved")
_LABELLED = Fraction(95, 100)
_COUNTER_STEP_S = 0.1  # of NVML's counter at most: what a window's start and end are off by


@dataclass
class WindowRecord:
    """A running account; `book` is called for each settled stretch.

    Attributes:
        share: Reserved share of the device.
        role: Which column of devices.csv the joules are in.
        lost: Why the device did not answer when the window ended; empty if it did, or the window is open.
        covered_s: Time in which the device's counter answered and its increments could be split.
        alone_s: The part of it without another window or an external process at work.
        device_mj: What the whole device used in that time.
        is_by_earlier_run: Some of it was split by watts that an earlier run learnt.
        start: The same account of the window's starts, which are no training; see `begin_start`.
    """

    share: Fraction
    opened_s: float
    role: Role = "trial"
    closed_s: float | None = None
    lost: str = ""
    active_mj: int = 0
    context_mj: int = 0
    idle_share_mj: int = 0
    covered_s: float = 0.0
    alone_s: float = 0.0
    device_mj: int = 0
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
        """From now on, what the window uses belongs to a start: imports, loading data, building a model."""
        self.start = self.start or WindowRecord(share=self.share, opened_s=self.opened_s, role=self.role)
        self.is_starting = True

    def end_start(self) -> None:
        """From now on, what the window uses belongs to its training."""
        self.is_starting = False

    @property
    def current(self) -> WindowRecord:
        """The account that is kept now: of the training, or of its start."""
        return self.start if self.is_starting and self.start else self

    @property
    def start_mj(self) -> int:
        return self.start.total_mj if self.start else 0

    @property
    def total_mj(self) -> int:
        return self.active_mj + self.context_mj + self.idle_share_mj

    @property
    def power_mean_w(self) -> float | None:
        return to_joules(self.device_mj) / self.covered_s if self.covered_s else None

    @property
    def uncertainty_mj(self) -> int:
        """Error to be expected: of the split, and of the counter's steps at the window's start and end.

        Never falls: the second part counts from the largest power so far.
        """
        split_mj = sum(RELATIVE_ERROR[method] * split for method, split in self.by_method_mj.items())
        return round(split_mj + 2 * self._step_mj)

    _step_mj: float = 0.0

    @property
    def method(self) -> Method:
        """The method by which, or by a better one, 95 % of the joules were split."""
        remaining = sum(self.by_method_mj.values())
        if not remaining:
            return "exclusive" if self.share == 1 else "reserved"
        needed, reached = _LABELLED * remaining, 0
        for method in _BEST_FIRST:
            reached += self.by_method_mj.get(method, 0)
            if reached >= needed:
                return method
        raise AssertionError("the parts of a sum reach it")

    def book(self, part: Share, method: Method, *, device_mj: int, duration_s: float, is_alone: bool) -> None:
        self.active_mj += part.active_mj
        self.context_mj += part.context_mj
        self.idle_share_mj += part.idle_share_mj
        self.by_method_mj[method] = self.by_method_mj.get(method, 0) + part.total_mj
        self.device_mj += device_mj
        self.covered_s += duration_s
        self.alone_s += duration_s if is_alone else 0.0
        if duration_s >= 1.0:
            self._step_mj = max(self._step_mj, part.total_mj / duration_s * _COUNTER_STEP_S)

    def show(self, state: GpuState, duration_s: float) -> None:
        """Take what the device showed at the end of a stretch; unknown values are left out of the means."""
        if state.power_w is not None:
            self.power_max_w = max(self.power_max_w or 0.0, state.power_w)
            self.power_min_w = (
                state.power_w if self.power_min_w is None else min(self.power_min_w, state.power_w)
            )
        self.utilisation.add(state.utilisation, duration_s)
        self.temperature_c.add(state.temperature_c, duration_s)
        self.sm_clock_mhz.add(state.sm_clock_mhz, duration_s)
        self.memory_clock_mhz.add(state.memory_clock_mhz, duration_s)

    def seconds(self, now_s: float) -> float:
        """How long the window has been open, or was."""
        return (now_s if self.closed_s is None else self.closed_s) - self.opened_s


@dataclass
class TimeMean:
    """A mean over time; None before the first known value."""

    weighted: float = 0.0
    seconds: float = 0.0

    @property
    def value(self) -> float | None:
        return self.weighted / self.seconds if self.seconds else None

    def add(self, value: float | None, duration_s: float) -> None:
        if value is not None:
            self.weighted += value * duration_s
            self.seconds += duration_s
