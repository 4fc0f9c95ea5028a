"""The journal of a run: one JSON object a line, only ever appended to."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

SCHEMA_VERSION = 1


class LedgerError(RuntimeError):
    """A run's folder cannot be used; the message says why and what to do."""


class StorageError(LedgerError):
    """A file of the run could not be written; what was written before is as it was."""


class JournalError(StorageError):
    """The journal took no event, so that the run cannot go on."""


class Journal:
    """Events on disk, in the order they happened.

    An event is written whole, flushed and fsynced (0.1 ms on a local disk), so that a kill at any
    moment loses at most the line being written. When one cannot be written, what there is of it is
    taken back, and no further one is taken: what was decided since is known to nobody.

    Args:
        path: Never made by `append`: a journal that was removed must not begin anew in silence.
        clock: Seconds since the epoch.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        self.path = path
        self._clock = clock
        self._lost: JournalError | None = None

    def begin(self) -> None:
        """Make the file, with its first line.

        Raises:
            FileExistsError: There is one.
            JournalError: It cannot be written; nothing of it stays.
        """
        with self.path.open("xb"):
            pass
        try:
            self._append_first()
        except JournalError:
            self.path.unlink(missing_ok=True)
            raise

    def append(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Write one event with its time and give it as a later reader will see it.

        Raises:
            JournalError: It cannot be written, or an earlier one could not.
        """
        if self._lost:
            raise self._lost
        line = json.dumps({"time": round(self._clock(), 3), **event}, allow_nan=False)
        try:
            _append_whole(self.path, f"{line}\n".encode())
        except OSError as error:
            self._lost = JournalError(unwritten(self.path, error))
            raise self._lost from error
        stamped: dict[str, Any] = json.loads(line)
        return stamped

    def events(self) -> list[dict[str, Any]]:
        """Every event, oldest first. A last line that a kill cut short is left out.

        Raises:
            LedgerError: A line before the last is no event: the file was damaged, not cut short.
        """
        lines = self.path.read_bytes().rstrip(b"\n").split(b"\n")
        events = [_event(line) for line in lines]
        if events[-1] is None:
            events.pop()
        for number, event in enumerate(events, start=1):
            if event is None:
                raise LedgerError(
                    f"{self.path}: line {number} is damaged; put back a copy that is whole, or delete "
                    "the line if you can do without what it tells"
                )
        return [event for event in events if event is not None]

    def mend(self) -> str | None:
        """Make the file fit to append to after a kill, and say what was dropped, if anything.

        A last line that is whole but for its line end gets it; one that was cut short goes.

        Raises:
            JournalError: It cannot be written.
        """
        content = self.path.read_bytes()
        start = content.rstrip(b"\n").rfind(b"\n") + 1
        last = content[start:]
        is_whole = _event(last) is not None
        try:
            if is_whole and not last.endswith(b"\n"):
                _append_whole(self.path, b"\n")
            elif not is_whole:
                os.truncate(self.path, start)
        except OSError as error:
            raise JournalError(unwritten(self.path, error)) from error
        if start == 0 and not is_whole:
            self._append_first()
        if is_whole or not last:
            return None
        return f"the journal's last line was cut short by a kill; its {len(last)} bytes are dropped"

    def _append_first(self) -> None:
        self.append({"event": "journal_started", "schema": SCHEMA_VERSION})


def unwritten(path: Path, error: OSError) -> str:
    """Which file could not be written, why, and what is needed."""
    reason = error.strerror or str(error)
    if isinstance(error, FileNotFoundError):
        return f"{path} cannot be written: it is gone; if the run's folder was moved away, put it back"
    free_kib = shutil.disk_usage(path if path.is_dir() else path.parent).free // 1024
    return f"{path} cannot be written: {reason} ({free_kib} KiB are free there)"


def _append_whole(path: Path, line: bytes) -> None:
    """Add `line` to the file on disk; of one that does not fit, nothing stays."""
    with path.open("r+b", buffering=0) as file:
        end = file.seek(0, os.SEEK_END)
        try:
            written = 0
            while written < len(line):
                written += file.write(line[written:])
            os.fsync(file.fileno())
        except OSError:
            file.truncate(end)
            raise


def _event(line: bytes) -> dict[str, Any] | None:
    """The event in a line, or None where there is none."""
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) else None
