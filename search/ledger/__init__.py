"""The record of a run: its folder, the journal in it, and the history read back from the journal."""

from __future__ import annotations

from search.ledger.journal import LedgerError
from search.ledger.ledger import Ledger, csv_text
from search.ledger.run_folder import RunFolder, fresh_folder, named_folder

__all__ = ["Ledger", "LedgerError", "RunFolder", "csv_text", "fresh_folder", "named_folder"]
