"""Measure a trial's peak memory while it trains: that of its worker and all its descendants.

On a GPU it is what the driver reports for these processes, contexts and libraries included. On the CPU it is
what belongs to them alone: memory mapped from files (0.4 GB of torch's libraries) is shared with every other
worker, and the kernel reclaims it when memory is short. Pages that a fork shares with its parent count for
both, so the sum is an upper bound.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from pathlib import Path

from search.backends.ray.children import descendants
from search.energy.counters.counter import SensorError
from search.energy.gpu_memory import GpuMemory
from search.energy.gpus import visible_gpus

_PROC = Path("/proc")
_EVERY_S = {"cpu": 0.05, "gpu": 0.5}  # one file per process takes 30 us; one call to the driver 4.5 ms
_LISTING_EVERY_S = 1.0  # listing descendants takes 20 us for each process of the machine
_OWN_PAGES = ("RssAnon:", "RssShmem:")


class MemoryWatch:
    """Samples `read_mib` in a thread of its own until it is closed.

    Args:
        read_mib: Returns the memory held now; None if unknown.
    """

    def __init__(self, read_mib: Callable[[], float | None], *, every_s: float) -> None:
        self._read_mib, self._every_s = read_mib, every_s
        self._lock = threading.Lock()
        self._peak_mib: float | None = None
        self._highest_mib = 0.0
        self._is_closed = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="memory-watch", daemon=True)
        self._thread.start()

    def take_mib(self) -> float | None:
        """Return the most memory held since the last call; None if unknown."""
        self._look()
        with self._lock:
            peak_mib, self._peak_mib = self._peak_mib, None
        return peak_mib

    def has_exceeded(self, mib: float) -> bool:
        """Return whether more than `mib` was ever held."""
        self._look()
        return self._highest_mib > mib

    def close(self) -> None:
        """Stop sampling."""
        self._is_closed.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._is_closed.wait(self._every_s):
            self._look()

    def _look(self) -> None:
        held_mib = self._read_mib()
        if held_mib is None:
            return
        with self._lock:
            self._peak_mib = max(held_mib, self._peak_mib or 0.0)
            self._highest_mib = max(held_mib, self._highest_mib)


class Processes:
    """A process and its descendants, listed once a second."""

    def __init__(self, root: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._root, self._clock = root, clock
        self._pids, self._listed_s = [root], clock()

    def pids(self) -> list[int]:
        """Return their pids; some may be gone."""
        if self._clock() - self._listed_s >= _LISTING_EVERY_S:
            self._pids, self._listed_s = [self._root, *descendants(self._root)], self._clock()
        return self._pids


def own_mib(pids: Iterable[int], *, root: Path = _PROC) -> float | None:
    """Return these processes' memory that is not mapped from files; None if the kernel does not report it."""
    found = [kib for pid in pids for kib in _own_kib(root / str(pid) / "status")]
    return sum(found) / 1024 if found else None


def _own_kib(status: Path) -> list[int]:
    with suppress(OSError):  # the process has ended
        return [
            int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith(_OWN_PAGES)
        ]
    return []


def watching(*, has_gpu: bool) -> tuple[MemoryWatch, ExitStack]:
    """Return a watch of this process and its descendants, and a stack that closes it.

    On a GPU the memory is unknown if the driver names none of these processes, as in a container with pids of
    its own.
    """
    processes, stack = Processes(os.getpid()), ExitStack()
    read_mib = _gpu_reader(processes, stack) if has_gpu else lambda: own_mib(processes.pids())
    watch = MemoryWatch(read_mib, every_s=_EVERY_S["gpu" if has_gpu else "cpu"])
    stack.callback(watch.close)  # before the driver is released
    return watch, stack


def _gpu_reader(processes: Processes, stack: ExitStack) -> Callable[[], float | None]:
    try:
        gpu = stack.enter_context(GpuMemory(visible_gpus(os.environ).uuids[0]))
    except (SensorError, IndexError):
        return lambda: None

    def read_mib() -> float | None:
        held = gpu.held_mib()
        known = [mib for pid in processes.pids() if (mib := held.get(pid)) is not None]
        return sum(known) if known else None

    return read_mib
