"""What is spent between two rows of a trial: starts, the epoch, the rest, in seconds and joules."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from search.energy.reading import KINDS, LONGEST_TICK_S, EnergyMeter, EnergyReading

_POLL_S = 0.05
_MAX_POLLS = 40  # 2 s, twice the longest tick


@dataclass(frozen=True, kw_only=True)
class StretchTotals:
    """Seconds and joules from one row to the next; `EpochRow` documents each of them."""

    seconds: float
    start_s: float | None
    overhead_s: float
    energy: EnergyReading
    start_energy: EnergyReading
    lag_s: Mapping[str, float]


class Stretch:
    """Time and joules from one cut to the next: no moment is counted twice or lost.

    Each second is of a start, of an epoch, or overhead.

    Args:
        clock: Monotonic seconds.
        sleep: Waits for that many seconds.
    """

    def __init__(
        self,
        meter: EnergyMeter,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.clock = clock
        self._meter, self._sleep = meter, sleep
        self._since, self._since_start = meter.read(), meter.read_start()
        self._since_s = clock()
        self._lag_s: Mapping[str, float] = {}
        self._start_s: float | None = None
        self._epoch_s = 0.0

    @contextmanager
    def starting(self) -> Iterator[None]:
        """A start of a training, or a part of one."""
        began_s = self.clock()
        with self._meter.starting():
            yield
        self._start_s = (self._start_s or 0.0) + self.clock() - began_s

    @contextmanager
    def in_epoch(self) -> Iterator[None]:
        """Training and evaluation, or a part of them."""
        began_s = self.clock()
        yield
        self._epoch_s += self.clock() - began_s

    def cut(self, *, must_be_settled: bool = False) -> StretchTotals:
        """What was spent since the last cut.

        Args:
            must_be_settled: Wait for a tick of the sensors that had none since, for 2 s at most.
        """
        now_s, now = self.clock(), self._meter.read()
        for _ in range(_MAX_POLLS):
            if not must_be_settled or not self._lags_s(now, now_s):
                break
            self._sleep(_POLL_S)
            now_s, now = self.clock(), self._meter.read()
        lag_s = self._lags_s(now, now_s)
        unmoved = [kind for kind in lag_s if (now - self._since).part_mj(kind) == 0]
        spent = StretchTotals(
            seconds=self._epoch_s,
            start_s=self._start_s,
            overhead_s=self._trained_s(now_s) - self._epoch_s,
            energy=(now - self._since).without(unmoved),
            start_energy=self._start_energy(),
            lag_s=lag_s,
        )
        self._since_s, self._since, self._lag_s = now_s, now, lag_s
        self._start_s, self._epoch_s = None, 0.0
        return spent

    def _trained_s(self, now_s: float) -> float:
        """Since the last cut, starts left out."""
        return now_s - self._since_s - (self._start_s or 0.0)

    def _lags_s(self, now: EnergyReading, now_s: float) -> dict[str, float]:
        """How long ago the parts end. One that has not moved for a moment ends where it did before: no device
        draws nothing."""
        moved, trained_s = now - self._since, self._trained_s(now_s)
        lags_s = dict(now.lag_s)
        if trained_s < LONGEST_TICK_S:
            unmoved = [kind for kind in KINDS if moved.part_mj(kind) == 0]
            lags_s |= {kind: self._lag_s.get(kind, 0.0) + trained_s for kind in unmoved}
        return lags_s

    def _start_energy(self) -> EnergyReading:
        if self._start_s is None:
            return EnergyReading()
        before, self._since_start = self._since_start, self._meter.read_start()
        return self._since_start - before
