"""Runs one command and leaves none of its processes behind, however this process or its starter ends.

Started as a file, with the standard library alone:

    python -I -S guardian.py LOCK LOCK_S GRACEFUL_S PROGRAM ARGUMENT...

It waits at most LOCK_S for the guardian of the previous run.

Orders are read from standard input: `h` suspends the command with all its descendants, `g` resumes them. The
end of input ends the command and all its descendants, including those in other process groups and sessions:
by SIGTERM, then after GRACEFUL_S by SIGKILL. It also comes if the starter is killed. The exit status is the
command's, or 128 plus the number of the signal that ended it.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
_ORDERS = {b"h": signal.SIGSTOP, b"g": signal.SIGCONT}
_TICK_S = 0.05
_KILLED_S = 5.0  # a process in an uninterruptible read of a lost disk takes no signal at all
_NOT_STARTED = 127  # as in a shell
_LOCKED = 75  # EX_TEMPFAIL of sysexits.h


class Guardian:
    """Parent of the command, and of its orphans: whatever it starts stays a descendant of this process."""

    def __init__(self, lock: Path, lock_s: float, graceful_s: float) -> None:
        self._lock, self._lock_s, self._graceful_s = lock, lock_s, graceful_s
        self._starter = os.getppid()
        self._libc = ctypes.CDLL(None)
        self._libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self._woken, waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(waker)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, self._on_signal)
        self._must_end = False
        self._command = 0
        self._status: int | None = None

    def run(self, argv: list[str]) -> int:
        """Start the command once the lock is free; return its exit status when no process of it is left."""
        ends_s = time.monotonic() + self._lock_s
        with self._lock.open("a+b") as lock:
            while not self._has_taken(lock.fileno()):
                if time.monotonic() > ends_s:
                    return self._locked_out()
                if self._waited(_TICK_S):
                    return _exit_status(-signal.SIGTERM)
            self._start(argv)
            os.truncate(lock.name, 0)
            os.write(lock.fileno(), str(self._command).encode())
            while self._has_children() and self._status is None:
                if self._waited(1.0):
                    break
            self._report_left()
            self._end()
        return _exit_status(-signal.SIGTERM if self._status is None else self._status)

    def _has_taken(self, lock: int) -> bool:
        """Try to take the lock, which the folder's previous guardian holds until its command is gone."""
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _locked_out(self) -> int:
        """Report on standard error which process still holds the lock, and return the exit status."""
        pid = self._lock.read_text() or "unknown"
        problem = (
            f"another run of this script, process {pid}, still holds {self._lock} after {self._lock_s:g} s"
        )
        os.write(2, f"{problem}; end it (kill {pid}) and try again\n".encode())
        return _LOCKED

    def _start(self, argv: list[str]) -> None:
        """Start the command in its own process group.

        The child asks the kernel to kill it if this process dies (PR_SET_PDEATHSIG). This process may have
        died before that, so the child then compares its parent's id.
        """
        guardian = os.getpid()
        self._command = os.fork()
        if self._command:
            return
        try:
            os.setpgid(0, 0)
            self._libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != guardian:  # the guardian died before the prctl above
                os._exit(_NOT_STARTED)
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGPIPE):
                signal.signal(number, signal.SIG_DFL)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.execvp(argv[0], argv)
        except OSError as error:
            os.write(2, f"{argv[0]} cannot be started: {error.strerror}\n".encode())
        os._exit(_NOT_STARTED)

    def _waited(self, most_s: float) -> bool:
        """Wait for an order or a signal, obey it, and return whether the command must end."""
        ready, _, _ = select.select([0, self._woken], [], [], most_s)
        if self._woken in ready:
            with suppress(BlockingIOError):
                os.read(self._woken, 4096)
        if 0 in ready:
            orders = os.read(0, 64)
            self._must_end |= not orders
            if self._command and orders:
                _signal_tree(os.getpid(), _ORDERS[orders[-1:]])
        return self._must_end or os.getppid() != self._starter

    def _report_left(self) -> None:
        """Say on standard error if a command has ended well but its processes have not.

        A script that starts its training in the background and returns has ended it by that.
        """
        if self._status == 0 and self._has_children():
            number = len(_descendants(os.getpid()))
            problem = (
                f"the command has ended and left {number} running, which are ended too: let it wait for them"
            )
            os.write(2, f"{problem}\n".encode())

    def _end(self) -> None:
        """End every process below this one."""
        for number, most_s in ((signal.SIGTERM, self._graceful_s), (signal.SIGKILL, _KILLED_S)):
            end_s = time.monotonic() + most_s
            self._signal_all(number)
            while self._has_children() and time.monotonic() < end_s:
                select.select([self._woken], [], [], _TICK_S)
                if number == signal.SIGKILL:
                    self._signal_all(number)  # including those started meanwhile

    def _signal_all(self, number: signal.Signals) -> None:
        """Send a signal to every process below this one, and resume suspended ones."""
        for pid in _descendants(os.getpid()):
            for each in (number, signal.SIGCONT):  # a suspended process handles no other signal
                _signal(pid, each)

    def _has_children(self) -> bool:
        """Reap ended children and return whether any is left; orphans become children of this process."""
        try:
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return True
                if pid == self._command:
                    self._status = os.waitstatus_to_exitcode(status)
        except ChildProcessError:
            return False

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._must_end |= number == signal.SIGTERM


def _signal_tree(root: int, number: signal.Signals) -> None:
    """Send a signal to every process below `root`, including those started meanwhile.

    A process group is not enough: torchrun starts each rank in its own session.
    """
    signalled: set[int] = set()
    while found := set(_descendants(root)) - signalled:
        for pid in found:
            _signal(pid, number)
        signalled |= found


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(
        ProcessLookupError, PermissionError
    ):  # it has already ended, or is another user's, as of sudo
        os.kill(pid, number)


def _descendants(root: int) -> list[int]:
    """The ids of all processes below `root`, from /proc, whatever group or session they are in."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):  # noqa: PTH208 - names alone, 1,000 processes in 20 ms
        if entry.isdecimal():
            with suppress(OSError), open(f"/proc/{entry}/stat", "rb") as stat:  # noqa: PTH123
                parent = int(stat.read().rpartition(b")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry))
    found: list[int] = []
    frontier = [root]
    while frontier:
        below = children.get(frontier.pop(), [])
        found += below
        frontier += below
    return found


def _exit_status(status: int) -> int:
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(Guardian(Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])).run(sys.argv[4:]))
