"""CPU energy from watts or a TDP stated by the user, where nothing can be measured. Off unless stated.

Both use one model, linear in how busy the cores are:

    watts = idle watts + utilisation * (maximum watts - idle watts)

This is the formula of Cloud Carbon Footprint (methodology, "Compute"). With a TDP, both ends follow from what
Teads measured on servers with RAPL ("Estimating AWS EC2 Instances Power Consumption", 2021; the Green
Software Foundation's Impact Framework uses the same curve): 12 % of the TDP when idle, 102 % with all cores
busy. In between, Teads' own curve is above the line: 75 % of the TDP at half load, where the line has 57 %.
The line is used nevertheless. With a curve, a trial's joules would depend on how often the counter is read
and on which trials run beside it, so trials could not be compared. For a fully busy CPU, as in most
trainings, both agree.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable

from search.energy.counters.counter import SensorError
from search.energy.processes import ProcessTable
from search.energy.units import MJ_PER_J

BY_WATTS, BY_TDP = "estimated_user_model", "estimated_tdp_model"  # names of the "sensor"
_IDLE_SHARE, _MAX_SHARE = 0.12, 1.02  # of the TDP, by Teads


class UserModelCounter:
    """Estimates idle watts, plus the rest up to the maximum by the share of the node's cores that are busy.

    Estimates are never mixed with measurements: they have a column of their own.

    Args:
        idle_w: Power of the node's CPUs with nothing to do.
        max_w: Their power with all cores busy.
        sensor: Where the watts come from: `BY_WATTS` or `BY_TDP`.

    Raises:
        ValueError: The watts are negative, or higher when idle than at work.
        SensorError: /proc does not show the CPUs' busy time.
    """

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
        sensor: str = BY_WATTS,
    ) -> None:
        self.sensor = sensor
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
        """Do nothing: there is nothing to release."""


def watts_of_tdp(tdp_w: float, share: float = 1.0) -> tuple[float, float]:
    """Return the idle and maximum watts of a processor with this thermal design power.

    Args:
        share: Share of the processor: below 1 for a virtual machine with some of its threads, above 1 for
            several processors.
    """
    return _IDLE_SHARE * tdp_w * share, _MAX_SHARE * tdp_w * share
