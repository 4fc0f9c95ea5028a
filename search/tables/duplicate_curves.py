"""The rows of duplicate_curves.csv."""

from __future__ import annotations

import json
from typing import Any

from search.duplicate_curves import trials_with_one_curve
from search.ledger.history import History
from search.space import Space

IDENTICAL_COLUMNS = ("trials", "hparams", "num_epochs", "warning")


def identical_rows(space: Space, history: History) -> list[dict[str, Any]]:
    """One row per group of trials that trained identically although their hparams differ."""
    return [
        {
            "trials": " ".join(group.trials),
            "hparams": json.dumps(group.hparams),
            "num_epochs": group.num_epochs,
            "warning": group.warning,
        }
        for group in trials_with_one_curve(history.trials.values(), space.metric)
    ]
