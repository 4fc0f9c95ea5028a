"""That one process at a time has a run."""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import re
from pathlib import Path
from typing import BinaryIO

from search.ledger.journal import LedgerError, unwritten

_HOLDER = re.compile(r"process (?P<pid>\d+) on (?P<node>.*)")


class Lock:
    """A file that is locked while a run is held, and names its latest holder."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._held: BinaryIO | None = None

    def take(self) -> None:
        """Keep the run to this process until it ends, however it ends.

        Raises:
            LedgerError: Another process has it, or the file cannot be written.
        """
        try:
            file = self._path.open("a+b")
        except OSError as error:
            raise LedgerError(unwritten(self._path, error)) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            with file:
                file.seek(0)
                holder = file.read().decode().strip() or "another process"
            raise LedgerError(f"{self._path.parent} is in use by {holder}; wait for it or end it") from error
        self._held = file
        with contextlib.suppress(OSError):  # a full disk: the lock holds, only its text is missing
            os.truncate(file.name, 0)
            os.write(file.fileno(), f"process {os.getpid()} on {platform.node()}".encode())

    def release(self) -> None:
        """Let go of the run, if this has it."""
        if self._held:
            self._held.close()

    @property
    def lost_holder(self) -> str:
        """The process of this machine that had the run and is gone; empty where none is known to be.

        Only the file's text is read: to try the lock would be in the way of who takes it.
        """
        try:
            holder = _HOLDER.fullmatch(self._path.read_text(encoding="utf-8"))
        except OSError:
            return ""
        if not holder or holder["node"] != platform.node() or Path(f"/proc/{holder['pid']}").exists():
            return ""
        return f"process {holder['pid']}"
