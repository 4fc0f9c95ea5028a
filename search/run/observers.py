"""Observers of a run: the console, tables, the forecast, the deletion of checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from search.ledger.history import Event
from search.ledger.journal import JournalError, StorageError


class Observer(Protocol):
    """Follows a run."""

    def on_event(self, event: Event) -> None:
        """Handle an event, which is already in the journal and in the run's history."""
        ...


class DiskGuard:
    """Passes each event to its observers, in the order they were added, and turns disk errors into warnings.

    A lost journal ends the run, as further decisions would be recorded nowhere. Tables can be rebuilt from
    it, and a lost checkpoint costs repeated training at most, so neither ends anything. Nor are they ignored:
    the first error of each observer is a warning, and `reason` makes the command end with an error.

    Args:
        warn: Prints a warning.
    """

    def __init__(self, warn: Callable[[str], None]) -> None:
        self._warn = warn
        self._observers: list[Observer] = []
        self._reasons: dict[Observer, str] = {}

    def add(self, observer: Observer) -> None:
        """Pass all further events to `observer` too."""
        self._observers.append(observer)

    @property
    def reason(self) -> str:
        """Why the files of the ended run are out of date; empty if they are not."""
        return next(iter(self._reasons.values()), "")

    def on_event(self, event: Event) -> None:
        """Pass the event to every observer.

        Raises:
            JournalError: An observer made a decision that the journal could not record.
        """
        for observer in self._observers:
            try:
                observer.on_event(event)
            except JournalError:
                raise
            except (StorageError, OSError) as error:
                if observer not in self._reasons:
                    self._warn(f"{error}; the run continues, its journal has everything")
                self._reasons[observer] = str(error)
            else:
                if event["event"] == "run_ended":  # at the end everything is written once more
                    self._reasons.pop(observer, None)
