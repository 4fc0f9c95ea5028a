"""The CSV files of a run. Each column is written once, in its table's list (`columns.Column`).

Tables are views of the journal: they can be deleted and written again, and the run decides nothing by them.
All follow the same rules. Unknown is an empty cell, never 0. Units are in names (`_j`, `_s`, `_w`) or in
results/README.md. Each hyperparameter and each metric has a column of its own name.
"""

from __future__ import annotations

from search.tables.analysis import (
    configuration_columns,
    configuration_rows,
)
from search.tables.energy import device_rows, energy_rows
from search.tables.history import history_columns, history_rows
from search.tables.promoted import examples_in, promoted_columns, promoted_rows
from search.tables.trials import RESERVED, trial_columns, trial_rows
from search.tables.writer import FinalTables, Tables, TrialHistories, live_tables

__all__ = [
    "RESERVED",
    "FinalTables",
    "Tables",
    "TrialHistories",
    "configuration_columns",
    "configuration_rows",
    "device_rows",
    "energy_rows",
    "examples_in",
    "history_columns",
    "history_rows",
    "live_tables",
    "promoted_columns",
    "promoted_rows",
    "trial_columns",
    "trial_rows",
]
