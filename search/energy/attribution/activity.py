"""Who used a device since the last look: the meter's question, answered for GPUs and for CPUs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from search.energy.attribution.owners import EXTERNAL, Holder, Owners
from search.energy.counters.gauges import Gauges
from search.energy.processes import ProcessTable, ProcessTrees

_LIST_EVERY_S = 5.0
_IDLE_CPU_SHARE = 0.02  # of the node's cores: daemons alone stay below it


@dataclass(frozen=True, kw_only=True)
class Activity:
    """Use of one device since the last look.

    Attributes:
        use_s: Utilisation-seconds of each lease; None is unknown.
        external_s: Those of processes that belong to no lease.
        is_occupied: A compute process is on the device now; None is unknown.
        is_active: Anything used it; None is unknown.
    """

    use_s: Mapping[str, float | None] = field(default_factory=dict)
    external_s: float = 0.0
    is_occupied: bool | None = None
    is_active: bool | None = None


class ActivitySource(Protocol):
    def begin(self, lease: str, holder: Holder, now_s: float) -> None:
        """Take note of a lease that opens now: its use counts from here."""
        ...

    def look(self, holders: Mapping[str, Holder], now_s: float) -> Activity:
        """What happened since the last look, while exactly these leases were open. Never raises."""
        ...


class GpuActivity:
    """Use of a GPU by its processes, matched to leases."""

    def __init__(self, gauges: Gauges, processes: ProcessTable) -> None:
        self._gauges = gauges
        self._owners = Owners(processes)
        self._memory_mib: Mapping[int, float | None] | None = {}
        self._listed_s: float | None = None

    def begin(self, lease: str, holder: Holder, now_s: float) -> None:
        """Nothing: the driver's samples bear their times."""

    def look(self, holders: Mapping[str, Holder], now_s: float) -> Activity:
        use_s = self._gauges.use_s()
        memory_mib = self._processes_mib(now_s, use_s or {})
        if use_s is None:
            return Activity(
                use_s=dict.fromkeys(holders),
                is_occupied=None if memory_mib is None else bool(memory_mib),
                is_active=None,
            )
        owners = self._owners.owners(memory_mib or {}, use_s, holders)
        return Activity(
            use_s=_use_of_leases(use_s, owners, holders),
            external_s=sum(seconds for pid, seconds in use_s.items() if owners[pid] == EXTERNAL),
            is_occupied=None if memory_mib is None else bool(memory_mib),
            is_active=any(use_s.values()),
        )

    def _processes_mib(self, now_s: float, use_s: Mapping[int, float]) -> Mapping[int, float | None] | None:
        is_old = self._listed_s is None or now_s - self._listed_s >= _LIST_EVERY_S
        if is_old or not set(use_s) <= set(self._memory_mib or ()):
            self._memory_mib, self._listed_s = self._gauges.processes_mib(), now_s
        return self._memory_mib


def _use_of_leases(
    use_s: Mapping[int, float], owners: Mapping[int, str | None], holders: Mapping[str, Holder]
) -> dict[str, float | None]:
    if any(owners[pid] is None and seconds for pid, seconds in use_s.items()):
        return dict.fromkeys(holders)  # somebody worked and nobody knows who: no lease's use is known
    return {lease: sum(use_s.get(pid, 0.0) for pid in owners if owners[pid] == lease) for lease in holders}


class CpuActivity:
    """Use of the node's CPUs: CPU-seconds of each lease's process tree."""

    def __init__(self, processes: ProcessTable, trees: ProcessTrees, num_cpus: int | None = None) -> None:
        self._processes, self._trees = processes, trees
        self._num_cpus = num_cpus or os.cpu_count() or 1
        self._used_s: dict[str, float] = {}
        self._busy_s = processes.busy_cpu_s()
        self._looked_s: float | None = None

    def begin(self, lease: str, holder: Holder, now_s: float) -> None:
        self._used_s[lease] = self._trees.cpu_s(holder.pid, now_s)

    def look(self, holders: Mapping[str, Holder], now_s: float) -> Activity:
        used_s = {lease: self._trees.cpu_s(holder.pid, now_s) for lease, holder in holders.items()}
        # A child that nobody waited for takes its seconds with it.
        use_s = {lease: max(0.0, used_s[lease] - self._used_s.get(lease, used_s[lease])) for lease in holders}
        self._used_s = used_s
        busy_s = self._busy_since_last()
        duration_s, self._looked_s = now_s - (now_s if self._looked_s is None else self._looked_s), now_s
        is_busy = None
        if busy_s is not None and duration_s > 0:
            is_busy = busy_s > _IDLE_CPU_SHARE * self._num_cpus * duration_s
        return Activity(
            use_s=use_s,
            external_s=max(0.0, (busy_s or 0.0) - sum(use_s.values())),
            is_occupied=is_busy,
            is_active=is_busy,
        )

    def _busy_since_last(self) -> float | None:
        before_s, self._busy_s = self._busy_s, self._processes.busy_cpu_s()
        return None if before_s is None or self._busy_s is None else max(0.0, self._busy_s - before_s)
