"""The rows of configurations.csv: repeats of a point as one."""

from __future__ import annotations

from typing import Any

from search.ledger.history import History
from search.ranking import Configuration, configurations
from search.space import Space

CONFIGURATION_COLUMNS = (
    *("rank", "trial_id", "proposed_by", "value_std", "value_min", "value_max", "num_repeats", "num_failed"),
    *("num_open", "rung", "num_higher", "seconds", "energy_j", "trials"),
)


def configuration_columns(space: Space, history: History) -> list[str]:
    """The columns of configurations.csv: the metric's mean after the trial, the trials' names last."""
    hparams = [name for trial in history.trials.values() for name in trial.hparams]
    first, rest = CONFIGURATION_COLUMNS[:3], CONFIGURATION_COLUMNS[3:-1]
    return list(dict.fromkeys((*first, space.metric, *rest, *hparams, CONFIGURATION_COLUMNS[-1])))


def configuration_rows(space: Space, history: History) -> list[dict[str, Any]]:
    """One row per configuration with a score, best first."""
    found = configurations(history.trials.values(), space.metric, space.mode, repeats=space.repeats)
    return [{"rank": rank, **_row(space, each)} for rank, each in enumerate(found, start=1)]


def _row(space: Space, configuration: Configuration) -> dict[str, Any]:
    trials = configuration.trials
    joules = [mj / 1000 for trial in trials if (mj := trial.energy.total_mj) is not None]
    return {
        **configuration.first.hparams,
        "trial_id": configuration.first.trial_id,
        "proposed_by": configuration.first.proposed_by,
        space.metric: configuration.mean,
        "value_std": configuration.spread,
        "value_min": min(configuration.values),
        "value_max": max(configuration.values),
        "num_repeats": len(configuration.scored),
        "num_failed": configuration.num_failed,
        "num_open": configuration.num_open,
        "rung": configuration.rung,
        "num_higher": configuration.num_higher,
        "seconds": round(sum(trial.seconds for trial in trials), 3),
        "energy_j": sum(joules) if len(joules) == len(trials) else None,
        "trials": " ".join(trial.trial_id for trial in trials),
    }
