"""A run that is read repeatedly while it continues: each time only what was appended to its journals."""

from __future__ import annotations

import threading
from pathlib import Path

from search.ledger import Ledger
from search.ledger.history import History
from search.ledger.live_history import LiveHistory
from search.report.page import page_text
from search.report.page.run_data import RunData, run_data
from search.space import Space
from search.space.record import RECORD
from search.ui.run_row import RunRow, run_row

_MOST_SPACES = 200


class Spaces:
    """The spaces of runs, by the content of the files that they are read from.

    Reading one takes 20 ms, and a folder of many runs has few different ones.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[bytes, bytes], Space] = {}

    def read(self, ledger: Ledger) -> Space:
        """The space of the run; nothing that the space names is imported.

        Raises:
            SpaceError: The run's copy of its space cannot be used.
        """
        key = _content(ledger.space_file), _content(ledger.folder / RECORD)
        if key not in self._known:
            if len(self._known) >= _MOST_SPACES:
                self._known.clear()
            self._known[key] = ledger.read_space()
        return self._known[key]


class LiveRun:
    """A run, with its promotion and baselines.

    Attributes:
        lock: Held while the run is read and while the result is used, which the next reading changes.
    """

    def __init__(self, folder: Path) -> None:
        self.ledger, self.lock = Ledger(folder), threading.Lock()
        self._spaces = Spaces()  # of this run alone: what a space names is relative to its folder
        self._own = LiveHistory(self.ledger.journal_file)
        self._parts: dict[Path, LiveHistory] = {}

    def row(self, spaces: Spaces) -> RunRow:
        """The current row of the run in the list.

        Args:
            spaces: The spaces of all runs.

        Raises:
            LedgerError: A journal cannot be trusted or read.
            SpaceError: The run's copy of its space cannot be used.
        """
        with self.lock:
            return run_row(self._read(spaces))

    def page(self) -> str:
        """The page of the run as it is now, as HTML.

        Raises:
            LedgerError, SpaceError: As for `row`.
        """
        with self.lock:
            return page_text(self._read(self._spaces))

    def _read(self, spaces: Spaces) -> RunData:
        self._own.update()
        space = spaces.read(self.ledger)
        return run_data(self.ledger, space, self._own.events, self._own.history, self._read_part)

    def _read_part(self, ledger: Ledger) -> History:
        part = self._parts.setdefault(ledger.journal_file, LiveHistory(ledger.journal_file))
        part.update()
        return part.history


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
