"""What could not be written beside the journal, said as it happens."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console as RichConsole
from rich.text import Text

from search.history import Event
from search.journal import JournalError, StorageError

_FILES = {"checkpoint", "final"}  # in trials/<trial>/, under these names in the notes of an epoch


class Unwritten:
    """Follows a run and warns of files that the disk does not take.

    A lost journal ends the run. Tables are made again from it and a lost checkpoint costs repeated
    training at most, so they end nothing, but are never passed over in silence.

    Attributes:
        reason: Why the tables on disk are not the latest; empty while they are.
    """

    def __init__(self, output: RichConsole) -> None:
        self._output = output
        self.reason = ""

    def on_event(self, event: Event) -> None:
        """Warn of a checkpoint that an epoch could not leave, or did not find whole."""
        notes = event["row"].get("notes", {}) if event["event"] == "epoch" else {}
        for name in sorted(_FILES & set(notes)):
            self._warn(f"{event['trial']}, epoch {event['row']['epoch']}: {notes[name]}; the trial goes on")

    def guarding(self, subscriber: Callable[[Event], None]) -> Callable[[Event], None]:
        """The subscriber, with its errors of the disk as warnings, each said once in a row."""

        def guarded(event: Event) -> None:
            try:
                subscriber(event)
            except JournalError:
                raise
            except (StorageError, OSError) as error:
                self._keep(str(error))

        return guarded

    def _keep(self, reason: str) -> None:
        if reason and reason != self.reason:
            self._warn(f"{reason}; the run goes on, its journal has everything")
        self.reason = reason

    def _warn(self, text: str) -> None:
        self._output.print(Text(f"warning: {text}", style="bold red"), soft_wrap=True)
