"""An energy counter that is not believed until its first seconds agree with the device's power."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from search.energy.counters.counter import Counter, SensorError

CHECK_S = 5.0
LOWEST_RATIO, HIGHEST_RATIO = 0.8, 1.25


class PowerIntegral(Counter, Protocol):
    """The same device's energy by its power."""

    def stop(self) -> None:
        """End the sampling between reads; the integral may still be read."""
        ...


def is_plausible(power_ratio: float | None) -> bool:
    """Whether counter and power agree; what could not be compared is believed."""
    return power_ratio is None or LOWEST_RATIO <= power_ratio <= HIGHEST_RATIO


class CheckedCounter:
    """The counter, or from the check on the integral of power if they differ by more than a fifth.

    Attributes:
        power_ratio: What the counter moved in the first 5 s, in units of the integral; None before.
    """

    def __init__(self, counter: Counter, integral: PowerIntegral, clock: Callable[[], float]) -> None:
        self.device = counter.device
        self.start_mj = counter.start_mj
        self.power_ratio: float | None = None
        self._counter, self._integral, self._clock = counter, integral, clock
        self._opened_s = clock()
        self._is_checking = True
        self._switched_mj: int | None = None  # what to add to the integral, once it is preferred
        self._lock = threading.Lock()

    @property
    def sensor(self) -> str:
        return self._counter.sensor if self._switched_mj is None else self._integral.sensor

    @property
    def num_jumps(self) -> int:
        return self._counter.num_jumps

    @property
    def unaccounted_mj(self) -> int:
        return self._counter.unaccounted_mj

    def read_mj(self) -> int:
        with self._lock:
            if self._switched_mj is not None:
                return self._switched_mj + self._integral.read_mj()
            total_mj = self._counter.read_mj()
            if self._is_checking and self._clock() - self._opened_s >= CHECK_S:
                self._check(total_mj)
            return total_mj

    def _check(self, total_mj: int) -> None:
        self._is_checking = False
        try:
            integral_mj = self._integral.read_mj()
        except SensorError:
            integral_mj = 0
        if integral_mj > 0 and not self.num_jumps:
            self.power_ratio = total_mj / integral_mj
        if is_plausible(self.power_ratio):
            self._integral.stop()
        else:
            self._switched_mj = total_mj - integral_mj

    def close(self) -> None:
        self._integral.close()
        self._counter.close()
