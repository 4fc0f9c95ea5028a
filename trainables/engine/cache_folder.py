"""Files that the processes of a node make once and then share, within a limit on disk space.

Making a file and using it have separate locks: NAME.pixels.lock is held while NAME.pixels.unfinished is
written, and each user holds a shared lock on NAME.pixels itself. So no process waits for others to stop using
a file.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import weakref
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from trainables.core.contract import TrainingContext
from trainables.engine.cache_lock import CacheLock, CacheUnavailable, WaitForMaker, is_still_at, lock_at_once

SUFFIX = ".pixels"
_UNFINISHED = ".unfinished"
_LOCK = ".lock"
_GIB = 2**30
_LEFT_FREE = _GIB  # disk space, for checkpoints and other files
_log = logging.getLogger(__name__)

Fill = Callable[[np.memmap], Iterable[float] | None]


class CacheFull(CacheUnavailable):
    """A file does not fit into the cache; the message says why."""


class CacheFile:
    """A finished file, memory-mapped. It is not evicted as long as this object lives.

    Attributes:
        content: Its bytes; changes to them are private to the process.
    """

    def __init__(self, content: np.memmap, descriptor: int) -> None:
        self.content = content
        weakref.finalize(self, os.close, descriptor)


@dataclass(frozen=True)
class CacheFolder:
    """The cache of a node.

    Args:
        limit_gib: Maximum size of all its files; None means the free disk space less 1 GiB.
        stalled_s: Seconds that the maker of a file may go without progress before others do without the file.
        is_bypassed: Make no files: whatever the cache lacks is read on demand.
        progress_file: The training's progress file, for whatever makes a file.
    """

    folder: Path
    limit_gib: float | None = None
    stalled_s: float = 60.0
    is_bypassed: bool = False
    progress_file: Path | None = None

    @classmethod
    def of(cls, context: TrainingContext) -> CacheFolder:
        """The cache for a training in `context`."""
        return cls(
            context.cache_dir,
            context.cache_gib,
            is_bypassed=context.is_rehearsal,
            progress_file=context.progress_file,
        )

    def file(self, name: str, num_bytes: int, fill: Fill) -> CacheFile:
        """Return the file `name`; if it does not exist, `fill` writes it first.

        One process fills it and the others wait for that, never for a file in use. If it is killed, the
        next one continues from what it left; a new file is all zeros.

        Args:
            fill: Writes the content. It may yield the fraction done as it goes, in [0, 1]: then a process
                that hangs in it counts as stalled, otherwise only one that is stopped does.

        Raises:
            CacheFull: It does not fit, even without the unused files.
            CacheUnavailable: The process that makes it shows no progress, or files cannot be locked there.
        """
        path = self.folder / f"{name}{SUFFIX}"
        self.folder.mkdir(parents=True, exist_ok=True)
        wait = WaitForMaker(_lock_of(path), stalled_s=self.stalled_s)
        # The first process makes the file and the others poll every tenth of a second: if it dies, one of
        # them takes over.
        while (found := _opened(path, num_bytes)) is None:
            with CacheLock.held(_lock_of(path), beat_s=self.stalled_s / 60) as lock:
                if lock and not path.exists():
                    self._fill(lock, path, num_bytes, fill)
                    continue
            wait.turn()
        return found

    def _fill(self, lock: CacheLock, path: Path, num_bytes: int, fill: Fill) -> None:
        """Write the file under its unfinished name and rename it once it is complete.

        A process that is killed in between leaves the unfinished file, which the next one continues. After
        an error it is deleted: the same content would fail again.
        """
        with _unfinished(path).open("ab+") as file:  # created if missing, never truncated
            try:
                self._make_room(num_bytes - os.fstat(file.fileno()).st_size, for_bytes=num_bytes)
                _reserve(file, num_bytes)
                content = np.memmap(file, np.uint8, "r+", shape=(num_bytes,))
                for fraction in fill(content) or ():
                    lock.fraction = fraction
                os.fsync(file.fileno())  # unlike flush(), it does not stop the beating
                content.flush()
            except Exception:  # unlike a kill, it would happen again
                _unfinished(path).unlink(missing_ok=True)
                raise
        with suppress(FileNotFoundError):  # another node was first, if locks do not reach across nodes
            _unfinished(path).replace(path)

    def _make_room(self, num_bytes: int, *, for_bytes: int) -> None:
        """Evict the least recently used files until `num_bytes` more fit; none if that cannot be enough."""
        files = self._files()
        # A file's time is that of its last use (`os.utime` in `_opened`), so the oldest goes first. Nothing
        # is evicted if even evicting everything would not be enough.
        unused = sorted(files, key=lambda path: files[path].st_mtime_ns, reverse=True)
        most = self._room() + sum(stat.st_size for stat in files.values())
        while num_bytes > (room := self._room()):
            if not unused or num_bytes > most:
                limit = (
                    "of free disk" if self.limit_gib is None else f"of limits.cache_gib {self.limit_gib:g}"
                )
                needed, left = for_bytes / _GIB, max(room, 0) / _GIB
                raise CacheFull(f"{needed:.3g} GiB are needed and {left:.3g} GiB {limit} are left")
            _evict(unused.pop())

    def _room(self) -> int:
        """Bytes that may still be written: the free disk space less 1 GiB, or less if a limit is set."""
        free = shutil.disk_usage(self.folder).free - _LEFT_FREE
        if self.limit_gib is None:
            return free
        used = sum(stat.st_size for stat in self._files().values())
        return min(free, int(self.limit_gib * _GIB) - used)

    def _files(self) -> dict[Path, os.stat_result]:
        """All files of the cache with their sizes and times, unfinished ones too, as they also take space."""
        files = {}
        for ending in (SUFFIX, SUFFIX + _UNFINISHED):
            for path in self.folder.glob(f"*{ending}"):
                with suppress(FileNotFoundError):  # another process evicts too
                    files[path] = path.stat()
        return files


def _unfinished(path: Path) -> Path:
    return path.with_name(path.name + _UNFINISHED)


def _lock_of(path: Path) -> Path:
    """The lock for making a file, given its own path or that of the unfinished one."""
    return path.with_name(path.name.removesuffix(_UNFINISHED) + _LOCK)


def _opened(path: Path, num_bytes: int) -> CacheFile | None:
    """Open the finished file, kept from eviction and marked as used now; None if there is none."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return None
    with file:
        size = os.fstat(file.fileno()).st_size
        if not lock_at_once(file.fileno(), fcntl.LOCK_SH, path) or not is_still_at(path, file.fileno()):
            return None  # it is being evicted
        if size != num_bytes:
            _log.warning("%s has %d bytes instead of %d and is made again", path, size, num_bytes)
            path.unlink(missing_ok=True)
            return None
        with suppress(PermissionError):  # another user's file: only its owner's uses count
            os.utime(path)
        # Copy on write: a bug that changes pixels in place harms this process alone. The second descriptor
        # holds the shared lock for as long as the file is used.
        return CacheFile(np.memmap(file, np.uint8, "c", shape=(num_bytes,)), os.dup(file.fileno()))


def _reserve(file: BinaryIO, num_bytes: int) -> None:
    """Reserve the disk space now: writing to a mapped file without it kills the process."""
    try:
        os.posix_fallocate(file.fileno(), 0, num_bytes)
    except OSError as error:
        raise CacheFull(f"{num_bytes / _GIB:.3g} GiB are needed: {error.strerror}") from error


def _evict(path: Path) -> None:
    """Delete a file, unless a process uses or makes it. Never waits."""
    locked = _lock_of(path) if path.suffix == _UNFINISHED else path
    # An unfinished file is guarded by the lock of its maker, a finished one by the locks of its users.
    flags = os.O_RDWR | (
        os.O_CREAT if locked != path else 0
    )  # NFS locks exclusively only what can be written
    with suppress(FileNotFoundError, PermissionError, CacheUnavailable):
        descriptor = os.open(locked, flags)
        try:
            if lock_at_once(descriptor, fcntl.LOCK_EX, locked) and is_still_at(locked, descriptor):
                path.unlink()
                if locked != path:
                    locked.unlink()
                _log.info("%s has been unused the longest and is deleted", path)
        finally:
            os.close(descriptor)
