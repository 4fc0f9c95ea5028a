"""Who used a device since the last look: the meter's question, answered for GPUs and for CPUs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from search.energy.attribution.process_owners import EXTERNAL, ProcessHint, ProcessOwners
from search.energy.counters.counter import SensorError
from search.energy.counters.gpu_telemetry import USE_BY_PROCESS, GpuTelemetry
from search.energy.processes import ProcessTable, ProcessTrees

_LIST_EVERY_S = 5.0
_NO_BUSY_TIME = "/proc/stat does not tell how busy the node is: what others do counts as the trials' work"
_IDLE_CPU_SHARE = 0.02  # of the node's cores: daemons alone stay below it


@dataclass(frozen=True, kw_only=True)
class Activity:
    """Use of one device since the last look.

    Attributes:
        use_s: Utilisation-seconds of each window; None is unknown.
        external_s: Those of processes that belong to no window.
        is_occupied: A compute process is on the device now; None is unknown.
        is_active: Anything used it; None is unknown.
        unknown: Why a window's use is unknown; empty if it is known, or no source was expected.
    """

    use_s: Mapping[str, float | None] = field(default_factory=dict)
    external_s: float = 0.0
    is_occupied: bool | None = None
    is_active: bool | None = None
    unknown: str = ""


class ActivitySource(Protocol):
    def begin(self, window: str, hint: ProcessHint, now_s: float) -> None:
        """Take note of a window that opens now: its use counts from here."""
        ...

    def look(self, hints: Mapping[str, ProcessHint], now_s: float) -> Activity:
        """What happened since the last look, while exactly these windows were open. Never raises."""
        ...


class GpuActivity:
    """Use of a GPU by its processes, matched to windows."""

    def __init__(self, telemetry: GpuTelemetry, processes: ProcessTable) -> None:
        self._telemetry = telemetry
        self._owners = ProcessOwners(processes)
        self._memory_mib: Mapping[int, float | None] | None = {}
        self._listed_s: float | None = None

    def begin(self, window: str, hint: ProcessHint, now_s: float) -> None:
        """Nothing: the driver's samples bear their times."""

    def look(self, hints: Mapping[str, ProcessHint], now_s: float) -> Activity:
        use_s = self._telemetry.use_s()
        memory_mib = self._processes_mib(now_s, use_s or {})
        if use_s is None:
            return Activity(
                use_s=dict.fromkeys(hints),
                is_occupied=None if memory_mib is None else bool(memory_mib),
                is_active=None,
                unknown=self._telemetry.unknown.get(USE_BY_PROCESS, ""),
            )
        try:
            owners = self._owners.owners(memory_mib or {}, use_s, hints)
        except SensorError as error:
            return Activity(use_s=dict.fromkeys(hints), is_active=any(use_s.values()), unknown=str(error))
        return Activity(
            use_s=_use_of_windows(use_s, owners, hints),
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
    use_s: Mapping[int, float], owners: Mapping[int, str | None], hints: Mapping[str, ProcessHint]
) -> dict[str, float | None]:
    if any(owners[pid] is None and seconds for pid, seconds in use_s.items()):
        return dict.fromkeys(hints)  # work by an unknown process: no window's use is known
    return {window: sum(use_s.get(pid, 0.0) for pid in owners if owners[pid] == window) for window in hints}


class CpuActivity:
    """Use of the node's CPUs: CPU-seconds of each window's process tree."""

    def __init__(self, processes: ProcessTable, trees: ProcessTrees, num_cpus: int | None = None) -> None:
        self._processes, self._trees = processes, trees
        self._num_cpus = num_cpus or os.cpu_count() or 1
        self._used_s: dict[str, float] = {}
        self._busy_s = processes.busy_cpu_s()
        self._looked_s: float | None = None

    def begin(self, window: str, hint: ProcessHint, now_s: float) -> None:
        with suppress(SensorError):  # its first observation takes its place
            self._used_s[window] = self._trees.cpu_s(hint.pid, now_s)

    def look(self, hints: Mapping[str, ProcessHint], now_s: float) -> Activity:
        try:
            used_s = {window: self._trees.cpu_s(hint.pid, now_s) for window, hint in hints.items()}
        except SensorError as error:
            self._used_s, self._busy_s, self._looked_s = {}, None, now_s
            return Activity(use_s=dict.fromkeys(hints), unknown=str(error))
        # A child that was not waited for takes its seconds with it.
        before_s, self._used_s = self._used_s, used_s
        use_s = {
            window: max(0.0, used_s[window] - before_s[window]) if window in before_s else None
            for window in hints
        }
        busy_s = self._busy_since_last()
        duration_s, self._looked_s = now_s - (now_s if self._looked_s is None else self._looked_s), now_s
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
