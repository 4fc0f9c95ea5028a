"""Files that all processes of a node make together once and then share, within a limit of disk."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

SUFFIX = ".pixels"
_UNFINISHED = ".unfinished"
_GIB = 2**30
_LEFT_FREE = _GIB  # of the disk, for checkpoints and others
_log = logging.getLogger(__name__)


class CacheFull(Exception):
    """A file does not fit into the cache; the message says why."""


class CacheFile:
    """A whole file, memory-mapped. It is not evicted as long as this is alive.

    Attributes:
        content: Its bytes; changes to them stay with the process.
    """

    def __init__(self, content: np.memmap, descriptor: int) -> None:
        self.content = content
        weakref.finalize(self, os.close, descriptor)


@dataclass(frozen=True)
class CacheFolder:
    """The cache of a node.

    Args:
        limit_gib: What its files may take together; None is what the disk has free, less 1 GiB.
    """

    folder: Path
    limit_gib: float | None = None

    def file(self, name: str, num_bytes: int, fill: Callable[[np.memmap], None]) -> CacheFile:
        """The file `name`; if there is none, `fill` writes it first.

        One process fills and the others wait for it. Where it is killed, the next one is given what it
        left; a new file is all zeros.

        Raises:
            CacheFull: It does not fit, even without the files that nobody uses.
        """
        path = self.folder / f"{name}{SUFFIX}"
        self.folder.mkdir(parents=True, exist_ok=True)
        while (found := _opened(path, num_bytes)) is None:
            with _locked(path.with_name(path.name + _UNFINISHED)) as unfinished:
                if unfinished is None:  # who had the lock has finished it, or given up
                    continue
                if path.exists():
                    Path(unfinished.name).unlink()
                else:
                    self._fill(unfinished, path, num_bytes, fill)
        return found

    def _fill(
        self, unfinished: BinaryIO, path: Path, num_bytes: int, fill: Callable[[np.memmap], None]
    ) -> None:
        temporary = Path(unfinished.name)
        try:
            self._make_room(num_bytes - temporary.stat().st_size, for_bytes=num_bytes)
            _reserve(unfinished, num_bytes)
            content = np.memmap(unfinished, np.uint8, "r+", shape=(num_bytes,))
            fill(content)
        except Exception:  # unlike a kill, it would happen again
            temporary.unlink()
            raise
        content.flush()
        temporary.replace(path)

    def _make_room(self, num_bytes: int, *, for_bytes: int) -> None:
        """Evict the files unused for longest until `num_bytes` more fit; none if that is not enough."""
        unused = sorted(self._files(), key=lambda file: file.stat().st_mtime_ns, reverse=True)
        most = self._room() + sum(path.stat().st_size for path in unused)
        while num_bytes > (room := self._room()):
            if not unused or num_bytes > most:
                limit = (
                    "of free disk" if self.limit_gib is None else f"of limits.cache_gib {self.limit_gib:g}"
                )
                needed, left = for_bytes / _GIB, max(room, 0) / _GIB
                raise CacheFull(f"{needed:.3g} GiB are needed and {left:.3g} GiB {limit} are left")
            _evict(unused.pop())

    def _room(self) -> int:
        free = shutil.disk_usage(self.folder).free - _LEFT_FREE
        if self.limit_gib is None:
            return free
        used = sum(path.stat().st_size for path in self._files())
        return min(free, int(self.limit_gib * _GIB) - used)

    def _files(self) -> list[Path]:
        return [*self.folder.glob(f"*{SUFFIX}"), *self.folder.glob(f"*{SUFFIX}{_UNFINISHED}")]


def _opened(path: Path, num_bytes: int) -> CacheFile | None:
    """The whole file, kept from eviction and marked as used now; None if there is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    if not _is_still_at(path, descriptor):
        os.close(descriptor)
        return None
    os.utime(path)
    return CacheFile(np.memmap(path, np.uint8, "c", shape=(num_bytes,)), descriptor)


@contextmanager
def _locked(path: Path) -> Iterator[BinaryIO | None]:
    """The file, which no other process has at the same time; None if it went while this one waited.

    The system frees the lock of a process that dies.
    """
    with path.open("ab+") as file:  # made if need be, and nothing in it is lost
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file if _is_still_at(path, file.fileno()) else None


def _is_still_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _reserve(file: BinaryIO, num_bytes: int) -> None:
    """Take the disk space now: writing to a mapped file without it kills the process."""
    try:
        os.posix_fallocate(file.fileno(), 0, num_bytes)
    except OSError as error:
        raise CacheFull(f"{num_bytes / _GIB:.3g} GiB are needed: {error.strerror}") from error


def _evict(path: Path) -> None:
    """Delete a file, unless a process uses or writes it."""
    with suppress(FileNotFoundError, BlockingIOError), path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()
        _log.info("%s was unused for longest and is deleted", path)
