"""CPU energy from watts the user states, where nothing can be measured. Off unless they are given."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable

from search.energy.counters.counter import SensorError
from search.energy.processes import ProcessTable
from search.energy.units import MJ_PER_J


class UserModelCounter:
    """Idle watts, plus the rest up to the maximum by the share of the node's cores that are busy.

    An estimate, never mixed with what was measured: it has a column of its own.

    Args:
        idle_w: Power of the node's CPUs with nothing to do.
        max_w: Their power with all cores busy.

    Raises:
        ValueError: The watts are negative, or more when idle than at work.
        SensorError: /proc does not show the CPUs' busy time.
    """

    sensor = "estimated_user_model"
    device = "cpus"
    counter_start_mj = num_jumps = jumped_mj = 0
    power_ratio: float | None = None

    def __init__(
        self,
        idle_w: float,
        max_w: float,
        *,
        clock: Callable[[], float],
        processes: ProcessTable,
        num_cpus: int | None = None,
    ) -> None:
        if not 0 <= idle_w <= max_w < math.inf:
            raise ValueError(f"need 0 <= cpu_watts_idle <= cpu_watts_max, got {idle_w} and {max_w}")
        self._idle_w, self._max_w = idle_w, max_w
        self._clock, self._processes = clock, processes
        self._num_cpus = num_cpus or os.cpu_count() or 1
        self._at_s, self._busy_s = clock(), self._read_busy_s()
        self._metered_mj = 0.0
        self._lock = threading.Lock()

    def read_mj(self) -> int:
        with self._lock:
            at_s, busy_s = self._clock(), self._read_busy_s()
            duration_s = at_s - self._at_s
            cores_s = min(max(0.0, busy_s - self._busy_s), self._num_cpus * duration_s)
            busy_w = (self._max_w - self._idle_w) / self._num_cpus
            self._metered_mj += MJ_PER_J * (self._idle_w * duration_s + busy_w * cores_s)
            self._at_s, self._busy_s = at_s, busy_s
            return math.floor(self._metered_mj)

    def _read_busy_s(self) -> float:
        busy_s = self._processes.busy_cpu_s()
        if busy_s is None:
            raise SensorError("/proc/stat cannot be read: the model of the CPU's power needs its busy time")
        return busy_s

    def close(self) -> None:
        """Nothing to free."""
