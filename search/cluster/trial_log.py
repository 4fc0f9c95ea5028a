"""What a trial prints, in its folder."""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path
from typing import Any, TextIO


class _Forgiving(io.FileIO):
    """A file that takes everything: on a full disk what does not fit is dropped."""

    def write(self, data: Any) -> int:
        with contextlib.suppress(OSError):
            super().write(data)
        return memoryview(data).nbytes


def open_log(path: Path) -> TextIO:
    """The log to add lines to. A disk that takes none costs the lines, never the trial."""
    try:
        path.parent.mkdir(exist_ok=True)
        raw = _Forgiving(path, "a")
    except OSError:
        raw = _Forgiving(os.devnull, "a")
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding="utf-8", line_buffering=True)
