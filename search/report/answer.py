"""The result of a command as JSON, for scripts: what `--json` prints.

None means unknown, never 0: energy without a sensor, a score before the first rung, the score of guessing
where the trainable does not report it. Keys end in their unit where they have one (`seconds`, `kwh`,
`energy_j`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from search.energy.units import to_joules
from search.guessing import against_guessing
from search.ranking import Configuration
from search.report.forecast import kept_forecast
from search.run import Run


def search_answer(run: Run, reason: str) -> dict[str, Any]:
    """Why a search ended, its best trial, and what it cost.

    `seconds` and `kwh` are what counts against the limits: all sessions of a resumed run, including idle
    devices and background work. So `kwh` is more than the sum of `energy_j` over trials.
    """
    space, order = run.space, run.ranking.configurations()
    forecast = kept_forecast(run.ledger, space.limits)
    return {
        "folder": str(run.ledger.folder),
        "ended": reason,
        "metric": space.metric,
        "mode": space.mode,
        "best": _best(order[0]) if order else None,
        "guessing": _guessing(run, order) if order else None,
        "trials": dict(Counter(trial.status for trial in run.history.trials.values())),
        "epochs": sum(len(trial.rows) for trial in run.history.trials.values()),
        "seconds": run.spent.hours * 3600,
        "kwh": run.spent.kwh,
        **_worth(run),
        "forecast": forecast and forecast.to_dict(),
    }


def _worth(run: Run) -> dict[str, Any]:
    """Emissions and cost of the run's energy, each with its basis or the reason it is unknown."""
    tariff, joules = run.space.limits.tariff, run.spent.energy_j
    return {
        "co2e_g": tariff.co2e_g(joules),
        "co2e_basis": tariff.co2e_basis,
        "cost": tariff.cost(joules),
        "cost_basis": tariff.cost_basis,
    }


def _best(best: Configuration) -> dict[str, Any]:
    """The best configuration: named by its oldest repeat, valued by the mean of all."""
    return {
        "trial": best.first.trial_id,
        "value": best.mean,
        "std": best.spread,
        "num_repeats": len(best.scored),
        "rung": best.rung,
        "epochs": best.first.epochs,
        "energy_j": to_joules(best.energy_mj),
        "hparams": dict(best.first.hparams),
    }


def _guessing(run: Run, order: Sequence[Configuration]) -> dict[str, Any] | None:
    """Whether the best is better than guessing on validation; None if the score of guessing is unknown.

    `best_low` and `best_high` are widened for being the best of `num_compared` configurations; `is_better` is
    None where they are unknown.
    """
    found = against_guessing(run.space, order[0], num_compared=len(order))
    if found is None:
        return None
    return {
        "value": found.guessing,
        "num_examples": found.num_examples,
        "best_low": found.interval.low,
        "best_high": found.interval.high,
        "num_compared": found.num_compared,
        "is_better": found.is_better,
    }


def promotion_answer(
    folder: Path, reason: str, metric: str, rows: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Why a promotion ended, and the rows of promoted.csv, the best on validation first."""
    return {"folder": str(folder), "ended": reason, "metric": metric, "promoted": [dict(row) for row in rows]}
