"""The append-only record of a run: the only truth. Every path under results/ is made here."""

from __future__ import annotations

import csv
import fcntl
import io
import json
import os
import platform
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from trainables.atomic_write import replacing

SCHEMA_VERSION = 1


class LedgerError(RuntimeError):
    """A run's folder cannot be used; the message says why and what to do."""


class Ledger:
    """One run's folder.

    The journal takes one JSON object a line, flushed and fsynced (0.1 ms on a local disk), so
    that a kill at any moment loses at most the line being written. Everything else in the
    folder can be made again from it; those files are replaced atomically.

    Args:
        folder: `results/<run>`.
        clock: Seconds since the epoch.
    """

    def __init__(self, folder: Path, *, clock: Callable[[], float] = time.time) -> None:
        self.folder = folder.absolute()
        self._clock = clock

    @classmethod
    def create(cls, folder: Path, *, clock: Callable[[], float] = time.time) -> Ledger:
        """A ledger in a new folder.

        Raises:
            LedgerError: The folder already holds a run, or cannot be made.
        """
        cls.check_free(folder)
        ledger = cls(folder, clock=clock)
        try:
            (ledger.folder / "trials").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LedgerError(
                f"{folder} cannot be made ({error.strerror}); give another --results"
            ) from error
        ledger.append({"event": "journal_started", "schema": SCHEMA_VERSION})
        return ledger

    @classmethod
    def check_free(cls, folder: Path) -> None:
        """See that `folder` can take a new run.

        Raises:
            LedgerError: It already holds one.
        """
        if cls(folder).journal.exists():
            raise LedgerError(f"{folder} already holds a run; give another --name")

    @classmethod
    def open(cls, folder: Path) -> Ledger:
        """The ledger of an earlier run.

        Raises:
            LedgerError: There is no run in the folder.
        """
        ledger = cls(folder)
        if not ledger.journal.is_file():
            raise LedgerError(f"{folder} holds no run (no {ledger.journal.name} in it)")
        return ledger

    @property
    def has_run(self) -> bool:
        return self.journal.is_file()

    def lock(self) -> None:
        """Keep the run to this process until it ends, however it ends.

        Raises:
            LedgerError: Another process has it.
        """
        self._lock = (self.folder / ".lock").open("a+", encoding="utf-8")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.seek(0)
            holder = self._lock.read().strip() or "another process"
            raise LedgerError(f"{self.folder} is in use by {holder}; wait for it or end it") from error
        self._lock.truncate(0)
        self._lock.write(f"process {os.getpid()} on {platform.node()}")
        self._lock.flush()

    def mend(self) -> str | None:
        """Make the journal fit to append to after a kill, and say what was dropped, if anything.

        A last line that is whole but for its line end gets it; one that was cut short goes.
        """
        content = self.journal.read_bytes()
        start = content.rfind(b"\n") + 1
        torn = content[start:]
        if not torn:
            return None
        with self.journal.open("r+b") as journal:
            if _is_json(torn):
                journal.seek(0, os.SEEK_END)
                journal.write(b"\n")
                return None
            journal.truncate(start)
        return f"the journal's last line was cut short by a kill; its {len(torn)} bytes are dropped"

    @property
    def journal(self) -> Path:
        return self.folder / "journal.jsonl"

    @property
    def space_file(self) -> Path:
        return self.folder / "space.yaml"

    @property
    def promotion_folder(self) -> Path:
        """The run of the promoted trials."""
        return self.folder / "promotion"

    def trial_folder(self, trial_id: str) -> Path:
        return self.folder / "trials" / trial_id

    def append(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Write one event with its time and give it as a later reader will see it."""
        line = json.dumps({"time": round(self._clock(), 3), **event}, allow_nan=False)
        with self.journal.open("a", encoding="utf-8") as journal:
            journal.write(line + "\n")
            journal.flush()
            os.fsync(journal.fileno())
        stamped: dict[str, Any] = json.loads(line)
        return stamped

    def events(self) -> list[dict[str, Any]]:
        """Every event, oldest first. A last line that a kill cut short is left out.

        Raises:
            LedgerError: A line before the last is not JSON: the file was damaged, not cut short.
        """
        lines = self.journal.read_text(encoding="utf-8").splitlines()
        events = []
        for number, line in enumerate(lines, start=1):
            try:
                events.append(json.loads(line))
            except json.JSONDecodeError as error:
                if number == len(lines):
                    break
                raise LedgerError(f"{self.journal}: line {number} is damaged: {error}") from error
        return events

    def write_csv(self, name: str, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
        """Replace a table; a reader sees the old one or the new one. None is an empty cell."""
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        self.write_text(name, text.getvalue())

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Replace a JSON file atomically."""
        self.write_text(name, json.dumps(content, indent=2) + "\n")

    def write_text(self, name: str, text: str) -> None:
        """Replace a file of the run's folder atomically."""
        with replacing(self.folder / name) as scratch:
            scratch.write_text(text, encoding="utf-8")


def fresh_folder(folder: Path) -> Path:
    """The first of `folder`, `folder-2`, `folder-3` and so on that holds no run."""
    number = 1
    fresh = folder
    while Ledger(fresh).has_run:
        number += 1
        fresh = folder.with_name(f"{folder.name}-{number}")
    return fresh


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True
