"""The errors that are the user's to mend: a command prints them as they are and ends."""

from __future__ import annotations

from search.cluster.session import SessionError
from search.ledger import LedgerError
from search.space import SpaceError
from trainables.contract import DataError
from trainables.load import UnknownTrainable

MISTAKES = (SpaceError, LedgerError, SessionError, DataError, UnknownTrainable)
