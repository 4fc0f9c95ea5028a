"""What a trial prints, in its folder, by whatever way: its beginning and its end where it is long.

A progress bar of one trial must not fill the disk of a search of hundreds: a log that has come to 16 MiB is
cut to its first and its last 4 MiB, with how many bytes were between. What C libraries and child processes
write goes to the descriptors and not through Python, so these are pointed at the file, and a thread does the
cutting.
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

KEPT_BYTES = 2**22  # of the beginning, and as much at least of the end
_MARK = re.compile(rb"\n\[(\d+) bytes were cut here\]\n")
_MARK_BYTES = 64
_OUTPUT = (1, 2)
_BOUND_EVERY_S = 0.5  # at 2 GB/s a log of 1 GB at most, for a moment


class _Forgiving(io.FileIO):
    """A file that takes everything: above 16 MiB it loses its middle, and on a full disk the rest."""

    def write(self, data: Any) -> int:
        with contextlib.suppress(OSError):
            view = memoryview(data).cast("B")
            for start in range(0, view.nbytes, KEPT_BYTES):
                super().write(view[start : start + KEPT_BYTES])
                self.bound()
        return memoryview(data).nbytes

    def bound(self) -> None:
        """Cut the file if it is too long: others may write into it as well."""
        if os.fstat(self.fileno()).st_size > 4 * KEPT_BYTES:
            self._cut()

    def _cut(self) -> None:
        """Leave the beginning and the end, with how many bytes were between them since the first cut."""
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
    """Cuts the log that descriptors are written to, as long as it is one: nothing checks before such a write.

    It reads no pipe: a writer into a full one that holds Python's lock would wait for ever.
    """

    def __init__(self) -> None:
        super().__init__(name="trial-log", daemon=True)
        self.raw: _Forgiving | None = None

    def run(self) -> None:
        while True:
            time.sleep(_BOUND_EVERY_S)
            with contextlib.suppress(OSError, ValueError):  # closed just now
                if raw := self.raw:
                    raw.bound()


_bounding: _Bounding | None = None


def open_log(path: Path) -> TextIO:
    """The log to add lines to. A disk that takes none costs the lines, never the trial."""
    return io.TextIOWrapper(
        io.BufferedWriter(_open_file(path)), encoding="utf-8", errors="backslashreplace", line_buffering=True
    )


@contextlib.contextmanager
def captured(path: Path) -> Iterator[TextIO]:
    """Within the block all output of this process goes to the log: what Python prints, what is written to the
    descriptors 1 and 2 by a library of C or by a process that was started, and the traceback of a crash."""
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
    if _bounding is None or not _bounding.is_alive():  # a fork has no threads but its own
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
    """What is still in the buffers of Python's own streams and of C's is the trial's."""
    for stream in (sys.__stdout__, sys.__stderr__):
        with contextlib.suppress(AttributeError, OSError, ValueError):
            stream.flush()  # type: ignore[union-attr]
    with contextlib.suppress(AttributeError, OSError, ValueError):  # no C library that has it by this name
        c_library = ctypes.CDLL(None)
        c_library.fflush(ctypes.c_void_p.in_dll(c_library, "stdout"))


def _open_file(path: Path) -> _Forgiving:
    try:
        path.parent.mkdir(exist_ok=True)
        return _Forgiving(path, "a")
    except OSError:
        return _Forgiving(os.devnull, "a")


def epoch_line(row: EpochRow) -> str:
    """The log's line of an epoch."""
    metrics = "  ".join(f"{name} {value:.6g}" for name, value in row.metrics.items())
    start = "" if row.start_s is None else f"  (start {row.start_s:.2f} s)"
    return f"{_head(row)}{row.seconds:.2f} s{start}  {metrics}"


def has_epoch_line(row: EpochRow, log: Path) -> bool:
    """Whether the epoch that a trial resumes after has its line: it has not if its worker was lost."""
    try:
        with log.open(encoding="utf-8", errors="replace") as lines:
            return any(line.startswith(_head(row)) for line in lines)
    except OSError:  # a log that cannot be read takes no line either
        return True


def _head(row: EpochRow) -> str:
    return f"epoch {row.epoch}  rung {row.rung}  "
