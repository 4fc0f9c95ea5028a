"""A trial's log: everything it prints, by whatever route, cut to its beginning and end if it is long.

A trial's progress bar must not fill the disk of a search of hundreds of trials: a log that reaches 16 MiB is
cut to its first and last 4 MiB, with the number of bytes in between. C libraries and child processes write to
the file descriptors and not through Python, so the descriptors are redirected to the file, and a thread does
the cutting.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import re
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from search.trial import EpochRow

KEPT_BYTES = 2**22  # kept of the beginning, and at least as much of the end
_MARK = re.compile(rb"\n\[(\d+) bytes were cut here\]\n")
_MARK_BYTES = 64
_OUTPUT = (1, 2)
_BOUND_EVERY_S = 0.5  # at 2 GB/s a log has at most 1 GB, for a moment


class _Forgiving(io.FileIO):
    """A file whose writes never fail: above 16 MiB it loses its middle, and on a full disk the rest."""

    def write(self, data: Any) -> int:
        with contextlib.suppress(OSError):
            view = memoryview(data).cast("B")
            for start in range(0, view.nbytes, KEPT_BYTES):
                super().write(view[start : start + KEPT_BYTES])
                self.bound()
        return memoryview(data).nbytes

    def bound(self) -> None:
        """Cut the file if it is too long: others may write to it too."""
        if os.fstat(self.fileno()).st_size > 4 * KEPT_BYTES:
            self._cut()

    def _cut(self) -> None:
        """Keep the beginning and the end, and the total number of bytes cut from between them."""
        with open(self.name, "r+b") as file:  # noqa: PTH123 - this one can only add
            size = file.seek(0, os.SEEK_END)
            file.seek(size - KEPT_BYTES)
            end = file.read()
            file.seek(KEPT_BYTES)
            before = _MARK.match(file.read(_MARK_BYTES))
            num_cut = size - 2 * KEPT_BYTES
            if before:
                num_cut += int(before[1]) - len(before[0])
            file.seek(KEPT_BYTES)
            file.write(b"\n[%d bytes were cut here]\n" % num_cut + end)
            file.truncate()


class _Bounding(threading.Thread):
    """Cuts the log that the descriptors write to, since nothing checks its length before such a write.

    It does not read a pipe instead: a writer to a full pipe that holds Python's lock would wait forever.
    """

    def __init__(self) -> None:
        super().__init__(name="trial-log", daemon=True)
        self.raw: _Forgiving | None = None

    def run(self) -> None:
        while True:
            time.sleep(_BOUND_EVERY_S)
            with contextlib.suppress(OSError, ValueError):  # just closed
                if raw := self.raw:
                    raw.bound()


_bounding: _Bounding | None = None


def open_log(path: Path) -> TextIO:
    """Open the log to add lines. A full disk costs the lines, never the trial."""
    return io.TextIOWrapper(
        io.BufferedWriter(_open_file(path)), encoding="utf-8", errors="backslashreplace", line_buffering=True
    )


@contextlib.contextmanager
def captured(path: Path) -> Iterator[TextIO]:
    """Send all output of this process within the block to the log.

    This includes what Python prints, what C libraries and child processes write to descriptors 1 and 2, and
    the traceback of a crash.
    """
    log, raw = open_log(path), _open_file(path)
    try:
        with _descriptors_at(raw), contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
            yield log
    finally:
        if not log.closed:
            log.close()
        raw.close()


@contextlib.contextmanager
def _descriptors_at(raw: _Forgiving) -> Iterator[None]:
    global _bounding
    if _bounding is None or not _bounding.is_alive():  # a fork does not inherit threads
        _bounding = _Bounding()
        _bounding.start()
    before = [os.dup(number) for number in _OUTPUT]
    try:
        for number in _OUTPUT:
            os.dup2(raw.fileno(), number)
        _bounding.raw = raw
        yield
    finally:
        _bounding.raw = None
        _flush()
        for number, old in zip(_OUTPUT, before, strict=True):
            os.dup2(old, number)
            os.close(old)
        with contextlib.suppress(OSError, ValueError):
            raw.bound()


def _flush() -> None:
    """Flush the buffers of Python's own streams and of C's, whose contents belong to the trial."""
    for stream in (sys.__stdout__, sys.__stderr__):
        with contextlib.suppress(AttributeError, OSError, ValueError):
            stream.flush()  # type: ignore[union-attr]
    with contextlib.suppress(AttributeError, OSError, ValueError):  # the C library may not have this name
        c_library = ctypes.CDLL(None)
        c_library.fflush(ctypes.c_void_p.in_dll(c_library, "stdout"))


def _open_file(path: Path) -> _Forgiving:
    try:
        path.parent.mkdir(exist_ok=True)
        return _Forgiving(path, "a")
    except OSError:
        return _Forgiving(os.devnull, "a")


def epoch_line(row: EpochRow) -> str:
    """Return an epoch's line in the log."""
    metrics = "  ".join(f"{name} {value:.6g}" for name, value in row.metrics.items())
    start = "" if row.start_s is None else f"  (start {row.start_s:.2f} s)"
    return f"{_head(row)}{row.seconds:.2f} s{start}  {metrics}"


def has_epoch_line(row: EpochRow, log: Path) -> bool:
    """Return whether the log has the line of this epoch; it is missing if the epoch's worker was lost."""
    try:
        with log.open(encoding="utf-8", errors="replace") as lines:
            return any(line.startswith(_head(row)) for line in lines)
    except OSError:  # a log that cannot be read cannot be written either
        return True


def _head(row: EpochRow) -> str:
    return f"epoch {row.epoch}  rung {row.rung}  "
