"""Which trial is better: the largest budget first, then the metric. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from search.ledger.history import TrialRecord
from trainables.contract import Mode


def ranked(trials: Iterable[TrialRecord], metric: str, mode: Mode) -> list[TrialRecord]:
    """The trials that can be compared, best first.

    A score from a larger budget ranks before any from a smaller one: cheap scores are noisier
    and favour fast starters. Of equals the older comes first. Failed and diverged trials, and
    those that ended no rung, are left out.
    """
    sign = 1 if mode == "max" else -1

    def key(trial: TrialRecord) -> tuple[float, float, int]:
        value = trial.value(metric)
        assert trial.rung is not None, "is_comparable"
        assert value is not None, "is_comparable"
        return -trial.rung, -sign * value, trial.number

    return sorted((trial for trial in trials if is_comparable(trial, metric)), key=key)


def is_comparable(trial: TrialRecord, metric: str) -> bool:
    """Whether the trial has a score at a rung and did not fail."""
    is_sound = trial.status not in {"failed", "diverged"}
    return is_sound and trial.rung is not None and trial.value(metric) is not None
