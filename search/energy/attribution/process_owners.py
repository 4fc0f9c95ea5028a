"""Which window a process on a GPU belongs to. The driver names pids of the node; a container has its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from search.energy.processes import ProcessTable

# A process holds its CUDA context and its allocator's slack beyond what it reports itself.
_CONTEXT_MIB = 1024

EXTERNAL: Literal[""] = ""


@dataclass(frozen=True, kw_only=True)
class ProcessHint:
    """A window as the owner of processes.

    Attributes:
        pid: Root of its process tree, as the trial itself sees it.
        gpu_memory_mib: What the trial reports to hold on the device; None if it reported nothing.
    """

    pid: int
    gpu_memory_mib: float | None = None


class ProcessOwners:
    """Finds the window of each process of one device, and remembers what it learnt.

    Tried in this order: the pid or an ancestor of it is the window's; the process calls itself by the
    window's pid (NSpid); it was the only unknown one at work while the window was alone; one window's memory
    alone fits. Where pids can be compared, a process of no window is external; in a container it stays
    unknown.
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
        hints: Mapping[str, ProcessHint],
    ) -> dict[int, str | None]:
        """The window of each pid; `EXTERNAL` belongs to no window, None is unknown.

        Args:
            memory_mib: Memory on the device, by pid; a pid without a process list is not there.
            use_s: Utilisation-seconds since the last call, by pid.
        """
        pids = sorted({*memory_mib, *use_s})
        if not hints and not self._had_window:
            self._foreign.update(pids)  # they were here before all windows
        self._had_window = self._had_window or bool(hints)
        if any(hint.pid in pids for hint in hints.values()):
            self._are_pids_ours = True  # the driver named a window's own pid: no container lies between
        found = {pid: self._by_pid(pid, hints) for pid in pids}
        working = [pid for pid in pids if use_s.get(pid) and found[pid] is None]
        if len(hints) == 1 and len(working) == 1:
            [(window, hint)] = hints.items()
            self._learnt[working[0]] = hint.pid
            found[working[0]] = window
        for pid in pids:
            if found[pid] is None:
                found[pid] = self._by_memory(memory_mib.get(pid), hints, found)
        return found

    def _by_pid(self, pid: int, hints: Mapping[str, ProcessHint]) -> str | None:
        roots = {pid, self._learnt.get(pid, pid), self._processes.inner_pid(pid)}
        roots.update(self._processes.lineage(pid) if self._are_pids_ours else ())
        windows = [window for window, hint in hints.items() if hint.pid in roots]
        if windows:
            return windows[0] if len(windows) == 1 else None  # one process with two windows: undecidable
        return EXTERNAL if self._are_pids_ours or pid in self._foreign else None

    def _by_memory(
        self, held_mib: float | None, hints: Mapping[str, ProcessHint], found: Mapping[int, str | None]
    ) -> str | None:
        if held_mib is None:
            return None
        fitting = [
            window
            for window, hint in hints.items()
            if window not in found.values()
            and hint.gpu_memory_mib is not None
            and hint.gpu_memory_mib <= held_mib <= hint.gpu_memory_mib + _CONTEXT_MIB
        ]
        return fitting[0] if len(fitting) == 1 else None
