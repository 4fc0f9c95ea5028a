"""The result and cost of one epoch of one trial: its row, and the stretch of time and joules it covers.

Rows are the journal's most frequent content. Between two of them come a start, an epoch, and the rest
(checkpoints, waiting). A `Stretch` tells these apart and is cut where a row ends, so that every moment is in
exactly one row.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from sys import intern
from typing import Any

from search.energy.reading import KINDS, LONGEST_TICK_S, EnergyMeter, EnergyReading
from search.trial.rung_energy import RungEnergy

_ALWAYS_WRITTEN = {"epoch", "rung", "metrics", "seconds"}
_WRITTEN_IF_KNOWN = {"start_s", "overhead_s"}
_POLL_S = 0.05
_MAX_POLLS = 40  # 2 s, twice the longest tick


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochRow:
    """The result and cost of one epoch of one trial.

    Attributes:
        epoch: Epochs the trial has run, this one included; see `Ladder.ends` for new starts.
        rung: The rung whose budget the epoch ran at.
        completes_rung: The trial has now used that budget, or as much of it as it ever will.
        rungs_skipped: On a ladder of joules, how far above `rung` the rung is that this epoch completes.
        used: On a ladder of joules, what the training's epochs have used, this one included.
        done_reason: Why the trial ends before its ladder does; empty if it does not.
        seconds: Wall time of training and evaluation, and of the test in a promoted training's last row.
        start_s: Wall time of starting a training before this epoch: imports, data, model, checkpoint. It is
            in an attempt's first row, and where a rung begins its own training; None if nothing was started.
        overhead_s: All other wall time since the last row: checkpoints, waiting for the search's answer or
            for a turn alone on the device.
        energy: Joules since the last row, without those of a start.
        start_energy: Joules of `start_s`.
        lag_s: For each part of `energy` whose sensor had no tick at the row's end: how long before the end
            its joules stop. The rest are in a later row.
        notes: Automatic choices with their reasons (precision, ...): all of them in an attempt's first row,
            then only new ones.
        sensors: Where the joules come from, in an attempt's first row.
        window: The attempt's account at its node's meter; empty if the attempt has its own meter.
        memory_mib: Most memory that the trial's processes held on their shared device since the last row;
            None where devices are not packed by memory.
        test: Test metrics, in the last row of a promoted training only.
        is_replay: The row comes from the checkpoint that a trial resumes from: it was reported before, or
            lost on the way.
    """

    epoch: int
    rung: int
    completes_rung: bool = False
    rungs_skipped: int = 0
    used: RungEnergy | None = None
    done_reason: str = ""
    metrics: Mapping[str, float]
    seconds: float
    start_s: float | None = None
    overhead_s: float | None = None
    energy: EnergyReading = field(default_factory=EnergyReading)
    start_energy: EnergyReading = field(default_factory=EnergyReading)
    lag_s: Mapping[str, float] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    sensors: Mapping[str, str] = field(default_factory=dict)
    window: str = ""
    memory_mib: float | None = None
    test: Mapping[str, float] | None = None
    is_replay: bool = False

    @property
    def ended_rung(self) -> int | None:
        """The rung that this epoch has a result for; None if for none, or if its joules cannot end a rung."""
        is_unfit = self.used is not None and self.used.unusable_reason != ""
        return self.rung + self.rungs_skipped if self.completes_rung and not is_unfit else None

    @property
    def total_s(self) -> float:
        """Wall time since the last row, without a start."""
        return self.seconds + (self.overhead_s or 0.0)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: numbers that are not finite become text."""
        own = {each.name: getattr(self, each.name) for each in fields(self)}
        plain = {**own, "energy": self.energy.to_dict(), "metrics": json_numbers(self.metrics)}
        plain["start_energy"] = self.start_energy.to_dict()
        plain["used"] = self.used and self.used.to_dict()
        plain["test"] = None if self.test is None else json_numbers(self.test)
        return {
            name: value
            for name, value in plain.items()
            if value or name in _ALWAYS_WRITTEN or (name in _WRITTEN_IF_KNOWN and value is not None)
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> EpochRow:
        """Restore a row from the result of `to_dict`."""
        readings = {name: EnergyReading(**plain.get(name, {})) for name in ("energy", "start_energy")}
        row = {**plain, **readings}
        if "used" in row:
            row["used"] = RungEnergy.from_dict(row["used"])
        for name in {"metrics", "test"} & set(row):
            row[name] = {_shared(key): float(value) for key, value in row[name].items()}
        for name in {"notes", "sensors"} & set(row):  # alike in thousands of rows
            row[name] = {_shared(key): _shared(value) for key, value in row[name].items()}
        return cls(**row)


def _shared(text: str) -> str:
    """Intern the text, so that equal texts share memory."""
    return intern(text) if type(text) is str else text


def json_numbers(metrics: Mapping[str, float]) -> dict[str, float | str]:
    """Metrics as JSON can hold them, with text for numbers that are not finite."""
    return {name: value if math.isfinite(value) else str(value) for name, value in metrics.items()}


@dataclass(frozen=True, kw_only=True)
class StretchTotals:
    """Seconds and joules from one row to the next; `EpochRow` documents each of them."""

    seconds: float
    start_s: float | None
    overhead_s: float
    energy: EnergyReading
    start_energy: EnergyReading
    lag_s: Mapping[str, float]


class Stretch:
    """Time and joules from one cut to the next: no moment is counted twice or lost.

    Each second belongs to a start, to an epoch, or to overhead.

    Args:
        clock: Monotonic seconds.
        sleep: Waits for that many seconds.
    """

    def __init__(
        self,
        meter: EnergyMeter,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.clock = clock
        self._meter, self._sleep = meter, sleep
        self._since, self._since_start = meter.read(), meter.read_start()
        self._since_s = clock()
        self._lag_s: Mapping[str, float] = {}
        self._start_s: float | None = None
        self._epoch_s = 0.0

    @contextmanager
    def starting(self) -> Iterator[None]:
        """Count the time inside as a start of a training, or part of one."""
        began_s = self.clock()
        with self._meter.starting():
            yield
        self._start_s = (self._start_s or 0.0) + self.clock() - began_s

    @contextmanager
    def in_epoch(self) -> Iterator[None]:
        """Count the time inside as training and evaluation."""
        began_s = self.clock()
        yield
        self._epoch_s += self.clock() - began_s

    def cut(self, *, must_be_settled: bool = False) -> StretchTotals:
        """Return what was spent since the last cut, and begin the next stretch.

        Args:
            must_be_settled: Wait for a tick of sensors that have had none since, for 2 s at most.
        """
        now_s, now = self.clock(), self._meter.read()
        for _ in range(_MAX_POLLS):
            if not must_be_settled or not self._lags_s(now, now_s):
                break
            self._sleep(_POLL_S)
            now_s, now = self.clock(), self._meter.read()
        lag_s = self._lags_s(now, now_s)
        unmoved = [kind for kind in lag_s if (now - self._since).part_mj(kind) == 0]
        spent = StretchTotals(
            seconds=self._epoch_s,
            start_s=self._start_s,
            overhead_s=self._trained_s(now_s) - self._epoch_s,
            energy=(now - self._since).without(unmoved),
            start_energy=self._start_energy(),
            lag_s=lag_s,
        )
        self._since_s, self._since, self._lag_s = now_s, now, lag_s
        self._start_s, self._epoch_s = None, 0.0
        return spent

    def _trained_s(self, now_s: float) -> float:
        """Seconds since the last cut, without starts."""
        return now_s - self._since_s - (self._start_s or 0.0)

    def _lags_s(self, now: EnergyReading, now_s: float) -> dict[str, float]:
        """How long ago the joules of each part end.

        A part that did not move in a short stretch ends where it did before: no device draws nothing.
        """
        moved, trained_s = now - self._since, self._trained_s(now_s)
        lags_s = dict(now.lag_s)
        if trained_s < LONGEST_TICK_S:
            unmoved = [kind for kind in KINDS if moved.part_mj(kind) == 0]
            lags_s |= {kind: self._lag_s.get(kind, 0.0) + trained_s for kind in unmoved}
        return lags_s

    def _start_energy(self) -> EnergyReading:
        if self._start_s is None:
            return EnergyReading()
        before, self._since_start = self._since_start, self._meter.read_start()
        return self._since_start - before
