"""The processes that a training starts end with it: daemons of their own session too.

A loader's workers, a script's server, a fork bomb: what a trial leaves running would take cores, memory and
the GPU from the trials after it, and its joules would be counted as theirs. A process group is not enough, as
any process may leave its own; what cannot be left is descent. So the worker declares itself the reaper of its
orphans, and ends whatever is below it.
"""

from __future__ import annotations

import ctypes
import multiprocessing.resource_tracker
import os
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
_GRACEFUL_S = 2.0  # from SIGTERM to SIGKILL: a loader of data closes its workers within milliseconds
_KILLED_S = 5.0  # SIGKILL is sent again and again for as long: what is born meanwhile gets it too
_TICK_S = 0.02


def part_forks() -> None:
    """Have what is forked from this process die of SIGTERM as processes do.

    A fork shares a worker's connections. With Ray's handler it leaves Ray by them in the worker's name: of
    twelve trials that left 100 forks each, in 4 of 4 searches, the raylet died.
    """
    of_ray = signal.getsignal(signal.SIGTERM)
    mask = threading.local()

    def hold() -> None:  # one that came to the fork before it is parted would call Ray's handler, or be lost
        mask.before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def release() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask.before)

    def part() -> None:
        if signal.getsignal(signal.SIGTERM) is of_ray:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        release()

    if callable(of_ray):
        os.register_at_fork(before=hold, after_in_parent=release, after_in_child=part)


def end_if_forked(owner: int, error: BaseException | None) -> None:
    """Where a fork of the process `owner` comes back from a training, which only the worker may, end it."""
    if os.getpid() == owner:
        return
    code = error.code if isinstance(error, SystemExit) else 1
    os._exit(code if isinstance(code, int) else int(code is not None))


class Children:
    """What this process has started since it was ready.

    On Linux orphans of its descendants become its own, so that none gets away by a double fork or `setsid`.
    Elsewhere only its direct children are known.
    """

    def __init__(self) -> None:
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self._known = set(descendants(os.getpid()))

    def end(self, *, graceful_s: float = _GRACEFUL_S) -> list[int]:
        """End them all, SIGTERM first and SIGKILL after `graceful_s`; gives their numbers."""
        ended: set[int] = set()
        for number, most_s in ((signal.SIGTERM, graceful_s), (signal.SIGKILL, _KILLED_S)):
            ends_s = time.monotonic() + most_s
            signalled: set[int] = set()
            while left := self._left():
                ended |= left
                # With SIGKILL those too that were started meanwhile, again and again: a fork bomb is faster.
                for pid in left if number == signal.SIGKILL else left - signalled:
                    _signal(pid, number)
                signalled |= left
                if time.monotonic() > ends_s:
                    break
                time.sleep(_TICK_S)
        return sorted(ended)

    def _left(self) -> set[int]:
        if not _has_children():
            return set()
        spared = self._known | {multiprocessing.resource_tracker._resource_tracker._pid}  # type: ignore[attr-defined]
        return {pid for pid in descendants(os.getpid()) if pid not in spared and not _is_reaped(pid)}


def end_with_children(pid: int, *, most_s: float = _KILLED_S) -> None:
    """Kill a process and all that is below it. It is stopped first, so that it cannot start anything new."""
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGSTOP)
    ends_s = time.monotonic() + most_s
    while (below := [child for child in descendants(pid) if not _is_zombie(child)]) and (
        time.monotonic() < ends_s
    ):
        kill_all(below)
        time.sleep(_TICK_S)
    _signal(pid, signal.SIGKILL)


def end_orphans(raylet: int) -> list[int]:
    """Kill what dead workers of a raylet have left running; gives their numbers.

    These bear its number in the environment that they have from their worker, and are below it no more.
    """
    mark, below = f"RAY_RAYLET_PID={raylet}".encode(), {raylet, *descendants(raylet)}
    orphans = [pid for pid in _pids() if pid not in below and mark in _environment(pid)]
    kill_all(orphans)
    return orphans


def kill_all(pids: Iterable[int]) -> None:
    """SIGKILL to each that is there."""
    for pid in pids:
        _signal(pid, signal.SIGKILL)


def _environment(pid: int) -> list[bytes]:
    """What a process was started with; nothing of another user's, or of one that has ended."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return []


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").glob("[0-9]*")]


def _is_zombie(pid: int) -> bool:
    """Whether it has ended and waits for its parent to learn of it; so does one that is gone."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] in b"ZX"
    return True


def _has_children() -> bool:
    """Without any there are no descendants either: asked in a microsecond."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _is_reaped(pid: int) -> bool:
    """Reap `pid` if it has ended; a zombie of another parent comes here once that one has ended."""
    with suppress(ChildProcessError):
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    return False


def _signal(pid: int, number: signal.Signals) -> None:
    for each in (number, signal.SIGCONT):  # one that is stopped takes no other signal
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, each)


def descendants(root: int) -> Iterator[int]:
    """The processes below `root`, from /proc; none where there is no /proc."""
    children = _children()
    frontier = [root]
    while frontier:
        below = children.get(frontier.pop(), [])
        yield from below
        frontier += below


def _children() -> dict[int, list[int]]:
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError, IndexError):
            parent = int(entry.read_bytes().rpartition(b")")[2].split()[1])
            children.setdefault(parent, []).append(int(entry.parent.name))
    return children
