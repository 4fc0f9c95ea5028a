"""What has happened to each trial, rebuilt from the journal's events. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from search.budget import Ladder
from search.energy.reading import KINDS, LONGEST_TICK_S, EnergyReading, EnergySummary
from search.energy.units import to_joules
from search.ledger.sessions import RunSessions
from search.ledger.trial_energy import TrialEnergy
from search.trial import EpochRow

Status = Literal[
    "running", "paused", "finished", "stopped", "diverged", "failed", "infeasible", "interrupted"
]
UNFINISHED = frozenset({"running", "paused", "interrupted"})  # any other status is final
ProposedBy = Literal["default", "initial", "portfolio", "sampler", "list", "design", "promotion"]
Event = Mapping[str, Any]


@dataclass
class TrialRecord:
    """One trial so far.

    Attributes:
        proposed_by: Who proposed it.
        parent_trial: What it repeats: a trial of an earlier run (promotion, portfolio), or a recipe.
        status: "running" until a trial_ended event; "interrupted" when the run ended first.
        attempts_here: Attempts in this session since the trial last made progress: a worker lost every few
            hours is not the trial's fault.
        rows: Every epoch that was run, including those repeated after a lost worker.
        failures: One entry for each attempt that failed.
        measures: What had been measured when a constraint ended the trial before its first epoch.
        control_rungs: Rungs above which it continued although its value did not qualify.
        moves: Each move to another share of a device's memory: the `rung` that it was at, and the
            `memory_mib` that it is known to need there, if known.
    """

    trial_id: str
    number: int
    proposed_by: ProposedBy
    hparams: Mapping[str, Any]
    seed: int
    asked_at: float
    parent_trial: str = ""
    status: Status = "running"
    cause: str = ""
    message: str = ""
    attempts: int = 1
    attempts_here: int = field(default=1, repr=False, compare=False)  # a restart forgets it
    rows: list[EpochRow] = field(default_factory=list)
    failures: list[Mapping[str, Any]] = field(default_factory=list)
    measures: Mapping[str, float] = field(default_factory=dict)
    control_rungs: list[int] = field(default_factory=list)
    moves: list[Mapping[str, Any]] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)
    sensors: dict[str, str] = field(default_factory=dict)
    ended_at: float | None = None
    joules: TrialEnergy = field(default_factory=TrialEnergy)

    @property
    def curve(self) -> dict[int, EpochRow]:
        """The row of each epoch; for a repeated epoch, the last one."""
        return dict(sorted({row.epoch: row for row in self.rows}.items()))

    @property
    def epochs(self) -> int:
        return max((row.epoch for row in self.rows), default=0)

    @property
    def rung(self) -> int | None:
        """The highest rung the trial has completed."""
        return max((rung for row in self.rows if (rung := row.ended_rung) is not None), default=None)

    @property
    def last_metrics(self) -> Mapping[str, float]:
        """All metrics of the last epoch, including the test set's; a script may report anything here.

        Before the first epoch, what has been measured of the model.
        """
        if not self.rows:
            return self.measures
        return {**self.rows[-1].metrics, **(self.rows[-1].test or {})}

    def next_rung(self, ladder: Ladder) -> int:
        """The rung at whose budget the next epoch runs."""
        above = 0 if self.rung is None else min(self.rung + 1, len(ladder.rungs) - 1)
        return above if ladder.joules else ladder.rung_for(self.epochs)

    def knows(self, row: EpochRow) -> bool:
        """Whether `row` is known already: neither a further epoch nor a higher rung.

        An epoch repeated after a lost worker may use more joules than before, and so complete a rung.
        """
        is_higher = row.ended_rung is not None and (self.rung is None or row.ended_rung > self.rung)
        return row.epoch <= self.epochs and not is_higher

    @property
    def seconds(self) -> float:
        """Wall time of all epochs that were run, including repeated ones."""
        return sum(row.seconds for row in self.rows)

    @property
    def memory_mib(self) -> float | None:
        """The most memory that it held on its device; None where that was not measured."""
        return max((row.memory_mib for row in self.rows if row.memory_mib is not None), default=None)

    @property
    def start_s(self) -> float | None:
        """Wall time of all its starts; None where none was reported, as in old journals."""
        known = [row.start_s for row in self.rows if row.start_s is not None]
        closed = self.joules.start_s_without_rows
        return sum(known) + closed if known or closed else None

    @property
    def overhead_s(self) -> float | None:
        """Wall time between its epochs; None as for `start_s`."""
        known = [row.overhead_s for row in self.rows if row.overhead_s is not None]
        return sum(known) if known else None

    @property
    def energy(self) -> EnergyReading:
        """Energy of all attempts, repeated epochs and the time between epochs included; starts left out."""
        return self.joules.total.without(self.unseen_parts)

    @property
    def unseen_parts(self) -> tuple[str, ...]:
        """The parts of `energy` whose sensor had no tick while the trial trained.

        Their 0 mJ is what was seen of them, not what was used.
        """
        trained_s = self.joules.closed_s or sum(row.total_s for row in self.rows)
        if not 0 < trained_s < LONGEST_TICK_S:
            return ()
        total = self.joules.total
        return tuple(kind for kind in KINDS if total.part_mj(kind) == 0)

    @property
    def unmeasured(self) -> dict[str, int]:
        """For each part of `energy`, how many epochs it lacks; without parts that lack none.

        They ran in a session or on a node without its sensor. Epochs whose joules come later, or with the
        account of their attempt, are not counted.
        """
        energy = self.energy
        known = [kind for kind in KINDS if energy.part_mj(kind) is not None]
        counts = {kind: sum(not self._has_part(row, kind) for row in self.rows) for kind in known}
        return {kind: count for kind, count in counts.items() if count}

    @property
    def num_without_joules(self) -> int:
        """Epochs of which no part was measured, nor will be."""
        return sum(not self.is_measured(row) for row in self.rows)

    def is_measured(self, row: EpochRow) -> bool:
        """Whether some of the row's joules are known, or will be."""
        return any(self._has_part(row, kind) for kind in KINDS)

    def _has_part(self, row: EpochRow, kind: str) -> bool:
        account = self.joules.closed.get(row.window)
        is_in_account = account is not None and account.reading.part_mj(kind) is not None
        return is_in_account or kind in row.lag_s or row.energy.part_mj(kind) is not None

    @property
    def start_energy(self) -> EnergyReading:
        """Energy of all its starts."""
        return self.joules.start_total

    def value(self, metric: str) -> float | None:
        """The metric at the highest rung the trial has completed; before the first one, the latest."""
        curve = list(self.curve.values())  # not the rows: a training that starts over repeats low rungs
        rows = [row for row in curve if row.ended_rung is not None] or curve
        return _finite(rows[-1].metrics.get(metric)) if rows else None

    def value_at(self, metric: str, rung: int) -> float | None:
        """The metric at the end of `rung`; None if the trial did not complete it."""
        rows = [row for row in self.rows if row.ended_rung == rung]
        return _finite(rows[-1].metrics.get(metric)) if rows else None

    def best(self, metric: str, mode: str) -> tuple[int, float] | None:
        """Epoch and value of the best epoch at the highest rung the trial trained at.

        Where validation follows the rung's resolution, values of different rungs cannot be compared.
        """
        rung = max((row.rung for row in self.rows), default=0)
        rows = [row for row in self.curve.values() if row.rung == rung]
        known = [
            (row.epoch, value) for row in rows if (value := _finite(row.metrics.get(metric))) is not None
        ]
        sign = 1 if mode == "max" else -1
        return max(known, key=lambda item: sign * item[1], default=None)


@dataclass(frozen=True, kw_only=True)
class ExpectedGain:
    """What a further trial was expected to gain, by a model of the curves so far, in units of the metric.

    Attributes:
        num_trials, num_epochs: Trials and epochs of the run by then.
        expected_gain: Gain of the most promising trial.
        least_gain: The smallest gain that means anything; `least_is` says what it is.
    """

    num_trials: int
    num_epochs: int
    expected_gain: float
    least_gain: float
    least_is: str

    @property
    def is_flat(self) -> bool:
        return self.expected_gain < self.least_gain


def overdue_text(event: Event) -> str:
    """An `epoch_overdue` event as text."""
    seconds, median_s = event["seconds"], event["median_s"]
    return f"one took over {seconds:.0f} s; the median at its budget is {median_s:.3g} s"


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


class History:
    """All trials of a run, in the order they were proposed.

    Attributes:
        run_id: Id of the journal, made when it began; checkpoints carry it.
        energy: Energy of all trials together; `start_energy` is that of their starts. What devices used
            beside the trials is in `sessions`.
        gains: What further trials were expected to gain, the latest estimate last.
        num_epochs: Epochs of all trials; a repeated one counts once.
        epochs_at_end: `num_epochs` when a trial last left its worker, other than by an interruption.
        ended: Why the last session ended; None while one runs, or if it was killed.
        pause_is_latest: The latest event of any trial is a pause, or paused trials given up since then: what
            else follows from the pause may not have been written before a kill.
    """

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.run_id = ""
        self.trials: dict[str, TrialRecord] = {}
        self.sessions = RunSessions()
        self.energy = self.start_energy = EnergyReading()
        self._running: dict[str, TrialRecord] = {}
        self._num_measured = 0
        self.gains: list[ExpectedGain] = []
        self.num_epochs = self.epochs_at_end = 0
        self.ended: str | None = None
        self.pause_is_latest = False
        for event in events:
            self.apply(event)

    def running(self) -> list[TrialRecord]:
        return list(self._running.values())

    @property
    def reported_mj(self) -> int | None:
        """Millijoules that all trials have reported, starts included; None where nothing was measured."""
        return (self.energy + self.start_energy).total_mj

    @property
    def epoch_j(self) -> float:
        """Mean joules of a measured epoch so far; 0 before the first, or without a sensor."""
        return to_joules(self.energy.total_mj or 0) / max(1, self._num_measured)

    def apply(self, event: Event) -> None:
        """Apply one event of the journal. Events of other kinds leave trials as they are.

        The live run and every reader call this with the same lines, so that the console, a table made a year
        later and a resumed run cannot disagree about what has happened.
        """
        self.sessions.on_event(event)
        match event["event"]:
            case "journal_started":
                self.run_id = event.get("run", "")
            case "session_started":
                self.ended = None
                for trial in self.trials.values():  # failed ones too: they may run again
                    trial.attempts_here = 1
            case "trial_asked":
                self._ask(event)
            case "gain_estimated":
                names = ExpectedGain.__dataclass_fields__
                self.gains.append(ExpectedGain(**{name: event[name] for name in names}))
            case "run_ended":
                self.ended = event["reason"]
            case _ if "trial" in event:
                self._apply_to_trial(self.trials[event["trial"]], event)

    def _apply_to_trial(self, trial: TrialRecord, event: Event) -> None:
        """Apply an event of a trial.

        The end of a window does not count for `pause_is_latest`: it comes from the meters, whenever they
        answer.
        """
        if event["event"] != "window_closed":
            self.pause_is_latest = event["event"] == "trial_ended" and (
                event["status"] == "paused" or (self.pause_is_latest and trial.status == "paused")
            )
        match event["event"]:
            case "trial_resumed":
                self._resume(trial)
            case "epoch":
                self._epoch(trial, event)
            case "trial_continued_as_control":
                trial.control_rungs.append(event["rung"])
            case "epoch_overdue":
                trial.notes["epoch"] = overdue_text(event)
            case "trial_moved":
                trial.moves.append({name: event[name] for name in ("rung", "memory_mib")})
                trial.notes["memory"] = event["reason"]
            case "window_closed":
                self._close_window(trial, event)
            case "attempt_failed" if event["failure"]["cause"] == "constraint":  # not a failure
                measures = event["failure"].get("measures", {})
                trial.measures = {name: float(value) for name, value in measures.items()}
            case "attempt_failed":
                trial.failures.append({**event["failure"], "attempt": trial.attempts, "at": event["time"]})
                trial.attempts += event["will_retry"]
                trial.attempts_here += event["will_retry"] and not event["failure"].get("is_preempted")
            case "trial_ended":
                if event["status"] != "interrupted":
                    self.epochs_at_end = self.num_epochs
                trial.status, trial.cause, trial.message = event["status"], event["cause"], event["message"]
                trial.ended_at = event["time"]
                trial.joules.end_own()
                self._running.pop(trial.trial_id, None)  # a paused trial that is given up is not there

    def _ask(self, event: Event) -> None:
        self.pause_is_latest = False
        self._running[event["trial"]] = self.trials[event["trial"]] = TrialRecord(
            trial_id=event["trial"],
            number=event["number"],
            proposed_by=event["proposed_by"],
            hparams=event["hparams"],
            seed=event["seed"],
            asked_at=event["time"],
            parent_trial=event.get("parent_trial", ""),
        )

    def _resume(self, trial: TrialRecord) -> None:
        """Mark the trial as running, as if it had not ended: its rows, failures and attempts stay.

        A trial that failed makes a further attempt; one that paused or was interrupted continues its last.
        The run has not ended either: a session resumes interrupted trials before its own first event.
        """
        self.ended = None
        trial.attempts += trial.status == "failed"
        trial.status, trial.cause, trial.message, trial.ended_at = "running", "", "", None
        self._running[trial.trial_id] = trial

    def _epoch(self, trial: TrialRecord, event: Event) -> None:
        row = EpochRow.from_dict(event["row"])
        if row.epoch > trial.epochs:  # progress: what was lost before was not the trial's fault
            trial.attempts_here = 1
            self.num_epochs += 1
        row = trial.joules.book(row, trial.rows)
        self._num_measured += trial.is_measured(row)
        self.energy = self.energy + row.energy
        self.start_energy = self.start_energy + row.start_energy
        trial.notes.update(row.notes)
        trial.sensors.update(row.sensors)

    def _close_window(self, trial: TrialRecord, event: Event) -> None:
        summary = EnergySummary.from_dict(event)
        energy, start_energy = trial.joules.close(summary, trial.rows)
        self.energy, self.start_energy = self.energy + energy, self.start_energy + start_energy
        # At an attempt's first row it is not known yet how a shared device will be split.
        trial.sensors.update({name: text for name, text in summary.sensors.to_dict().items() if text})
