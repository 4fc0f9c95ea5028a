"""What one epoch of one trial brought and cost: the journal's most frequent content."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from search.energy import EnergyReading
from search.trial.used import Used

_ALWAYS_WRITTEN = {"epoch", "rung", "metrics", "seconds"}


@dataclass(frozen=True, kw_only=True)
class EpochRow:
    """What one epoch of one trial brought and cost.

    Attributes:
        epoch: Epochs the trial has run, this one included; see `Ladder.ends` for new starts.
        rung: The rung whose budget the epoch ran at.
        is_rung_end: The trial has now used that budget, or as much of it as it ever will.
        num_jumped: Rungs above `rung` that ended with this epoch, on a ladder of joules: the highest of
            them is the one it ended.
        used: On a ladder of joules: what the epochs of the training have used, this one included.
        why_done: Why the trial ends before its ladder does; empty if it does not.
        seconds: Wall time since the last row: training, evaluation and, in the first, the start.
        energy: Joules of the same stretch of time.
        notes: Automatic choices with their reasons (precision, ...): all in an attempt's first row,
            then those that are new.
        sources: Where the joules come from, in an attempt's first row.
        lease: The attempt's account at its node's meter; empty where it has a meter of its own.
        test: Test metrics, in the last row of a promoted training only.
        is_replay: The row stood in the checkpoint a trial goes on from: reported once before, or
            lost on the way.
    """

    epoch: int
    rung: int
    is_rung_end: bool = False
    num_jumped: int = 0
    used: Used | None = None
    why_done: str = ""
    metrics: Mapping[str, float]
    seconds: float
    energy: EnergyReading = field(default_factory=EnergyReading)
    notes: Mapping[str, str] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)
    lease: str = ""
    test: Mapping[str, float] | None = None
    is_replay: bool = False

    @property
    def ended_rung(self) -> int | None:
        """The rung that this epoch gives a result of, if it does; joules that cannot end a rung give none."""
        is_unfit = self.used is not None and self.used.why_unfit != ""
        return self.rung + self.num_jumped if self.is_rung_end and not is_unfit else None

    def to_dict(self) -> dict[str, Any]:
        """Plain data that JSON can hold: numbers that are not finite become text."""
        plain = {**vars(self), "energy": self.energy.to_dict(), "metrics": json_numbers(self.metrics)}
        plain["used"] = self.used and self.used.to_dict()
        plain["test"] = None if self.test is None else json_numbers(self.test)
        return {name: value for name, value in plain.items() if value or name in _ALWAYS_WRITTEN}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> EpochRow:
        """The row that `to_dict` was called on."""
        row = {**plain, "energy": EnergyReading(**plain.get("energy", {}))}
        if "used" in row:
            row["used"] = Used.from_dict(row["used"])
        for name in {"metrics", "test"} & set(row):
            row[name] = {key: float(value) for key, value in row[name].items()}
        return cls(**row)


def json_numbers(metrics: Mapping[str, float]) -> dict[str, float | str]:
    """Metrics as JSON can hold them: those that are not finite as text."""
    return {name: value if math.isfinite(value) else str(value) for name, value in metrics.items()}
