"""A GPU of any vendor: two sources of its joules, the choice between them, and its telemetry.

The sources are the driver's energy counter and the integral of its power. If both answer, the counter is
checked against the integral over the first 5 s. If they differ by more than a fifth, the integral is used:
its power is what nvidia-smi shows too, and a counter in another unit would be off by a multiple.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby
from typing import NamedTuple, TypeVar

from search.energy.counters.counter import Counter, SensorError, Ticker
from search.energy.counters.driver import MAX_GPU_MW
from search.energy.units import MJ_PER_J, to_watts

T = TypeVar("T")

POWER_INTERVAL_S = 0.1
CHECK_S = 5.0  # fifty samples of power, and at least as many steps of the counter
LOWEST_RATIO, HIGHEST_RATIO = 0.8, 1.25  # bursts between samples stay within these; another unit does not
USE_BY_PROCESS = "use by process"

_LONGEST_US = 1_000_000  # the slowest driver samples once a second
_FIRST_US = 166_667  # the usual driver samples six times a second
_NUM_GAPS = 100  # one buffer of samples
_AHEAD_US = 1_000_000  # a sample from the future is junk, and would hide all later ones

# The most a counter may move, so that a junk value does not count as joules.
_MAX_W = to_watts(MAX_GPU_MW)
_SLACK_MJ = 1_000_000  # one second late at a kilowatt


@dataclass(frozen=True, kw_only=True)
class GpuState:
    """A GPU's present state; None if unknown. `utilisation` is the fraction of time in use, in [0, 1]."""

    power_w: float | None = None
    utilisation: float | None = None
    temperature_c: float | None = None
    sm_clock_mhz: float | None = None
    memory_clock_mhz: float | None = None


class GpuTelemetry:
    """What the meter watches of a GPU besides its counter. Nothing here raises: unknown values are None.

    This class knows nothing; each vendor's subclass overrides what its driver can answer.

    Attributes:
        model: The driver's name for it; `power_limit_w` and `driver_version` are as they were at opening.
        unknown: Why the latest value is None, by what it describes.
    """

    model: str = ""
    power_limit_w: float | None = None
    driver_version: str = ""

    def __init__(self) -> None:
        self.unknown: dict[str, str] = {}

    def state(self) -> GpuState:
        """Return the present power, use, temperature and clocks."""
        return GpuState()

    def processes_mib(self) -> Mapping[int, float | None] | None:
        """Return each compute process's memory by pid; None if the driver has no list. Takes about 4.5 ms."""
        return None

    def use_s(self) -> Mapping[int, float] | None:
        """Return utilisation-seconds since the last call, by pid; None if the driver does not report them."""
        return None

    def known(self, what: str, read: Callable[[], T]) -> T | None:
        """Return what `read` returns; None if it raises a `SensorError`, whose text is kept in `unknown`."""
        try:
            value = read()
        except SensorError as error:
            self.unknown[what] = str(error)
            return None
        self.unknown.pop(what, None)
        return value


class Sample(NamedTuple):
    """One sample of the driver: how busy `pid` kept the GPU since the previous sample, in percent."""

    pid: int
    at_us: int
    percent: int


class ProcessUtilisation:
    """Reads utilisation-seconds by pid since the last call.

    Each driver sample names one process and covers the time since the previous sample of any process, but at
    most the driver's own interval: there are no samples while the GPU is idle, and the first one afterwards
    must not cover the pause. If a driver has one sample per process with equal times, each of them covers
    that same time.
    """

    def __init__(self, read_samples: Callable[[int], Sequence[Sample]], now_us: Callable[[], int]) -> None:
        self._read_samples = read_samples
        self._now_us = now_us
        self._last_us = now_us()  # earlier use belongs to no window
        self._has_sample = False
        self._gaps_us: deque[int] = deque(maxlen=_NUM_GAPS)

    def read(self) -> dict[int, float]:
        """Return seconds of full use, by pid. Empty if the GPU was idle.

        Raises:
            SensorError: The driver does not report them.
        """
        samples = self._read_samples(self._last_us)
        latest_us = self._now_us() + _AHEAD_US
        sound = sorted(
            sample
            for sample in samples
            if self._last_us < sample.at_us <= latest_us and 0 <= sample.percent <= 100 and sample.pid > 0
        )
        use_s: dict[int, float] = {}
        for at_us, together in groupby(sorted(sound, key=_time), key=_time):
            stands_for_s = self._stands_for_us(at_us) / 1e6
            for sample in together:
                use_s[sample.pid] = use_s.get(sample.pid, 0.0) + sample.percent / 100 * stands_for_s
            self._last_us = at_us
        return use_s

    def _stands_for_us(self, at_us: int) -> int:
        gap_us = min(at_us - self._last_us, _LONGEST_US)
        if not self._has_sample:  # the driver's interval is not known yet
            self._has_sample = True
            return min(gap_us, _FIRST_US)
        self._gaps_us.append(gap_us)
        usual_us = sorted(self._gaps_us)[
            len(self._gaps_us) // 10
        ]  # not the minimum, since one early sample is chance
        return gap_us if gap_us <= 1.5 * usual_us else usual_us


class DriverCounter:
    """The driver's own energy counter of one GPU (Volta and newer), which moves in steps of 20 to 100 ms.

    It counts from the last driver load, so a fall is a reset: counting continues from the new value, and the
    fall goes to `jumped_mj`. So does a rise larger than any GPU can draw.
    """

    power_ratio: float | None = None

    def __init__(
        self,
        device: str,
        sensor: str,
        read_counter_mj: Callable[[], int],
        *,
        clock: Callable[[], float],
        on_close: Callable[[], None],
    ) -> None:
        self.device = device
        self.sensor = sensor
        self.num_jumps = 0
        self.jumped_mj = 0
        self.close = on_close
        self._read_counter_mj = read_counter_mj
        self._clock = clock
        self._counter_mj = self.counter_start_mj = read_counter_mj()
        self._at_s = clock()
        self._metered_mj = 0
        self._lock = threading.Lock()

    def read_mj(self) -> int:
        with self._lock:
            counter_mj, at_s = self._read_counter_mj(), self._clock()
            increment_mj, gap_s = counter_mj - self._counter_mj, at_s - self._at_s
            self._counter_mj, self._at_s = counter_mj, at_s
            if not 0 <= increment_mj <= MJ_PER_J * _MAX_W * gap_s + _SLACK_MJ:
                self.num_jumps += 1
                self.jumped_mj += increment_mj
            else:
                self._metered_mj += increment_mj
            return self._metered_mj


class PowerIntegral:
    """Power of one GPU, integrated by trapezoids over all samples, for GPUs without an energy counter.

    Equal samples in a row are kept, since dropping them would bend the line between them. A time without
    answers is bridged by a line from the last sample before it to the first one after it.
    """

    counter_start_mj = num_jumps = jumped_mj = 0
    power_ratio: float | None = None

    def __init__(
        self,
        device: str,
        sensor: str,
        read_power_mw: Callable[[], int],
        *,
        clock: Callable[[], float],
        on_close: Callable[[], None],
    ) -> None:
        self.device = device
        self.sensor = sensor
        self._read_power_mw = read_power_mw
        self._clock = clock
        self._on_close = on_close
        self._power_mw, self._at_s = read_power_mw(), clock()
        self._metered_mj = 0.0
        self._lock = threading.Lock()
        self._ticker: Ticker | None = None

    def start(self, interval_s: float = POWER_INTERVAL_S) -> None:
        """Sample in a thread from now on. Otherwise only `read_mj()` takes samples."""
        self._ticker = Ticker(interval_s, self._sample)

    def _sample(self) -> None:
        # One lost sample is bridged. If the loss lasts, the meter's next read_mj() reports it.
        with suppress(SensorError):
            self.read_mj()

    def read_mj(self) -> int:
        with self._lock:
            power_mw, at_s = self._read_power_mw(), self._clock()
            self._metered_mj += (self._power_mw + power_mw) / 2 * (at_s - self._at_s)
            self._power_mw, self._at_s = power_mw, at_s
            return math.floor(self._metered_mj)

    def stop(self) -> None:
        """End the thread; the integral can still be read."""
        if self._ticker is not None:
            self._ticker.stop()

    def close(self) -> None:
        self.stop()
        self._on_close()


def is_plausible(power_ratio: float | None) -> bool:
    """Whether counter and power agree; a counter that could not be compared is trusted."""
    return power_ratio is None or LOWEST_RATIO <= power_ratio <= HIGHEST_RATIO


class CheckedCounter:
    """The counter; after the check, the integral of power instead if they differ by more than a fifth.

    Attributes:
        power_ratio: Movement of the counter in the first 5 s relative to the integral's; None before that.
    """

    def __init__(self, counter: Counter, integral: PowerIntegral, clock: Callable[[], float]) -> None:
        self.device = counter.device
        self.counter_start_mj = counter.counter_start_mj
        self.power_ratio: float | None = None
        self._counter, self._integral, self._clock = counter, integral, clock
        self._opened_s = clock()
        self._is_checking = True
        self._switched_mj: int | None = None  # what to add to the integral once it is used
        self._lock = threading.Lock()

    @property
    def sensor(self) -> str:
        return self._counter.sensor if self._switched_mj is None else self._integral.sensor

    @property
    def num_jumps(self) -> int:
        return self._counter.num_jumps

    @property
    def jumped_mj(self) -> int:
        return self._counter.jumped_mj

    def read_mj(self) -> int:
        with self._lock:
            if self._switched_mj is not None:
                return self._switched_mj + self._integral.read_mj()
            metered_mj = self._counter.read_mj()
            if self._is_checking and self._clock() - self._opened_s >= CHECK_S:
                self._check(metered_mj)
            return metered_mj

    def _check(self, metered_mj: int) -> None:
        self._is_checking = False
        try:
            integral_mj = self._integral.read_mj()
        except SensorError:
            integral_mj = 0
        if integral_mj > 0 and not self.num_jumps:
            self.power_ratio = metered_mj / integral_mj
        if is_plausible(self.power_ratio):
            self._integral.stop()
        else:
            self._switched_mj = metered_mj - integral_mj

    def close(self) -> None:
        self._integral.close()
        self._counter.close()


@dataclass(frozen=True)
class OpenGpu:
    """A GPU's running counter.

    Attributes:
        share: Share of the counter that belongs to this device; below 1 only for a MIG slice.
        reason: What readers of its numbers must know; empty for a whole GPU.
    """

    counter: Counter
    telemetry: GpuTelemetry
    share: Fraction = Fraction(1)
    reason: str = ""


def _time(sample: Sample) -> int:
    return sample.at_us
