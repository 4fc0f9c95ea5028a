"""How long each process used a GPU, from the driver's ring of samples."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from search.energy.counters.driver import Driver, DriverError

ASK_EVERY_S = 5.0  # the ring holds about 10 s

_LONGEST_US = 1_000_000  # the slowest driver samples once a second
_FIRST_US = 166_667  # the usual driver samples six times a second
_NUM_GAPS = 100  # one ring of samples
_NOT_FOUND = 6  # as an NVML_ERROR
_AHEAD_US = 1_000_000  # a sample from the future is junk, and would hide all that follow it


class Sample(NamedTuple):
    """One sample of the driver: what share of the time since the one before it `pid` kept the GPU busy."""

    pid: int
    at_us: int
    percent: int


class ProcessUtilisation:
    """Utilisation-seconds by pid since the last call.

    Each driver sample names one process and stands for the time since the sample before it, of any process,
    but for no more than the driver's own interval: while the GPU is idle there are no samples, and the
    first one after that stands for nothing of the pause. Where a driver gives one sample per process with
    equal times, each stands for that same time.
    """

    def __init__(self, read_samples: Callable[[int], Sequence[Sample]], now_us: Callable[[], int]) -> None:
        self._read_samples = read_samples
        self._now_us = now_us
        self._last_us = now_us()  # earlier use belongs to no window
        self._has_sample = False
        self._gaps_us: deque[int] = deque(maxlen=_NUM_GAPS)

    def read(self) -> dict[int, float]:
        """Seconds of full use, by pid. Empty if the GPU was idle.

        Raises:
            SensorError: The driver does not report it.
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
        if not self._has_sample:  # before the first one nothing is known of the driver's interval
            self._has_sample = True
            return min(gap_us, _FIRST_US)
        self._gaps_us.append(gap_us)
        usual_us = sorted(self._gaps_us)[
            len(self._gaps_us) // 10
        ]  # not the least: one early sample is chance
        return gap_us if gap_us <= 1.5 * usual_us else usual_us


def _time(sample: Sample) -> int:
    return sample.at_us


def wall_us() -> int:
    """Now, in the microseconds since 1970 that the driver stamps its samples with."""
    return time.time_ns() // 1000


def nvml_samples(nvml: Driver, handle: Any) -> Callable[[int], Sequence[Sample]]:
    """A function from a time in microseconds to the samples after it.

    Under MIG and on some virtual GPUs they are not supported; an idle GPU answers NOT_FOUND.
    """

    def read(after_us: int) -> Sequence[Sample]:
        try:
            answers = nvml.ask("nvmlDeviceGetProcessUtilization", handle, after_us)
        except DriverError as error:
            if error.code != _NOT_FOUND:
                raise
            return []
        return [Sample(int(one.pid), int(one.timeStamp), int(one.smUtil)) for one in answers]

    return read
