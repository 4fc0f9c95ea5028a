"""The two ways to a GPU's joules, for every vendor: its driver's counter, or the integral of its power."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction

from search.energy.counters.counter import Counter, SensorError, Ticker
from search.energy.counters.driver import MAX_GPU_MW
from search.energy.counters.gpu_telemetry import GpuTelemetry

POWER_INTERVAL_S = 0.1
# What a counter may move at most: a junk value is not to be taken for joules.
_MAX_W = MAX_GPU_MW / 1000
_SLACK_MJ = 1_000_000  # a second late, at a kilowatt


class DriverCounter:
    """The driver's own energy counter of one GPU (Volta and newer), which moves in steps of 20 to 100 ms.

    It counts from the last driver load, so a fall is a reset: counting continues from the new
    value and the fall is kept in `unaccounted_mj`. So is a rise that no GPU can draw.
    """

    power_ratio: float | None = None

    def __init__(
        self,
        device: str,
        sensor: str,
        read_raw_mj: Callable[[], int],
        *,
        clock: Callable[[], float],
        on_close: Callable[[], None],
    ) -> None:
        self.device = device
        self.sensor = sensor
        self.num_jumps = 0
        self.unaccounted_mj = 0
        self.close = on_close
        self._read_raw_mj = read_raw_mj
        self._clock = clock
        self._raw_mj = self.start_mj = read_raw_mj()
        self._at_s = clock()
        self._total_mj = 0
        self._lock = threading.Lock()

    def read_mj(self) -> int:
        with self._lock:
            raw_mj, at_s = self._read_raw_mj(), self._clock()
            increment_mj, gap_s = raw_mj - self._raw_mj, at_s - self._at_s
            self._raw_mj, self._at_s = raw_mj, at_s
            if not 0 <= increment_mj <= 1000 * _MAX_W * gap_s + _SLACK_MJ:
                self.num_jumps += 1
                self.unaccounted_mj += increment_mj
            else:
                self._total_mj += increment_mj
            return self._total_mj


class PowerIntegral:
    """Power of one GPU, integrated by trapezoids over all samples, for GPUs without an energy counter.

    Equal samples in a row are kept: dropping them would bend the line between them. A time without
    answers is bridged by the line from the last sample before to the first one after.
    """

    start_mj = num_jumps = unaccounted_mj = 0
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
        self._total_mj = 0.0
        self._lock = threading.Lock()
        self._ticker: Ticker | None = None

    def start(self, interval_s: float = POWER_INTERVAL_S) -> None:
        """Sample in a thread from now on. Without it, only `read_mj()` takes samples."""
        self._ticker = Ticker(interval_s, self._sample)

    def _sample(self) -> None:
        # One lost sample is bridged; if the loss lasts, the next read_mj() of the meter reports it.
        with suppress(SensorError):
            self.read_mj()

    def read_mj(self) -> int:
        with self._lock:
            power_mw, at_s = self._read_power_mw(), self._clock()
            self._total_mj += (self._power_mw + power_mw) / 2 * (at_s - self._at_s)
            self._power_mw, self._at_s = power_mw, at_s
            return math.floor(self._total_mj)

    def stop(self) -> None:
        """End the thread; the integral may still be read."""
        if self._ticker is not None:
            self._ticker.stop()

    def close(self) -> None:
        self.stop()
        self._on_close()


@dataclass(frozen=True)
class OpenGpu:
    """A GPU's running counter.

    Attributes:
        share: Share of the counter that is this device's: under 1 only for a MIG slice.
        reason: What the reader of the numbers must know; empty for a whole GPU.
    """

    counter: Counter
    telemetry: GpuTelemetry
    share: Fraction = Fraction(1)
    reason: str = ""
