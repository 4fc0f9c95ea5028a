"""The CSV files of a run. results/README.md explains every column; a test ties them."""

from __future__ import annotations

from search.tables.artefacts import Artefacts
from search.tables.configurations import (
    CONFIGURATION_COLUMNS,
    configuration_columns,
    configuration_rows,
)
from search.tables.duplicate_curves import IDENTICAL_COLUMNS, identical_rows
from search.tables.energy import DEVICE_COLUMNS, ENERGY_COLUMNS, device_rows, energy_rows
from search.tables.history import HISTORY_COLUMNS, history_columns, history_rows
from search.tables.pareto import PARETO_COLUMNS, pareto_columns, pareto_rows
from search.tables.promoted import PROMOTED_COLUMNS, examples_in, promoted_columns, promoted_rows
from search.tables.rank_correlation import TRUST_COLUMNS, trust_rows
from search.tables.trials import RESERVED, trial_columns, trial_rows
from search.tables.writer import Tables, live_tables

__all__ = [
    "CONFIGURATION_COLUMNS",
    "DEVICE_COLUMNS",
    "ENERGY_COLUMNS",
    "HISTORY_COLUMNS",
    "IDENTICAL_COLUMNS",
    "PARETO_COLUMNS",
    "PROMOTED_COLUMNS",
    "RESERVED",
    "TRUST_COLUMNS",
    "Artefacts",
    "Tables",
    "configuration_columns",
    "configuration_rows",
    "device_rows",
    "energy_rows",
    "examples_in",
    "history_columns",
    "history_rows",
    "identical_rows",
    "live_tables",
    "pareto_columns",
    "pareto_rows",
    "promoted_columns",
    "promoted_rows",
    "trial_columns",
    "trial_rows",
    "trust_rows",
]
