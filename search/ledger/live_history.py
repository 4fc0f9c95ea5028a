"""Following a journal while it grows: each update reads only what was appended since the last whole line.

A reader that follows a search of hours would otherwise read all of it again for each line. The chain of
checksums continues where it stopped, so that a line is trusted here exactly as `Journal.events` trusts it.
"""

from __future__ import annotations

import os
from pathlib import Path

from search.ledger.events import EventChecker
from search.ledger.history import Event, History
from search.ledger.journal import Journal, StorageError
from search.ledger.journal_lines import ChainEnd, scan


class LiveHistory:
    """The content of a run's journal, as far as `update` has read it.

    A last line without a line end is not read yet: it is being written, or was cut short by a kill.

    Attributes:
        events: Oldest first.
        history: The history made from the events. Both are replaced if the journal is a different one.
    """

    def __init__(self, journal: Path) -> None:
        self._path = journal
        self._begin()

    def _begin(self) -> None:
        self.events: list[Event] = []
        self.history = History()
        self._check = EventChecker().check
        self._chain = ChainEnd()
        self._size, self._inode = 0, -1

    def update(self) -> bool:
        """Read what was appended; return whether anything is new.

        Raises:
            DamagedJournal: A line cannot be trusted, and no kill left it so.
            StorageError: The journal cannot be read.
        """
        try:
            with self._path.open("rb") as file:
                stat = os.fstat(file.fileno())
                if stat.st_size < self._size or stat.st_ino != self._inode:
                    self._begin()
                    self._inode = stat.st_ino
                file.seek(self._size)
                content = file.read()
        except OSError as error:
            raise StorageError(f"{self._path} cannot be read: {error.strerror or error}") from error
        found = scan(content[: content.rfind(b"\n") + 1], self._check, self._chain)
        if found.problem and not found.is_torn:
            return self._read_anew(was_whole=self._size > 0)
        for event in found.events:
            self.events.append(event)
            self.history.apply(event)
        self._chain, self._size = found.chain, self._size + found.size
        return bool(found.events)

    def _read_anew(self, *, was_whole: bool) -> bool:
        """Read the journal from its beginning, as it may have been cut and continued since it was read.

        Raises:
            DamagedJournal: It was read from its beginning already; the message says what is wrong.
        """
        self._begin()
        if was_whole:
            return self.update()
        Journal(self._path, make_check=lambda: EventChecker().check).events()
        return False
