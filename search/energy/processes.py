"""Processes of this node as /proc shows them: their descent and their CPU time."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from search.energy.counters.counter import SensorError
from search.energy.counters.driver import CallThread

PROC = Path("/proc")

_FIRST_NAMESPACE = "pid:[4026531836]"  # PROC_PID_INIT_INO: the pids of the node itself
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_LIST_EVERY_S = 5.0


@dataclass(frozen=True)
class Process:
    """One line of /proc/PID/stat.

    Attributes:
        start_ticks: When it started, which distinguishes it from a later process with the same pid.
        cpu_s: CPU time of the process and of the children it has waited for.
    """

    parent: int
    start_ticks: int
    cpu_s: float


class ProcessTable:
    """Looks processes up at every call; a process that is gone is None.

    Raises:
        SensorError: From every method not documented otherwise, if /proc cannot be read: it is then unknown
            whether a process is gone.
    """

    def __init__(self, root: Path = PROC) -> None:
        self._root = root
        self._calls = CallThread(str(root))
        self._trees: dict[int, list[int]] = {}
        self._listed_s = 0.0

    def find(self, pid: int) -> Process | None:
        return self._calls.ask(lambda: self._find(pid))

    def cpu_s(self, pids: Iterable[int]) -> float:
        """Return the total CPU-seconds of the processes that are alive."""
        found = self._calls.ask(lambda: [self._find(pid) for pid in pids])
        return sum(process.cpu_s for process in found if process)

    def _find(self, pid: int) -> Process | None:
        file = self._root / str(pid) / "stat"
        try:
            line = file.read_text(errors="replace")
        except (FileNotFoundError, ProcessLookupError, NotADirectoryError):
            return None
        except OSError as error:
            raise SensorError(f"{file} cannot be read: {error.strerror}") from error
        fields = line.rpartition(")")[2].split()  # the command before it may contain spaces and brackets
        if not line or fields[:1] in (["Z"], ["X"]):
            return None  # gone during the read, or a zombie, which no longer runs
        try:
            cpu_ticks = sum(int(text) for text in fields[11:15])
            parent, start_ticks = int(fields[1]), int(fields[19])
        except (ValueError, IndexError) as error:
            raise SensorError(f"{file} holds {line[:80]!r}, which describes no process") from error
        return Process(parent=parent, start_ticks=start_ticks, cpu_s=max(cpu_ticks, 0) / _TICKS_PER_S)

    def lineage(self, pid: int) -> list[int]:
        """Return the pid itself, its parent, and so on up to the first process."""
        return self._calls.ask(lambda: list(self._lineage(pid)))

    def _lineage(self, pid: int) -> Iterator[int]:
        seen: set[int] = set()
        while pid > 0 and pid not in seen and (process := self._find(pid)):
            seen.add(pid)
            yield pid
            pid = process.parent

    def inner_pid(self, pid: int) -> int:
        """Return the pid by which the process knows itself, which differs inside a container."""
        return self._calls.ask(lambda: self._inner_pid(pid))

    def _inner_pid(self, pid: int) -> int:
        try:
            lines = (self._root / str(pid) / "status").read_text(errors="replace").splitlines()
            inner = (int(line.split()[-1]) for line in lines if line.startswith("NSpid:"))
            return next(inner, pid)
        except (OSError, ValueError):
            return pid

    def shows_whole_node(self) -> bool:
        """Return whether pids here are those that a driver reports, unlike in a container. Never raises."""
        try:
            return str(self._calls.ask((self._root / "self/ns/pid").readlink)) == _FIRST_NAMESPACE
        except (OSError, SensorError):
            return False

    def tree_cpu_s(self, root: int, now_s: float) -> float:
        """Return the CPU-seconds so far of the process `root` and all its descendants.

        Descendants are listed every 5 s, once for all devices and windows, because on a node with 1,000
        processes this takes 20 ms. A shorter-lived child is counted when its parent waits for it.
        """
        if root not in self._trees or now_s - self._listed_s >= _LIST_EVERY_S:
            roots = {root, *(pid for pid in self._trees if self.find(pid))}
            self._trees, self._listed_s = self.members(roots), now_s
        return self.cpu_s(self._trees[root])

    def members(self, roots: Iterable[int]) -> dict[int, list[int]]:
        """Return for each root the pids of its tree, itself included, reading every process once (20 us)."""
        parents = self._calls.ask(self._parents)
        trees: dict[int, list[int]] = {root: [] for root in roots}
        for pid in parents:
            for ancestor in _ancestors(pid, parents):
                if ancestor in trees:
                    trees[ancestor].append(pid)
        return trees

    def _parents(self) -> dict[int, int]:
        try:
            found = [int(entry.name) for entry in self._root.iterdir() if entry.name.isdecimal()]
        except OSError as error:
            raise SensorError(f"{self._root} cannot be listed: {error.strerror}") from error
        return {pid: process.parent for pid in found if (process := self._find(pid))}

    def busy_cpu_s(self) -> float | None:
        """Return the CPU time of all the node's processes since it booted; None if unknown."""
        try:
            text = self._calls.ask(lambda: (self._root / "stat").read_text(errors="replace"))
            ticks = [int(word) for word in text.split("\n", 1)[0].split()[1:]]
            user, nice, system, _, _, irq, softirq, *_ = ticks  # user includes guests; steal is others' time
        except (OSError, ValueError, SensorError):
            return None
        return (user + nice + system + irq + softirq) / _TICKS_PER_S


def _ancestors(pid: int, parents: dict[int, int]) -> Iterator[int]:
    seen: set[int] = set()
    while pid in parents and pid not in seen:
        seen.add(pid)
        yield pid
        pid = parents[pid]
