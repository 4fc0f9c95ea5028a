"""The rows of trials.csv."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from search.ledger.history import History, TrialRecord
from search.ranking import configurations
from search.space import Space
from search.tables.energy_columns import ENERGY_OF_TRIAL, energy_columns
from search.trial import EpochRow
from trainables.core.contract import Budget

_IDENTITY = ("rank", "trial_id", "status", "cause", "proposed_by", "parent_trial")
_BUDGET = ("rung", "epochs", "horizon", "subset", "resolution")
_COURSE = (
    *("best_value", "best_epoch", "seconds", "start_s", "overhead_s"),
    *("num_examples", "attempts", "seed"),
)
_RECORD = ("started_at", "ended_at", "message", "notes")

RESERVED = frozenset((*_IDENTITY, *_BUDGET, *_COURSE, *ENERGY_OF_TRIAL, *_RECORD))


def trial_columns(space: Space, history: History) -> list[str]:
    """The columns of trials.csv: the metric after the trial, then budget, hparams, cost, and the
    other metrics of the last epoch."""
    hparams = {name for trial in history.trials.values() for name in trial.hparams}
    ordered = [name for trial in history.trials.values() for name in trial.hparams]
    others = [name for trial in history.trials.values() for name in _last_metrics(trial)]
    metrics = [name for name in others if name not in RESERVED | hparams | {space.metric}]
    cost = (*_COURSE, *ENERGY_OF_TRIAL, *_RECORD)
    return list(dict.fromkeys((*_IDENTITY, space.metric, *_BUDGET, *ordered, *cost, *metrics)))


def trial_rows(space: Space, history: History) -> list[dict[str, Any]]:
    """One row per trial: the ranked ones in their order, then the others. Repeats share a rank."""
    found = configurations(history.trials.values(), space.metric, space.mode, repeats=space.repeats)
    order = [trial for each in found for trial in each.scored]
    ranks = {trial.trial_id: rank for rank, each in enumerate(found, start=1) for trial in each.scored}
    rest = [trial for trial in history.trials.values() if trial.trial_id not in ranks]
    return [_trial_row(space, trial, ranks.get(trial.trial_id)) for trial in [*order, *rest]]


def _trial_row(space: Space, trial: TrialRecord, rank: int | None) -> dict[str, Any]:
    budget = _last_budget(space, trial)
    best = trial.best(space.metric, space.mode)
    num_seen = num_examples(trial.rows)
    return {
        **_last_metrics(trial),
        **trial.hparams,
        "rank": rank,
        "trial_id": trial.trial_id,
        "status": trial.status,
        "cause": trial.cause,
        "proposed_by": trial.proposed_by,
        "parent_trial": trial.parent_trial,
        space.metric: trial.value(space.metric),
        "rung": trial.rung,
        "epochs": trial.epochs,
        "horizon": space.ladder.horizon,
        "subset": budget.subset if budget else None,
        "resolution": budget.resolution if budget else None,
        "best_epoch": best[0] if best else None,
        "best_value": best[1] if best else None,
        "seconds": round(trial.seconds, 3),
        "start_s": _rounded(trial.start_s),
        "overhead_s": _rounded(trial.overhead_s),
        "num_examples": num_seen,
        "attempts": trial.attempts,
        "seed": trial.seed,
        **energy_columns(space, trial, num_seen),
        "started_at": _clock_time(trial.asked_at),
        "ended_at": _clock_time(trial.ended_at),
        "message": trial.message,
        "notes": "; ".join(f"{name}: {text}" for name, text in trial.notes.items()),
    }


def _last_budget(space: Space, trial: TrialRecord) -> Budget | None:
    """At which the trial ended its highest rung: a lower rung's where it jumped."""
    ended = [row for row in trial.rows if row.ended_rung is not None and row.ended_rung == trial.rung]
    return space.ladder.rungs[ended[-1].rung] if ended else None


def _last_metrics(trial: TrialRecord) -> dict[str, float]:
    if not trial.rows:
        return {}
    last = trial.rows[-1]
    return {**last.metrics, **(last.test or {})}


def num_examples(rows: list[EpochRow]) -> int | None:
    """Examples trained on; None where an epoch did not say."""
    if any("num_examples" not in row.metrics for row in rows):
        return None
    return round(sum(row.metrics["num_examples"] for row in rows))


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def _clock_time(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
