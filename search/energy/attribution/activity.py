"""Observe who used a device since the last observation, for GPUs and for CPUs.

A GPU's driver names the pids that used it. These must be matched to windows: the driver reports pids of the
node, while a container has pids of its own. For CPUs, /proc has the seconds that each window's process tree
used.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal, Protocol

from search.energy.attribution.windows import Window
from search.energy.counters.counter import SensorError
from search.energy.counters.gpu import USE_BY_PROCESS, GpuTelemetry
from search.energy.processes import ProcessTable

EXTERNAL: Literal[""] = ""

_LIST_EVERY_S = 5.0  # a list of processes takes the driver about 4.5 ms
_NO_BUSY_TIME = "/proc/stat does not say how busy the node is: other programs' work counts as the trials'"
_IDLE_CPU_SHARE = 0.02  # of the node's cores: daemons alone stay below it
# Beyond what a process reports, it holds its CUDA context and its allocator's slack.
_CONTEXT_MIB = 1024


@dataclass(frozen=True, kw_only=True)
class Activity:
    """Use of one device since the last observation.

    Attributes:
        use_s: Utilisation-seconds of each window; None if unknown.
        external_s: Utilisation-seconds of processes that belong to no window.
        is_occupied: Whether a compute process is on the device now; None if unknown.
        is_active: Whether anything used the device; None if unknown.
        unknown: Why a window's use is unknown; empty if it is known, or no source was expected.
    """

    use_s: Mapping[str, float | None] = field(default_factory=dict)
    external_s: float = 0.0
    is_occupied: bool | None = None
    is_active: bool | None = None
    unknown: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether nothing was seen working; unknown use does not count as nothing."""
        return not self.external_s and not any(use_s != 0 for use_s in self.use_s.values())

    def followed_by(self, later: Activity) -> Activity:
        """Return the use over both stretches; a window that is unknown in either is unknown."""
        use_s = dict(self.use_s)
        for window, seconds in later.use_s.items():
            before_s = use_s.get(window, 0.0)
            use_s[window] = None if before_s is None or seconds is None else before_s + seconds
        return Activity(use_s=use_s, external_s=self.external_s + later.external_s)


class ActivitySource(Protocol):
    """Observes who uses a device."""

    def begin(self, window: Window, now_s: float) -> None:
        """Count the use of a newly opened window from now on."""
        ...

    def observe(self, windows: Mapping[str, Window], now_s: float) -> Activity:
        """Return the use since the last observation, during which exactly these windows were open.

        Never raises.
        """
        ...


class GpuActivity:
    """Use of a GPU by its processes, matched to windows."""

    def __init__(self, telemetry: GpuTelemetry, processes: ProcessTable) -> None:
        self._telemetry = telemetry
        self._owners = ProcessOwners(processes)
        self._memory_mib: Mapping[int, float | None] | None = {}
        self._listed_s: float | None = None

    def begin(self, window: Window, now_s: float) -> None:
        """Do nothing: the driver's samples have timestamps."""

    def observe(self, windows: Mapping[str, Window], now_s: float) -> Activity:
        use_s = self._telemetry.use_s()
        memory_mib = self._processes_mib(now_s, use_s or {})
        if use_s is None:
            return Activity(
                use_s=dict.fromkeys(windows),
                is_occupied=None if memory_mib is None else bool(memory_mib),
                is_active=None,
                unknown=self._telemetry.unknown.get(USE_BY_PROCESS, ""),
            )
        try:
            owners = self._owners.owners(memory_mib or {}, use_s, windows)
        except SensorError as error:
            return Activity(use_s=dict.fromkeys(windows), is_active=any(use_s.values()), unknown=str(error))
        return Activity(
            use_s=_use_of_windows(use_s, owners, windows),
            external_s=sum(seconds for pid, seconds in use_s.items() if owners[pid] == EXTERNAL),
            is_occupied=None if memory_mib is None else bool(memory_mib),
            is_active=any(use_s.values()),
        )

    def _processes_mib(self, now_s: float, use_s: Mapping[int, float]) -> Mapping[int, float | None] | None:
        is_old = self._listed_s is None or now_s - self._listed_s >= _LIST_EVERY_S
        if is_old or not set(use_s) <= set(self._memory_mib or ()):
            self._memory_mib, self._listed_s = self._telemetry.processes_mib(), now_s
        return self._memory_mib


def _use_of_windows(
    use_s: Mapping[int, float], owners: Mapping[int, str | None], windows: Mapping[str, Window]
) -> dict[str, float | None]:
    if any(owners[pid] is None and seconds for pid, seconds in use_s.items()):
        return dict.fromkeys(windows)  # an unknown process worked, and may be any window's
    return {window: sum(use_s.get(pid, 0.0) for pid in owners if owners[pid] == window) for window in windows}


class ProcessOwners:
    """Matches each process on one device to its window, and remembers what it learnt.

    A process belongs to a window if, tried in this order,

    - its pid or that of an ancestor is the window's,
    - its own name for itself (NSpid) is the window's pid,
    - it was the only unmatched process at work while the window was the only one open,
    - this is the only unmatched window whose reported memory fits.

    A process of no window is external where pids can be compared; inside a container it stays unknown.
    """

    def __init__(self, processes: ProcessTable) -> None:
        self._processes = processes
        self._are_pids_ours = processes.shows_whole_node()
        self._learnt: dict[int, int] = {}
        self._foreign: set[int] = set()
        self._had_window = False

    def owners(
        self,
        memory_mib: Mapping[int, float | None],
        use_s: Mapping[int, float],
        windows: Mapping[str, Window],
    ) -> dict[int, str | None]:
        """Return the window of each pid; `EXTERNAL` if it belongs to none, None if unknown.

        Args:
            memory_mib: Memory on the device by pid; empty without a process list.
            use_s: Utilisation-seconds since the last call, by pid.
        """
        pids = sorted({*memory_mib, *use_s})
        if not windows and not self._had_window:
            self._foreign.update(pids)  # they were here before any window
        self._had_window = self._had_window or bool(windows)
        if any(window.pid in pids for window in windows.values()):
            self._are_pids_ours = True  # the driver named a window's own pid, so no container is in between
        found = {pid: self._by_pid(pid, windows) for pid in pids}
        working = [pid for pid in pids if use_s.get(pid) and found[pid] is None]
        if len(windows) == 1 and len(working) == 1:
            [(name, window)] = windows.items()
            self._learnt[working[0]] = window.pid
            found[working[0]] = name
        for pid in pids:
            if found[pid] is None:
                found[pid] = self._by_memory(memory_mib.get(pid), windows, found)
        return found

    def _by_pid(self, pid: int, windows: Mapping[str, Window]) -> str | None:
        roots = {pid, self._learnt.get(pid, pid), self._processes.inner_pid(pid)}
        roots.update(self._processes.lineage(pid) if self._are_pids_ours else ())
        names = [name for name, window in windows.items() if window.pid in roots]
        if names:
            return names[0] if len(names) == 1 else None  # one process with two windows: undecidable
        return EXTERNAL if self._are_pids_ours or pid in self._foreign else None

    def _by_memory(
        self, held_mib: float | None, windows: Mapping[str, Window], found: Mapping[int, str | None]
    ) -> str | None:
        if held_mib is None:
            return None
        fitting = [
            name
            for name, window in windows.items()
            if name not in found.values()
            and window.gpu_memory_mib is not None
            and window.gpu_memory_mib <= held_mib <= window.gpu_memory_mib + _CONTEXT_MIB
        ]
        return fitting[0] if len(fitting) == 1 else None


class CpuActivity:
    """Use of the node's CPUs, as CPU-seconds of each window's process tree."""

    def __init__(self, processes: ProcessTable, num_cpus: int | None = None) -> None:
        self._processes = processes
        self._num_cpus = num_cpus or os.cpu_count() or 1
        self._used_s: dict[str, float] = {}
        self._busy_s = processes.busy_cpu_s()
        self._observed_s: float | None = None

    def begin(self, window: Window, now_s: float) -> None:
        with suppress(SensorError):  # without it, the first observation is unknown and the next ones count
            self._used_s[window.name] = self._processes.tree_cpu_s(window.pid, now_s)

    def observe(self, windows: Mapping[str, Window], now_s: float) -> Activity:
        try:
            used_s = {name: self._processes.tree_cpu_s(window.pid, now_s) for name, window in windows.items()}
        except SensorError as error:
            self._used_s, self._busy_s, self._observed_s = {}, None, now_s
            return Activity(use_s=dict.fromkeys(windows), unknown=str(error))
        # The sum falls when a child exits that nobody waited for: its seconds are gone.
        before_s, self._used_s = self._used_s, used_s
        use_s = {
            window: max(0.0, used_s[window] - before_s[window]) if window in before_s else None
            for window in windows
        }
        busy_s = self._busy_since_last()
        since_s, self._observed_s = self._observed_s, now_s
        duration_s = 0.0 if since_s is None else now_s - since_s
        is_busy = None
        if busy_s is not None and duration_s > 0:
            is_busy = busy_s > _IDLE_CPU_SHARE * self._num_cpus * duration_s
        known_s = [seconds for seconds in use_s.values() if seconds is not None]
        is_known = busy_s is not None and len(known_s) == len(use_s)
        return Activity(
            use_s=use_s,
            external_s=max(0.0, busy_s - sum(known_s)) if busy_s is not None and is_known else 0.0,
            is_occupied=is_busy,
            is_active=is_busy,
            unknown="" if busy_s is not None else _NO_BUSY_TIME,
        )

    def _busy_since_last(self) -> float | None:
        before_s, self._busy_s = self._busy_s, self._processes.busy_cpu_s()
        return None if before_s is None or self._busy_s is None else max(0.0, self._busy_s - before_s)
