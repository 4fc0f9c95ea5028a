"""The append-only record of a run: the only truth. Every path under results/ is made here."""

from __future__ import annotations

import contextlib
import csv
import difflib
import io
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from search.ledger.events import EventChecker
from search.ledger.journal import Journal, StorageError, unwritten
from search.ledger.journal import LedgerError as LedgerError
from search.ledger.journal_lines import Scan
from search.ledger.lock import Lock
from search.printable import csv_cell
from trainables.core.files import SCRATCH, is_safe_name, replacing

_MOST_LISTED = 5  # runs in a message

_LEAST_KIB = 64  # journal, tables and settings of a small run, its checkpoints not among them


class Ledger:
    """One run's folder.

    The journal is the only truth. Everything else in the folder can be made again from it; those
    files are replaced atomically.

    Args:
        folder: `results/<run>`.
        clock: Seconds since the epoch.
    """

    def __init__(self, folder: Path, *, clock: Callable[[], float] = time.time) -> None:
        self.folder = folder.absolute()
        self._journal = Journal(
            self.folder / "journal.jsonl", make_check=lambda: EventChecker().check, clock=clock
        )
        self._lock = Lock(self.folder / ".lock")

    @classmethod
    def create(cls, folder: Path, *, clock: Callable[[], float] = time.time) -> Ledger:
        """A ledger in a new folder.

        Raises:
            LedgerError: The folder already holds a run, or cannot be made.
        """
        ledger = cls(folder, clock=clock)
        ledger.begin()
        return ledger

    def begin(self) -> None:
        """Make the folder and the journal of a new run.

        Raises:
            LedgerError: The folder already holds a run, or cannot be made.
        """
        self.check_free()
        try:
            (self.folder / "trials").mkdir(parents=True, exist_ok=True)
            self._journal.begin()
        except OSError as error:
            raise LedgerError(
                f"{self.folder} cannot be made ({error.strerror}); give another --results"
            ) from error

    def check_free(self) -> None:
        """See that the folder can take a new run.

        Raises:
            LedgerError: It already holds one, or trials whose journal is gone: a new trial would go
                on from the checkpoint of another one with its number.
        """
        if self.has_run:
            raise LedgerError(f"{self.folder} already holds a run; give another --name")
        if self.has_files:
            raise LedgerError(
                f"{self.folder} holds trials but no {self.journal.name}, so that nothing is known of them; "
                "put the journal back, remove the folder, or give another --name"
            )

    @classmethod
    def open(cls, folder: Path) -> Ledger:
        """The ledger of an earlier run.

        Raises:
            LedgerError: There is no run in the folder.
        """
        ledger = cls(folder)
        if not ledger.journal.is_file():
            raise LedgerError(f"{folder} holds no run (no {ledger.journal.name} in it){suggest_run(folder)}")
        return ledger

    @property
    def has_run(self) -> bool:
        return self.journal.is_file()

    @property
    def has_files(self) -> bool:
        """Whether trials left something here, with or without a journal."""
        return any((self.folder / "trials").glob("*"))

    def check_writable(self) -> None:
        """See that the folder, or what it will be made in, takes files.

        Raises:
            LedgerError: It does not.
        """
        where = next(path for path in (self.folder, *self.folder.parents) if path.exists())
        probe = where / f".{uuid4().hex}.probe"
        try:
            with probe.open("xb") as file:
                file.write(bytes(_LEAST_KIB * 1024))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise LedgerError(
                f"{unwritten(where, error)}; a run needs at least {_LEAST_KIB} KiB, and its checkpoints "
                "come on top; make room, or give another --results"
            ) from error
        finally:
            with contextlib.suppress(OSError):
                probe.unlink(missing_ok=True)

    def lock(self) -> None:
        """Keep the run to this process until it ends, however it ends.

        Raises:
            LedgerError: Another process has it, or the folder cannot be written.
        """
        self._lock.take()

    def unlock(self) -> None:
        """Let go of the run, if this ledger has it."""
        self._lock.release()

    @property
    def lost_holder(self) -> str:
        """The process of this machine that had the run and is gone; empty where none is known to be."""
        return self._lock.lost_holder

    def delete(self, path: Path) -> None:
        """Delete a file of the run's folder, if it is there.

        Raises:
            StorageError: The disk does not take it.
        """
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"{path} cannot be deleted: {error.strerror or error}") from error

    def tidy(self) -> None:
        """Delete what killed writers left, wherever in the run. For whoever holds the lock.

        Promotions and baselines are runs of their own, and may be at work.

        Raises:
            StorageError: The disk does not take it.
        """
        others = [ledger.folder for ledger in self.parts()]
        for path in self.folder.rglob(".*"):
            is_left = SCRATCH.match(path.name) and path.is_file()
            if is_left and not any(map(path.is_relative_to, others)):
                self.delete(path)

    def mend(self) -> str | None:
        """Make the journal fit to append to after a kill, and say what was dropped, if anything.

        Raises:
            LedgerError: It is damaged in a way that no kill leaves, or does not know all trials that have
                a folder: a new trial would go on from the checkpoint of another one with its number.
        """
        self.events()
        if unknown := self.unknown_trials():
            raise LedgerError(
                f"{self.journal} does not know {_listed(unknown)}, of which {self.folder / 'trials'} has "
                "folders: it was emptied or cut. Put back the whole journal; or let `python "
                "scripts/check.py RUN --repair` set those folders aside; or give another --name"
            )
        return self._journal.mend()

    def scan(self) -> Scan:
        """What the journal holds, up to the first line that cannot be believed."""
        return self._journal.scan()

    def repair(self) -> tuple[Path, Scan]:
        """Cut a damaged journal behind its last whole line; gives its copy, and what is whole."""
        return self._journal.repair()

    def unknown_trials(self) -> list[str]:
        """Trials that have a folder and are in no line of the journal."""
        found = self._journal.scan()
        known = {event["trial"] for event in found.events if event["event"] == "trial_asked"}
        return sorted({path.name for path in (self.folder / "trials").glob("*")} - known)

    @property
    def journal(self) -> Path:
        return self._journal.path

    @property
    def space_file(self) -> Path:
        return self.folder / "space.yaml"

    @property
    def promotion_folder(self) -> Path:
        """The run of the promoted trials."""
        return self.folder / "promotion"

    @property
    def baseline_folder(self) -> Path:
        """The run of the baseline that promoted trials are compared with."""
        return self.folder / "baseline"

    def parts(self) -> list[Ledger]:
        """The runs of its promotions and their baselines, repeated ones too."""
        first = (self.promotion_folder, self.baseline_folder)
        folders = [path for each in first for path in sorted(self.folder.glob(f"{each.name}*"))]
        return [ledger for folder in folders if (ledger := Ledger(folder)).has_run]

    def trial_folder(self, trial_id: str) -> Path:
        return self.folder / "trials" / trial_id

    def append(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Write one event with its time and give it as a later reader will see it.

        Raises:
            JournalError: It cannot be written; the run must end.
        """
        return self._journal.append(event)

    def events(self) -> list[dict[str, Any]]:
        """Every event, oldest first. A last line that a kill cut short is left out.

        Raises:
            LedgerError: A line before the last is no event.
        """
        return self._journal.events()

    def write_csv(self, name: str, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
        """Replace a table; a reader sees the old one or the new one. None is an empty cell."""
        self.write_text(name, csv_text(columns, rows))

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Replace a JSON file atomically."""
        self.write_text(name, json.dumps(content, indent=2) + "\n")

    def environment(self) -> dict[str, Any]:
        """What environment.json says of the last session; empty where it is not there or is torn."""
        try:
            content = json.loads((self.folder / "environment.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def write_text(self, name: str, text: str) -> None:
        """Replace a file of the run's folder atomically.

        Raises:
            StorageError: It cannot be written; the old one is still there.
        """
        with self.writing(name), replacing(self.folder / name) as scratch:
            scratch.write_text(text, encoding="utf-8")

    def keep_copy(self, path: Path, folder: str, name: str) -> None:
        """Copy a file of the user's into a subfolder, unless a copy of that name is there.

        Raises:
            StorageError: It cannot be read or written.
        """
        target = self.folder / folder / name
        if target.exists():
            return
        with self.writing(f"{folder}/{name}"):
            target.parent.mkdir(exist_ok=True)
            with replacing(target) as scratch:
                scratch.write_bytes(path.read_bytes())

    @contextlib.contextmanager
    def writing(self, name: str) -> Iterator[None]:
        """Errors of the disk in the words of the run: which file, why, what is needed."""
        try:
            yield
        except OSError as error:
            raise StorageError(unwritten(self.folder / name, error)) from error


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """A table as a file holds it. None is an empty cell; no text is a formula."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(map(csv_cell, columns))
    for row in rows:
        if unknown := row.keys() - set(columns):
            raise ValueError(f"a table has no columns {sorted(unknown)}")
        writer.writerow([csv_cell(row.get(column)) for column in columns])
    return text.getvalue()


def named_folder(results: Path, name: str) -> Path:
    """The folder of the run of this name.

    Raises:
        LedgerError: It would not lie in `results`.
    """
    if not is_safe_name(name):
        raise LedgerError(
            f"a run cannot be named {name!r}: its name is that of a folder in {results} (up to 120 "
            "characters, no slash, no control characters, and no dot, hyphen or space first)"
        )
    return results / name


def fresh_folder(folder: Path) -> Path:
    """The first of `folder`, `folder-2`, `folder-3` and so on that holds no run and no trials."""
    number = 1
    fresh = folder
    while Ledger(fresh).has_run or Ledger(fresh).has_files:
        number += 1
        fresh = folder.with_name(f"{folder.name}-{number}")
    return fresh


def _listed(names: Sequence[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def suggest_run(folder: Path) -> str:
    """The end of a sentence that names the run nearest to `folder`, or the newest there are.

    Empty where there is no run in the folder or beside it.
    """
    if inside := _runs_in(folder):
        return _runs_text(inside, "in it are the runs ")
    beside = _runs_in(folder.parent)
    near = difflib.get_close_matches(folder.name, [run.name for run in beside], n=1)
    if near:
        return f"; did you mean {folder.parent / near[0]}?"
    return _runs_text(beside or _runs_in(folder.parent / "results"), "there are ")


def _runs_in(folder: Path) -> list[Path]:
    """The runs in `folder`, the one that was written to last first."""
    journals = [path for path in folder.glob("*/journal.jsonl") if path.is_file()]
    return [path.parent for path in sorted(journals, key=lambda path: -path.stat().st_mtime)]


def _runs_text(runs: Sequence[Path], words: str) -> str:
    if not runs:
        return ""
    if len(runs) == 1:
        return f"; did you mean {runs[0]}?"
    more = f" and {len(runs) - _MOST_LISTED} older ones" if len(runs) > _MOST_LISTED else ""
    return f"; {words}{', '.join(map(str, runs[:_MOST_LISTED]))}{more}"
