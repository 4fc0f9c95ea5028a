"""The errors that are the user's to mend: a command prints them as they are and ends."""

from __future__ import annotations

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


def exit_status(mistake: Exception) -> int:
    """2 for unusable input; for a run that can be gone on with, 3 if the disk failed it and 4 if Ray did."""
    if isinstance(mistake, RayLost):
        return RAY_LOST_STATUS
    return 3 if isinstance(mistake, StorageError) else 2
