"""What could not be written beside the journal, said as it happens."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console as RichConsole

from search.ledger.history import Event
from search.ledger.journal import JournalError, StorageError

_FILES = {"checkpoint", "best", "final", "test"}  # in trials/<trial>/, so named in the notes of an epoch


class StorageWarnings:
    """Follows a run and warns of files that the disk does not take.

    A lost journal ends the run. Tables are made again from it and a lost checkpoint costs repeated
    training at most, so they end nothing, but are never passed over in silence.
    """

    def __init__(self, output: RichConsole) -> None:
        self._output = output
        self._reasons: dict[Callable[[Event], None], str] = {}

    @property
    def reason(self) -> str:
        """Why the files of the ended run are not the latest; empty where they are."""
        return next(iter(self._reasons.values()), "")

    def on_event(self, event: Event) -> None:
        """Warn of a checkpoint that an epoch could not leave, or did not find whole."""
        notes = event["row"].get("notes", {}) if event["event"] == "epoch" else {}
        for name in sorted(_FILES & set(notes)):
            self._warn(f"{event['trial']}, epoch {event['row']['epoch']}: {notes[name]}; the trial goes on")

    def guarding(self, subscriber: Callable[[Event], None]) -> Callable[[Event], None]:
        """The subscriber, with its errors of the disk as a warning, the first of them."""

        def guarded(event: Event) -> None:
            try:
                subscriber(event)
            except JournalError:
                raise
            except (StorageError, OSError) as error:
                if subscriber not in self._reasons:
                    self._warn(f"{error}; the run goes on, its journal has everything")
                self._reasons[subscriber] = str(error)
            else:
                if event["event"] == "run_ended":  # at the end everything is written once more
                    self._reasons.pop(subscriber, None)

        return guarded

    def _warn(self, text: str) -> None:
        self._output.print(f"warning: {text}", style="red", soft_wrap=True)
