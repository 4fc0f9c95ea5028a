"""The rows of pareto.csv."""

from __future__ import annotations

from typing import Any

from search.ledger.history import History
from search.run.objective import pareto_front
from search.space import Space

PARETO_COLUMNS = (
    *("trial_id", "status", "rung", "epochs", "objective", "objective_j", "objective_uncert_j"),
    *("energy_scope", "energy_quality"),
)


def pareto_columns(space: Space, history: History) -> list[str]:
    """The columns of pareto.csv: the metric after the trial, hparams last."""
    hparams = [name for trial in history.trials.values() for name in trial.hparams]
    return list(dict.fromkeys(("trial_id", space.metric, *PARETO_COLUMNS, *hparams)))


def pareto_rows(space: Space, history: History) -> list[dict[str, Any]]:
    """One row per trial that nobody dominates, the best by metric first."""
    return [
        {
            **trial.hparams,
            "trial_id": trial.trial_id,
            space.metric: trial.value(space.metric),
            "status": trial.status,
            "rung": trial.rung,
            "epochs": trial.epochs,
            "objective": space.cost,
            "objective_j": cost.joules,
            "objective_uncert_j": cost.uncert_j,
            "energy_scope": cost.scope,
            "energy_quality": trial.sources.get("quality", ""),
        }
        for trial, cost in pareto_front(space, list(history.trials.values()))
    ]
