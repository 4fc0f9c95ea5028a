"""The rows of trials.csv and energy.csv. results/README.md explains every column; a test ties them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from search.energy import EnergyReading
from search.history import History, TrialRecord
from search.ledger import Ledger
from search.ranking import ranked
from search.space import Space
from search.trial import EpochRow
from search.trust import Correlation, rung_trust

_IDENTITY = ("rank", "trial_id", "status", "cause", "origin", "source")
_BUDGET = ("rung", "epochs", "horizon", "subset", "resolution")
_COURSE = ("best_value", "best_epoch", "seconds", "num_samples", "attempts", "seed")
_JOULES = ("energy_j", "energy_gpu_j", "energy_cpu_j", "energy_dram_j")
_SOURCES = ("gpu_source", "gpu_attribution", "cpu_source", "cpu_attribution")
_QUALITY = ("energy_scope", "energy_quality", "energy_reason", "j_per_sample")
_RECORD = ("started_at", "ended_at", "message", "notes")

TRUST_COLUMNS = (
    *("rung", "next_rung", "num_trials", "num_audited", "overall_value", "overall_low", "overall_high"),
    *("better_half_value", "better_half_low", "better_half_high", "warning"),
)
RESERVED = frozenset((*_IDENTITY, *_BUDGET, *_COURSE, *_JOULES, *_SOURCES, *_QUALITY, *_RECORD))
ENERGY_COLUMNS = (
    *("trial_id", "rung", "epochs", "seconds", "num_samples"),
    *(*_JOULES, "energy_scope", "energy_quality"),
)


def trial_columns(space: Space, history: History) -> list[str]:
    """The columns of trials.csv: the metric after the trial, then budget, hparams, cost, and the
    other metrics of the last epoch."""
    hparams = {name for trial in history.trials.values() for name in trial.hparams}
    ordered = [name for trial in history.trials.values() for name in trial.hparams]
    others = [name for trial in history.trials.values() for name in _last_metrics(trial)]
    metrics = [name for name in others if name not in RESERVED | hparams | {space.metric}]
    cost = (*_COURSE, *_JOULES, *_SOURCES, *_QUALITY, *_RECORD)
    return list(dict.fromkeys((*_IDENTITY, space.metric, *_BUDGET, *ordered, *cost, *metrics)))


def trial_rows(space: Space, history: History) -> list[dict[str, Any]]:
    """One row per trial: the ranked ones in their order, then the others."""
    order = ranked(history.trials.values(), space.metric, space.mode)
    ranks = {trial.trial_id: rank for rank, trial in enumerate(order, start=1)}
    rest = [trial for trial in history.trials.values() if trial.trial_id not in ranks]
    return [_trial_row(space, trial, ranks.get(trial.trial_id)) for trial in [*order, *rest]]


def energy_rows(history: History) -> list[dict[str, Any]]:
    """One row per trial and rung, repeated epochs included."""
    rows = []
    for trial in history.trials.values():
        for rung in sorted({row.rung for row in trial.rows}):
            epochs = [row for row in trial.rows if row.rung == rung]
            rows.append(
                {
                    "trial_id": trial.trial_id,
                    "rung": rung,
                    "epochs": len(epochs),
                    "seconds": round(sum(row.seconds for row in epochs), 3),
                    "num_samples": _num_samples(epochs),
                    **_joules(EnergyReading.sum(row.energy for row in epochs)),
                    "energy_scope": trial.sources.get("scope", ""),
                    "energy_quality": trial.sources.get("quality", ""),
                }
            )
    return rows


def trust_rows(space: Space, history: History) -> list[dict[str, Any]]:
    """One row per rung but the top one: how its ranking agrees with the next one's."""
    trials = list(history.trials.values())
    return [
        {
            "rung": trust.rung,
            "next_rung": trust.rung + 1,
            "num_trials": trust.num_trials,
            "num_audited": trust.num_audited,
            **_correlation("overall", trust.overall),
            **_correlation("better_half", trust.better_half),
            "warning": trust.warning or "",
        }
        for trust in rung_trust(trials, space.metric, space.mode, num_rungs=len(space.ladder.rungs))
    ]


def _correlation(prefix: str, correlation: Correlation | None) -> dict[str, float | None]:
    ends = ("value", "low", "high")
    return {f"{prefix}_{end}": getattr(correlation, end, None) for end in ends}


class Tables:
    """Keeps the CSV files up to date while a run goes on.

    Args:
        every_s: Least time between two writings: a table of 5,000 trials takes 0.2 s.
    """

    def __init__(
        self,
        ledger: Ledger,
        space: Space,
        *,
        every_s: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger, self._space = ledger, space
        self._every_s, self._clock = every_s, clock
        self._written_s = float("-inf")

    def on_event(self, event: Mapping[str, Any], history: History) -> None:
        """Write the tables after a trial's end, if the last writing is long enough ago."""
        is_due = self._clock() - self._written_s >= self._every_s
        if event["event"] == "run_ended" or (event["event"] == "trial_ended" and is_due):
            self.write(history)
        if event["event"] == "run_ended":
            self._ledger.write_csv("trust.csv", TRUST_COLUMNS, trust_rows(self._space, history))

    def write(self, history: History) -> None:
        """Write both tables now."""
        columns = trial_columns(self._space, history)
        self._ledger.write_csv("trials.csv", columns, trial_rows(self._space, history))
        self._ledger.write_csv("energy.csv", ENERGY_COLUMNS, energy_rows(history))
        self._written_s = self._clock()


def _trial_row(space: Space, trial: TrialRecord, rank: int | None) -> dict[str, Any]:
    budget = space.ladder.rungs[trial.rung] if trial.rung is not None else None
    best = trial.best(space.metric, space.mode)
    num_samples = _num_samples(trial.rows)
    joules = _joules(trial.energy)
    return {
        **_last_metrics(trial),
        **trial.hparams,
        **{name: trial.sources.get(name, "") for name in _SOURCES},
        "rank": rank,
        "trial_id": trial.trial_id,
        "status": trial.status,
        "cause": trial.cause,
        "origin": trial.origin,
        "source": trial.source,
        space.metric: trial.value(space.metric),
        "rung": trial.rung,
        "epochs": trial.epochs,
        "horizon": space.ladder.horizon,
        "subset": budget.subset if budget else None,
        "resolution": budget.resolution if budget else None,
        "best_epoch": best[0] if best else None,
        "best_value": best[1] if best else None,
        "seconds": round(trial.seconds, 3),
        "num_samples": num_samples,
        "attempts": trial.attempts,
        "seed": trial.seed,
        **joules,
        "energy_scope": trial.sources.get("scope", ""),
        "energy_quality": trial.sources.get("quality", ""),
        "energy_reason": trial.sources.get("reason", ""),
        "j_per_sample": joules["energy_j"] / num_samples if joules["energy_j"] and num_samples else None,
        "started_at": _clock_time(trial.asked_at),
        "ended_at": _clock_time(trial.ended_at),
        "message": trial.message,
        "notes": "; ".join(f"{name}: {text}" for name, text in trial.notes.items()),
    }


def _last_metrics(trial: TrialRecord) -> dict[str, float]:
    if not trial.rows:
        return {}
    last = trial.rows[-1]
    return {**last.metrics, **(last.test or {})}


def _num_samples(rows: list[EpochRow]) -> int | None:
    if any("num_samples" not in row.metrics for row in rows):
        return None
    return round(sum(row.metrics["num_samples"] for row in rows))


def _joules(energy: EnergyReading) -> dict[str, float | None]:
    parts = {
        "energy_j": energy.total_mj,
        "energy_gpu_j": energy.gpu_mj,
        "energy_cpu_j": energy.cpu_mj,
        "energy_dram_j": energy.dram_mj,
    }
    return {name: None if mj is None else mj / 1000 for name, mj in parts.items()}


def _clock_time(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
