"""A run's end as JSON, for scripts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from search.report.foretold import kept_forecast
from search.run import Run


def search_answer(run: Run, reason: str) -> dict[str, Any]:
    """Why a search ended, its best trial and what it took. None is unknown."""
    space, best, told = run.space, run.best(), kept_forecast(run.ledger)
    return {
        "folder": str(run.ledger.folder),
        "ended": reason,
        "metric": space.metric,
        "mode": space.mode,
        "best": best
        and {
            "trial": best.trial_id,
            "value": best.value(space.metric),
            "rung": best.rung,
            "epochs": best.epochs,
            "energy_j": None if best.energy.total_mj is None else best.energy.total_mj / 1000,
            "hparams": dict(best.hparams),
        },
        "trials": dict(Counter(trial.status for trial in run.history.trials.values())),
        "epochs": sum(len(trial.rows) for trial in run.history.trials.values()),
        "seconds": run.spent.hours * 3600,
        "kwh": run.spent.kwh,
        "forecast": told and told.to_dict(),
    }


def promotion_answer(
    folder: Path, reason: str, metric: str, rows: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Why a promotion ended, and each configuration's row of promoted.csv."""
    return {"folder": str(folder), "ended": reason, "metric": metric, "promoted": [dict(row) for row in rows]}
