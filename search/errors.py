"""Errors that the user can fix: a command prints them and exits, Python code gets one kind of ValueError."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from search.backends.errors import RAY_LOST_STATUS, RayLost, SessionError
from search.energy.governor import GovernorError
from search.export import ExportError
from search.ledger.journal import LedgerError, StorageError
from search.preflight import PreflightError
from search.space import SpaceError
from trainables.core.contract import DataError
from trainables.core.load import UnknownTrainable

USER_ERRORS = (
    SpaceError,
    PreflightError,
    LedgerError,
    SessionError,
    GovernorError,
    DataError,
    ExportError,
    UnknownTrainable,
)


class SearchInterrupted(KeyboardInterrupt):
    """A second Ctrl-C ended the search at once; how to resume the run has been printed."""


class UserError(ValueError):
    """The request cannot be carried out; the message says what to do instead.

    Attributes:
        status: Exit status of a command that ends with this error.
    """

    def __init__(self, message: str, *, status: int = 2) -> None:
        super().__init__(message)
        self.status = status


@contextmanager
def user_errors_as_value_error() -> Iterator[None]:
    """Within the block, turn errors that the user can fix into `UserError`, with the original as its cause.

    Used as a decorator, it keeps the function's types.
    """
    try:
        yield
    except USER_ERRORS as error:
        raise UserError(str(error), status=exit_status(error)) from error


def exit_status(error: Exception) -> int:
    """Return 2 for unusable input; for a run that can be resumed, 3 if the disk failed and 4 if Ray did."""
    if isinstance(error, RayLost):
        return RAY_LOST_STATUS
    return 3 if isinstance(error, StorageError) else 2
