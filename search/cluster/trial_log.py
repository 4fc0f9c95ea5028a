"""What a trial prints, in its folder: its beginning and its end where it is long."""

from __future__ import annotations

import contextlib
import io
import os
import re
from pathlib import Path
from typing import Any, TextIO

KEPT_BYTES = 2**22  # of the beginning, and as much at least of the end
_MARK = re.compile(rb"\n\[(\d+) bytes were cut here\]\n")
_MARK_BYTES = 64


class _Forgiving(io.FileIO):
    """A file that takes everything: above 16 MiB it loses its middle, and on a full disk the rest."""

    def write(self, data: Any) -> int:
        with contextlib.suppress(OSError):
            view = memoryview(data).cast("B")
            for start in range(0, view.nbytes, KEPT_BYTES):
                super().write(view[start : start + KEPT_BYTES])
                if self.tell() > 4 * KEPT_BYTES:
                    self._cut()
        return memoryview(data).nbytes

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


def open_log(path: Path) -> TextIO:
    """The log to add lines to. A disk that takes none costs the lines, never the trial."""
    try:
        path.parent.mkdir(exist_ok=True)
        raw = _Forgiving(path, "a")
    except OSError:
        raw = _Forgiving(os.devnull, "a")
    return io.TextIOWrapper(
        io.BufferedWriter(raw), encoding="utf-8", errors="backslashreplace", line_buffering=True
    )
