"""Writing the record of a run: the journal, its only source of truth, and the files made from that."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

from search.command_lines import typed_command
from search.ledger.journal import LedgerError, StorageError, unwritten
from search.ledger.lock import hold, lost_holder
from search.ledger.run_folder import RunFolder
from search.printable import csv_cell
from trainables.core.files import SCRATCH, replacing

_LEAST_KIB = 64  # journal, tables and settings of a small run, without its checkpoints


class Ledger(RunFolder):
    """A run's folder, for writing.

    Everything but the journal and the checkpoints can be rebuilt from the journal; these files are replaced
    atomically, so that a kill leaves either the old one or the new one.

    Args:
        folder: `results/<run>`.
        clock: Seconds since the epoch.
    """

    def __init__(self, folder: Path, *, clock: Callable[[], float] = time.time) -> None:
        super().__init__(folder, clock=clock)
        self._held: BinaryIO | None = None

    @classmethod
    def create(cls, folder: Path, *, clock: Callable[[], float] = time.time) -> Ledger:
        """Create a ledger in a new folder.

        Raises:
            LedgerError: The folder already holds a run, or cannot be made.
        """
        ledger = cls(folder, clock=clock)
        ledger.begin()
        return ledger

    def begin(self) -> None:
        """Create the folder and the journal of a new run.

        Raises:
            LedgerError: The folder already holds a run, or cannot be made.
        """
        self.check_free()
        try:
            self.trials_folder.mkdir(parents=True, exist_ok=True)
            self.journal.begin()
        except OSError as error:
            raise LedgerError(
                f"{self.folder} cannot be created ({error.strerror}); give another --results"
            ) from error

    def check_free(self) -> None:
        """Check that the folder can take a new run.

        Raises:
            LedgerError: It already holds one, or trials whose journal is gone: a new trial would resume from
                the checkpoint of another one with its number.
        """
        if self.has_run:
            raise LedgerError(f"{self.folder} already holds a run; give another --name")
        if self.has_files:
            raise LedgerError(
                f"{self.folder} holds trials but no {self.journal_file.name}, so nothing is known about "
                "them; put the journal back, remove the folder, or give another --name"
            )

    def check_writable(self) -> None:
        """Check that files can be written to the folder, or to the one it will be created in.

        Raises:
            LedgerError: They cannot.
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
        """Lock the run for this process until it ends, however it ends.

        Raises:
            LedgerError: Another process holds it, or the folder cannot be written.
        """
        try:
            self._held = hold(self.lock_file, self.folder)
        except OSError as error:
            raise LedgerError(unwritten(self.lock_file, error)) from error

    def unlock(self) -> None:
        """Release the run, if this ledger holds it."""
        if self._held:
            self._held.close()

    @property
    def lost_holder(self) -> str:
        """The process of this machine that held the run and is gone; empty if none is known."""
        return lost_holder(self.lock_file)

    def delete(self, path: Path) -> None:
        """Delete a file of the run's folder, if it exists.

        Raises:
            StorageError: It cannot be deleted.
        """
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"{path} cannot be deleted: {error.strerror or error}") from error

    def tidy(self) -> None:
        """Delete what killed writers left anywhere in the run. Only for the holder of the lock.

        Promotions and baselines are skipped: they are runs of their own, and may be active.

        Raises:
            StorageError: A file cannot be deleted.
        """
        others = [ledger.folder for ledger in self.parts()]
        for path in self.folder.rglob(".*"):
            is_left = SCRATCH.match(path.name) and path.is_file()
            if is_left and not any(map(path.is_relative_to, others)):
                self.delete(path)

    def drop_torn_line(self) -> str | None:
        """Make the journal fit to append to after a kill; return a sentence on what was dropped, if anything.

        Raises:
            LedgerError: It is damaged in a way that no kill leaves, or does not know all trials that have
                a folder: a new trial would resume from the checkpoint of another one with its number.
        """
        self.events()
        if unknown := self.unknown_trials():
            raise LedgerError(
                f"{self.journal_file} does not know {_listed(unknown)}, which have folders in "
                f"{self.trials_folder}: it was emptied or cut. Put back the complete journal; or let "
                f"`{typed_command('check', 'RUN', '--repair')}` set those folders aside; or give another "
                "--name"
            )
        return self.journal.drop_torn_line()

    def unknown_trials(self) -> list[str]:
        """Trials that have a folder but are in no line of the journal."""
        found = self.journal.scan()
        known = {event["trial"] for event in found.events if event["event"] == "trial_asked"}
        return [trial for trial in self.trials_left() if trial not in known]

    def write_csv(self, name: str, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
        """Replace a table atomically. None becomes an empty cell."""
        self.write_text(name, csv_text(columns, rows))

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Replace a JSON file atomically."""
        self.write_text(name, json.dumps(content, indent=2) + "\n")

    def write_text(self, name: str, text: str) -> None:
        """Replace a file of the run's folder atomically.

        Raises:
            StorageError: It cannot be written; the old one is still there.
        """
        with self.writing(name), replacing(self.folder / name) as scratch:
            scratch.write_text(text, encoding="utf-8")

    def keep_copy(self, path: Path, folder: str, name: str) -> None:
        """Copy a user's file into a subfolder, unless it already has a copy of that name.

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
        """Turn disk errors into a `StorageError` that says which file, why, and what is needed."""
        try:
            yield
        except OSError as error:
            raise StorageError(unwritten(self.folder / name, error)) from error


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Format a table as CSV. None becomes an empty cell, and no text is read as a formula."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(map(csv_cell, columns))
    for row in rows:
        if unknown := row.keys() - set(columns):
            raise ValueError(f"a table has no columns {sorted(unknown)}")
        writer.writerow([csv_cell(row.get(column)) for column in columns])
    return text.getvalue()


def _listed(names: Sequence[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
