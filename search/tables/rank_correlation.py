"""The rows of rung_correlation.csv."""

from __future__ import annotations

from typing import Any

from search.ledger.history import History
from search.rank_correlation import Correlation, rung_correlations
from search.space import Space

TRUST_COLUMNS = (
    *(
        "rung",
        "next_rung",
        "num_trials",
        "num_control_trials",
        "overall_value",
        "overall_low",
        "overall_high",
    ),
    *("better_half_value", "better_half_low", "better_half_high", "warning"),
)


def trust_rows(space: Space, history: History) -> list[dict[str, Any]]:
    """One row per rung but the top one: how its ranking agrees with the next one's."""
    trials = list(history.trials.values())
    return [
        {
            "rung": trust.rung,
            "next_rung": trust.rung + 1,
            "num_trials": trust.num_trials,
            "num_control_trials": trust.num_control_trials,
            **_correlation("overall", trust.overall),
            **_correlation("better_half", trust.better_half),
            "warning": trust.warning or "",
        }
        for trust in rung_correlations(trials, space.metric, space.mode, num_rungs=len(space.ladder.rungs))
    ]


def _correlation(prefix: str, correlation: Correlation | None) -> dict[str, float | None]:
    ends = ("value", "low", "high")
    return {f"{prefix}_{end}": getattr(correlation, end, None) for end in ends}
