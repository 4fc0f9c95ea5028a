"""The journal of a run: one JSON object per line, chained by checksums, only ever appended to."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from search.command_lines import typed_command
from search.ledger.journal_lines import SCHEMA_VERSION, ChainEnd, Scan, encode, scan


class LedgerError(RuntimeError):
    """A run's folder cannot be used; the message says why and what to do."""


class StorageError(LedgerError):
    """A file of the run could not be written or read; what was written before is unchanged."""


class JournalError(StorageError):
    """The journal could not record an event, so that the run must end."""


class DamagedJournal(LedgerError):
    """A journal holds lines that cannot be trusted; the message says which, and what is intact."""


class Journal:
    """Events on disk, in the order they happened.

    An event is written whole, flushed and fsynced (0.1 ms on a local disk), so that a kill at any moment
    loses at most the line being written. If one cannot be written, any part of it is removed and no further
    event is accepted, as what was decided since is recorded nowhere.

    Args:
        path: The file. `append` never creates it: a journal that was removed must not silently begin again.
        make_check: Makes the function that checks each event of a file beside its place and checksum; it is
            called with the event and its line's number from 0 and raises `BadLine`.
        clock: Seconds since the epoch.
    """

    def __init__(
        self,
        path: Path,
        *,
        make_check: Callable[[], Callable[[dict[str, Any], int], None]] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.path = path
        self._make_check = make_check or (lambda: lambda event, seq: None)
        self._clock = clock
        self._lost: JournalError | None = None
        self._end: tuple[int, ChainEnd] | None = None  # end of the file, as this object left or found it

    def begin(self) -> None:
        """Create the file with its first line.

        Raises:
            FileExistsError: The file exists.
            JournalError: It cannot be written; nothing of it is left.
        """
        with self.path.open("xb"):
            pass
        try:
            self._append_first()
        except JournalError:
            self.path.unlink(missing_ok=True)
            raise

    def append(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Write one event with its time and return it as a later reader will see it.

        Raises:
            JournalError: The event cannot be written, or an earlier one could not.
            DamagedJournal: The file cannot be continued.
        """
        if self._lost:
            raise self._lost
        try:
            size, chain = self._end or self._found_end()
            line, following = encode(self._clock(), event, chain)
            self._end = _append_whole(self.path, line, at=size), following
        except StorageError as error:
            self._lost = JournalError(str(error))
            raise self._lost from error
        except OSError as error:
            self._lost = JournalError(unwritten(self.path, error))
            raise self._lost from error
        written: dict[str, Any] = json.loads(line)
        del written["seq"], written["crc"]
        return written

    def events(self) -> list[dict[str, Any]]:
        """Every event, oldest first. A last line that a kill cut short is left out.

        Raises:
            DamagedJournal: A line cannot be trusted, and no kill left it so.
        """
        found = self.scan()
        if found.problem and not found.is_torn:
            raise DamagedJournal(self._damage(found))
        return found.events

    def scan(self) -> Scan:
        """Read the file up to the first line that cannot be trusted.

        Raises:
            StorageError: It cannot be read.
        """
        return scan(self._read(), self._make_check())

    def drop_torn_line(self) -> str | None:
        """Make the file fit to append to after a kill; return a sentence on what was dropped, if anything.

        A last line that lacks only its line end gets one; a line that was cut short is removed. The result is
        read back before any event is appended.

        Raises:
            DamagedJournal: It is damaged in a way that no kill leaves; nothing was changed.
            JournalError: It cannot be written.
        """
        content = self._read()
        found = scan(content, self._make_check())
        if found.problem and not found.is_torn:
            raise DamagedJournal(self._damage(found))
        try:
            if found.rest:
                _truncate(self.path, found.size)
            elif content and not content.endswith(b"\n"):
                _append_whole(self.path, b"\n", at=len(content))
        except OSError as error:
            raise JournalError(unwritten(self.path, error)) from error
        self._end = None
        if not found.events:
            self._append_first()
        self.events()
        if not found.rest.strip(b"\n"):
            return None
        return f"the journal's last line was cut short by a kill; its {len(found.rest)} bytes are dropped"

    def repair(self) -> tuple[Path, Scan]:
        """Cut a damaged journal after its last intact line; return the original's copy, and what was kept.

        Raises:
            DamagedJournal: It has no intact line, so that nothing would be left of it.
            JournalError: The copy or the cut cannot be written, or the result does not read back as expected.
        """
        found = self.scan()
        if not found.events:
            raise DamagedJournal(f"{self._damage(found)}\nno line of it is intact, so it cannot be repaired")
        copy = _free_name(self.path)
        try:
            shutil.copy2(self.path, copy)
            _truncate(self.path, found.size)
            if not self._read().endswith(b"\n"):
                _append_whole(self.path, b"\n", at=found.size)
        except OSError as error:
            raise JournalError(unwritten(self.path, error)) from error
        self._end = None
        if (again := self.scan()).problem or again.events != found.events:
            raise JournalError(f"{self.path} does not read back as it was repaired; {copy} is the original")
        return copy, found

    def _read(self) -> bytes:
        try:
            return self.path.read_bytes()
        except OSError as error:
            raise StorageError(f"{self.path} cannot be read: {error.strerror or error}") from error

    def _found_end(self) -> tuple[int, ChainEnd]:
        found = self.scan()
        if found.problem:
            raise DamagedJournal(self._damage(found))
        return found.size, found.chain

    def _damage(self, found: Scan) -> str:
        number = found.chain.seq + 1
        lines = [f"{self.path}: line {number} {found.problem}"]
        if whole := len(found.events):
            lines.append(f"intact: line{'s 1 to' if whole > 1 else ''} {whole}")
        if found.num_following:
            lines.append(f"after it: {found.num_following} more lines, which cannot be trusted without it")
        lines.append(
            "put back an intact copy of the file; or let "
            f"`{typed_command('check', 'RUN', '--repair')}` cut it "
            "after its last intact line (it keeps a copy, and the trials continue from there)"
        )
        return "\n  ".join(lines)

    def _append_first(self) -> None:
        self.append({"event": "journal_started", "schema": SCHEMA_VERSION, "run": uuid4().hex})


def unwritten(path: Path, error: OSError) -> str:
    """The message that a file could not be written: which, why, and what is needed."""
    reason = error.strerror or str(error)
    if isinstance(error, FileNotFoundError):
        return f"{path} cannot be written: it is gone; if the run's folder was moved away, put it back"
    return f"{path} cannot be written: {reason}{_free_text(path)}"


def _free_text(path: Path) -> str:
    """Free space where the file is to be written; empty where the storage does not report it."""
    try:
        where = next(folder for folder in (path, *path.parents) if folder.is_dir())
        return f" ({shutil.disk_usage(where).free // 1024} KiB are free there)"
    except OSError:
        return ""


def _append_whole(path: Path, line: bytes, *, at: int) -> int:
    """Append `line` to the file on disk, whose end is expected at `at`, and return where it ends now.

    A line that does not fit leaves nothing behind.
    """
    with path.open("r+b", buffering=0) as file:
        end = file.seek(0, os.SEEK_END)
        if end != at:
            raise OSError(None, f"another process changed it ({end} bytes, {at} expected)")
        try:
            written = 0
            while written < len(line):
                written += file.write(line[written:])
            os.fsync(file.fileno())
        except OSError:
            file.truncate(end)
            raise
    return end + len(line)


def _truncate(path: Path, size: int) -> None:
    with path.open("r+b", buffering=0) as file:
        file.truncate(size)
        os.fsync(file.fileno())


def _free_name(path: Path) -> Path:
    number = 1
    while (copy := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    return copy
