"""The lock by which one process at a time makes a cache file, showing the others its progress."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

# flock has no timeout, hence the polling: ten system calls a second per waiting process.
_POLL_S = 0.1  # a blocking lock would wait without a limit, and could not say what for
_SAY_EVERY_S = 60.0
_FIRST_REPORT_S = 10.0
_NUM_BYTES = 256  # of a lock file: written in one go, so that a reader never sees a part of it
_log = logging.getLogger(__name__)


class CacheUnavailable(Exception):
    """The cache cannot provide a file now; the message says why."""


class CacheLock:
    """The right to make a file, held by this process. The system releases it if the process dies.

    Attributes:
        fraction: Fraction of the file that is done, in [0, 1]; None while it is not reported.
    """

    def __init__(self, descriptor: int) -> None:
        self.fraction: float | None = None
        self._descriptor = descriptor
        self._since = f"{datetime.now():%H:%M:%S}"

    @classmethod
    @contextmanager
    def held(cls, path: Path, *, beat_s: float) -> Iterator[CacheLock | None]:
        """Hold the lock at `path`, beating every `beat_s` seconds; yields None if another process has it.

        Raises:
            CacheUnavailable: The file system has no locks.
        """
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if not lock_at_once(descriptor, fcntl.LOCK_EX, path) or not is_still_at(path, descriptor):
                yield None
                return
            lock = cls(descriptor)
            try:
                with lock._beating(beat_s):
                    yield lock
            finally:
                path.unlink(missing_ok=True)
        finally:
            os.close(descriptor)

    @contextmanager
    def _beating(self, beat_s: float) -> Iterator[None]:
        """Show in the lock file, every `beat_s` seconds, that this process is alive and how far it is."""
        has_ended = threading.Event()

        def beat() -> None:
            beats = 0
            while True:
                self._show(beats)
                if has_ended.wait(beat_s):
                    return
                beats += 1

        # A thread, because filling may take minutes in one call into C; a process that is stopped (SIGSTOP)
        # or hangs in the kernel stops beating, which is how the others notice.
        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            has_ended.set()
            thread.join()

    def _show(self, beats: int) -> None:
        """Write who holds the lock, since when, and how far it is.

        256 bytes in one write: a reader sees the old record or the new one, never a mixture.
        """
        shown = {
            "pid": os.getpid(),
            "host": socket.gethostname()[:64],
            "since": self._since,
            "fraction": self.fraction,
            "beats": beats,
        }
        with suppress(OSError):  # a full disk: the others see no progress, and do without the cache
            os.pwrite(self._descriptor, json.dumps(shown).encode().ljust(_NUM_BYTES), 0)


@dataclass(frozen=True)
class _Maker:
    """The process that holds a lock, as its lock file describes it."""

    pid: int
    host: str
    since: str
    fraction: float | None
    beats: int

    @classmethod
    def at(cls, path: Path) -> _Maker | None:
        try:
            return cls(**json.loads(path.read_bytes()))
        except (OSError, ValueError, TypeError):
            return None  # it has ended, or has only just begun

    @property
    def progress(self) -> object:
        """A value that changes as long as the process makes progress."""
        # A fraction that no longer grows means a process that hangs, even if its thread still beats.
        tells_fraction = self.fraction is not None and self.fraction < 1
        return self.pid, self.host, self.fraction if tells_fraction else self.beats

    def __str__(self) -> str:
        at = "" if self.fraction is None else f", {self.fraction:.0%} done"
        return f"process {self.pid} on {self.host} (since {self.since}{at})"


class WaitForMaker:
    """Waits in short turns for the process that makes a file, as long as it makes progress.

    Args:
        path: The path of its lock.
        stalled_s: Seconds that it may go without progress.
    """

    def __init__(self, path: Path, *, stalled_s: float) -> None:
        self._path, self._stalled_s = path, stalled_s
        self._started_s = self._progress_s = time.monotonic()
        self._progress: object = None
        self._say_s = self._started_s + _FIRST_REPORT_S

    def turn(self) -> None:
        """Wait a moment, and log from time to time what for.

        Raises:
            CacheUnavailable: There was no progress for `stalled_s`.
        """
        maker, now_s = _Maker.at(self._path), time.monotonic()
        progress = maker and maker.progress
        if progress != self._progress:
            self._progress, self._progress_s = progress, now_s
        name, who = self._path.stem, maker or "another process"
        if now_s - self._progress_s > self._stalled_s:
            raise CacheUnavailable(f"{name} is held by {who}, without progress for {self._stalled_s:g} s")
        if now_s > self._say_s:
            _log.warning("waiting for %s, held by %s", name, who)
            self._say_s = now_s + _SAY_EVERY_S
        time.sleep(_POLL_S)


def lock_at_once(descriptor: int, kind: int, path: Path) -> bool:
    """Lock an open file, shared or exclusively; False if another process has it.

    Raises:
        CacheUnavailable: The file system has no locks.
    """
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise CacheUnavailable(
            f"files in {path.parent} cannot be locked ({error.strerror}); set JOULETUNE_CACHE to a folder "
            "on a local disk"
        ) from error
    return True


def is_still_at(path: Path, descriptor: int) -> bool:
    """Whether the open file is still the one at this path."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
