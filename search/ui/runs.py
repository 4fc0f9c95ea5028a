"""All runs of a folder as rows, updated as their files change. For one thread at a time.

A scan checks the size and modification time of each journal (a few system calls per run) and reads those that
changed, the newest first, so that current runs never wait for those that ended long ago. Rows of runs that do
not change are kept between starts, since reading 1,000 journals takes a minute: a row is valid only while the
files that it was made from have the same sizes and modification times.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from search.ledger import Ledger, LedgerError
from search.printable import printable
from search.space import SpaceError
from search.trial.task import cache_folder
from search.ui.live_run import LiveRun, Spaces
from search.ui.run_row import RunRow, damaged_row
from trainables.core.files import is_safe_name, replacing

_LAYOUT = 2  # version of the layout of kept rows, to be increased when their columns or meaning change
_BATCH_S = 0.3  # for which a scan reads before readers of the list see what it has found
_BAD_NAME = (
    "its folder has a name that no run can have, so no command can open it: rename it (up to 120 characters, "
    "no control characters, and no dot, hyphen or space first)"
)


@dataclass(frozen=True)
class _KeptRow:
    """A row, and the state of the files that it was made from."""

    files: str
    row: RunRow


@dataclass
class _Known:
    """A run as it was last found.

    Attributes:
        version: The version of all rows at which this one last changed.
        files: Sizes and modification times of the files of its row; empty before it was read.
        lost: The processes that held it and were gone when it was last read.
        changed_ns: When its journals last changed.
        folder_ns: When its folder last changed, at which time it had these `parts`.
        live: Reads what is appended to it; None for a run that does not change.
    """

    ledger: Ledger
    row: RunRow
    version: int
    files: str = ""
    lost: str = ""
    changed_ns: int = 0
    folder_ns: int = 0
    parts: list[Ledger] = field(default_factory=list)
    live: LiveRun | None = None


class Runs:
    """The runs in a folder.

    Args:
        results: The folder.
        clock: Monotonic seconds.
        file: Where rows are kept between starts; None means the user's cache.

    Attributes:
        version: Increases with each change of a row.
        num_unread: Runs whose rows are still to be made.
    """

    def __init__(
        self, results: Path, *, clock: Callable[[], float] = time.monotonic, file: Path | None = None
    ) -> None:
        self.results = results.absolute()
        self.version = self.num_unread = 0
        self._clock = clock
        self._file = file or _cache_file(self.results)
        self._kept = _read_rows(self._file)
        self._must_keep = False
        self._spaces = Spaces()
        self._known: dict[str, _Known] = {}
        self._gone: dict[str, int] = {}

    def scan(self) -> bool:
        """Update rows for a moment, and return whether any are left to be read."""
        self._list()
        begun_s = self._clock()
        due = sorted(self._due(), key=lambda known: -known.changed_ns)
        for place, known in enumerate(due):
            if place and self._clock() - begun_s > _BATCH_S:
                self.num_unread = len(due) - place
                return True
            self._read(known)
        self.num_unread = 0
        if self._must_keep:
            self._must_keep = False
            _write_rows(self._file, dict(self._to_keep()))
        return False

    def since(self, version: int) -> tuple[list[tuple[RunRow, int]], list[str]]:
        """The rows that changed after a version, each with its own version, and the names of runs that have
        gone since."""
        rows = [(known.row, known.version) for known in list(self._known.values()) if known.version > version]
        return rows, [name for name, gone in list(self._gone.items()) if gone > version]

    def row(self, name: str) -> tuple[RunRow, int] | None:
        """The row of a run with its version; None if there is no such run."""
        known = self._known.get(name)
        return None if known is None else (known.row, known.version)

    def page(self, name: str) -> str:
        """The page of a run as HTML.

        Raises:
            KeyError: There is no such run.
            LedgerError, SpaceError: It cannot be read.
        """
        known = self._known[name]
        return (known.live or LiveRun(known.ledger.folder)).page()

    def _list(self) -> None:
        """Find runs that are new or gone. One whose folder no command can name is listed but never read."""
        names = self._names()
        for name in self._known.keys() - names.keys():
            del self._known[name]
            self._gone[name] = self._next_version()
        for name in names.keys() - self._known.keys():
            ledger = Ledger(self.results / names[name])
            if not _has_run(ledger):
                continue
            self._gone.pop(name, None)
            is_named = is_safe_name(names[name])
            row = RunRow(name=name, state="reading") if is_named else damaged_row(name, _BAD_NAME)
            self._known[name] = _Known(ledger, row, self._next_version())

    def _names(self) -> dict[str, str]:
        """Folder names by their printable forms."""
        try:
            with os.scandir(self.results) as entries:
                return {printable(entry.name): entry.name for entry in entries if entry.is_dir()}
        except OSError:
            return {}

    def _next_version(self) -> int:
        self.version += 1
        return self.version

    def _due(self) -> Iterator[_Known]:
        """The runs whose rows are out of date; a kept row that matches the files is used instead."""
        for known in list(self._known.values()):
            if not is_safe_name(known.ledger.folder.name):
                continue
            files, kept = self._files_of(known), self._kept.get(known.row.name)
            if not known.files and kept and kept.files == files:
                self._set(known, kept.row, files)
            elif files != known.files or (known.row.may_change and _lost(known) != known.lost):
                yield known

    def _files_of(self, known: _Known) -> str:
        """Sizes and modification times of the files of the run's row. A new part changes the time of the
        folder."""
        try:
            folder_ns = known.ledger.folder.stat().st_mtime_ns
        except OSError:
            return "gone"
        if folder_ns != known.folder_ns:
            known.parts = [Ledger(folder) for folder in known.ledger.part_folders()]
            known.folder_ns = folder_ns
        journals = [known.ledger.journal_file, *(part.journal_file for part in known.parts)]
        changes = [_size_and_time(file) for file in (*journals, known.ledger.space_file)]
        known.changed_ns = max(changed_ns for _, changed_ns in changes[: len(journals)])
        return " ".join(map(str, (folder_ns, *(number for change in changes for number in change))))

    def _read(self, known: _Known) -> None:
        live = known.live or LiveRun(known.ledger.folder)
        if live.lock.locked():  # its page is being made: it is read with the next scan
            return
        # Before the reading: what changes meanwhile is read with the next scan.
        files, known.lost = self._files_of(known), _lost(known)
        row = _row_of(live, self._spaces)
        known.live = live if row.may_change else None
        self._set(known, row, files)
        self._must_keep = self._must_keep or not row.may_change

    def _set(self, known: _Known, row: RunRow, files: str) -> None:
        known.row, known.files, known.version = row, files, self._next_version()

    def _to_keep(self) -> Iterator[tuple[str, _KeptRow]]:
        """The rows to keep, without those of damaged runs, which a later version may be able to read."""
        for name, known in self._known.items():
            if known.files and not known.row.may_change and known.row.state != "damaged":
                yield name, _KeptRow(known.files, known.row)


def _row_of(live: LiveRun, spaces: Spaces) -> RunRow:
    """The row of a run, or one with the reason why it cannot be read, whatever it is: a list of a thousand
    runs must not fail because of one."""
    name = printable(live.ledger.folder.name)
    try:
        return live.row(spaces)
    except (LedgerError, SpaceError) as error:
        return damaged_row(name, str(error))
    except Exception as error:
        return damaged_row(name, f"{type(error).__name__}: {error}")


def _has_run(ledger: Ledger) -> bool:
    """Whether there is a run that this user can see."""
    try:
        return ledger.has_run
    except OSError:
        return False


def _size_and_time(file: Path) -> tuple[int, int]:
    try:
        stat = file.stat()
    except OSError:
        return 0, 0
    return stat.st_size, stat.st_mtime_ns


def _lost(known: _Known) -> str:
    """The processes that held the run or a part of it and are gone."""
    return " ".join(ledger.lost_holder for ledger in (known.ledger, *known.parts))


def _cache_file(results: Path) -> Path:
    """Where the rows of this folder's runs are kept."""
    name = hashlib.sha256(str(results.resolve()).encode(errors="surrogateescape")).hexdigest()[:16]
    return cache_folder() / "runs" / f"{name}.json"


def _read_rows(file: Path) -> dict[str, _KeptRow]:
    """The kept rows by the names of their runs; empty if there are none that this version understands."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if content["layout"] != _LAYOUT:
            return {}
        return {
            name: _KeptRow(files, RunRow.from_dict(row)) for name, (files, row) in content["rows"].items()
        }
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}


def _write_rows(file: Path, rows: Mapping[str, _KeptRow]) -> None:
    """Replace the kept rows; a disk that is full or not writable is ignored."""
    content = {
        "layout": _LAYOUT,
        "rows": {name: [kept.files, kept.row.to_dict()] for name, kept in rows.items()},
    }
    try:
        with replacing(file) as scratch:
            scratch.write_text(json.dumps(content), encoding="utf-8")
    except OSError:
        return
