"""A trial as experiment trackers take it: flat hparams, a point per epoch, a summary. Pure.

Trackers know numbers over steps, and one value per hparam. What does not fit is put into that form here, once
for all of them: lists as JSON, times from durations, the trial's cost as a metric of the last step.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from search.energy.units import to_joules
from search.ledger.history import TrialRecord
from search.trial import EpochRow

Plain = str | int | float | bool | None


@dataclass(frozen=True, kw_only=True)
class Point:
    """One epoch.

    Attributes:
        at: Unix time in seconds: the trial's start plus the durations of its epochs. Pauses at rungs are left
            out, so that a curve over time has no gaps of hours.
        metrics: What the epoch reported, with `epoch_s` and, if known, `epoch_j`.
    """

    epoch: int
    at: float
    metrics: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class LoggedTrial:
    """One trial.

    Attributes:
        hparams: Values by name; those that are neither text nor number as JSON.
        summary: The last epoch's metrics, a promoted training's test metrics, and what the whole trial cost.
    """

    trial_id: str
    status: str
    hparams: Mapping[str, Plain]
    points: tuple[Point, ...]
    summary: Mapping[str, float]
    started_at: float
    ended_at: float
    cause: str
    message: str


def logged(trial: TrialRecord) -> LoggedTrial:
    """The trial in the terms that every tracker has.

    A repeated epoch has only its last row, because trackers draw one value per step.
    """
    rows = list(trial.curve.values())
    ends = itertools.accumulate((row.total_s + (row.start_s or 0.0) for row in rows), initial=trial.asked_at)
    points = tuple(
        Point(epoch=row.epoch, at=at, metrics=_epoch_metrics(row))
        for row, at in zip(rows, itertools.islice(ends, 1, None), strict=True)
    )
    last_at = points[-1].at if points else trial.asked_at
    return LoggedTrial(
        trial_id=trial.trial_id,
        status=trial.status,
        hparams={name: plain(value) for name, value in trial.hparams.items()},
        points=points,
        summary=_summary(trial),
        started_at=trial.asked_at,
        # A clock that was set back in between does not make it end before its last epoch.
        ended_at=last_at if trial.ended_at is None else max(last_at, trial.ended_at),
        cause=trial.cause,
        message=trial.message,
    )


def plain(value: Any) -> Plain:
    """The value as trackers store it: lists and mappings as JSON."""
    return value if isinstance(value, str | int | float | bool | None) else json.dumps(value)


def _epoch_metrics(row: EpochRow) -> dict[str, float]:
    """What the epoch reported and cost; joules only if they are known, since a 0 would be drawn."""
    cost = {"epoch_s": row.seconds}
    if row.energy.total_mj is not None:
        cost["epoch_j"] = to_joules(row.energy.total_mj)
    return {**row.metrics, **cost}


def _summary(trial: TrialRecord) -> dict[str, float]:
    """The last epoch's metrics, those of the test, and what the whole trial cost."""
    summary = {**trial.last_metrics, "epochs": trial.epochs, "seconds": trial.seconds}
    if trial.start_s is not None:
        summary["start_s"] = trial.start_s
    if trial.energy.total_mj is not None:
        summary["energy_j"] = to_joules(trial.energy.total_mj)
    return summary
