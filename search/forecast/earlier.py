"""Costs from runs: the latest earlier run that trained the same, or this run's own first epochs."""

from __future__ import annotations

import statistics
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

from search.backends.costs import Costs, PointCost, filled, fixed_scoring_s
from search.budget import Ladder
from search.energy.units import to_joules
from search.ledger.history import Event, History, TrialRecord
from search.ledger.run_folder import RunFolder, runs_in
from search.printable import counted
from search.space import Space
from search.trial import EpochRow

_FEWEST_EPOCHS = 3  # each worker's first one loads libraries, and a single further one makes no median
_MIB = 2**20


def earlier_costs(space: Space, results: Path) -> Costs | None:
    """Return costs from the latest run under `results` that trained the same as `space` will, or None.

    Trainable, data, each rung's subset and resolution, what is scored, precision and resources must be equal.
    Ranges and limits may differ: they decide which configurations run, not what one costs. Runs from another
    machine are not recognised as such: results on shared storage are assumed to be from one cluster.
    """
    for folder in runs_in(results):
        costs = _costs_of(folder, space)
        if costs:
            return costs
    return None


def _costs_of(folder: Path, space: Space) -> Costs | None:
    """Return costs from one run, or None if it trained something else or cannot be read.

    Its space is read first: a journal of 1,000 trials has many thousand lines, and most runs in the folder
    are of other spaces.
    """
    try:
        run = RunFolder.open(folder)
        events = run.events() if _trains_alike(run.read_space(), space) else []  # journals are long
        return observed_costs(events, space, folder)
    except Exception:  # from another version, or damaged in any way: it is no part of this search
        return None


def _trains_alike(earlier: Space, space: Space) -> bool:
    """Whether an epoch of one is the same work as an epoch of the other.

    That depends on model code, data, what is scored, number format, and the share of the machine.
    """

    def work(one: Space) -> object:
        rungs = [(rung.subset, rung.resolution) for rung in one.ladder.rungs]
        scored = (one.training.validation_subset, one.training.validation_resolution, one.training.precision)
        return one.trainable, one.data, rungs, scored, one.resources

    return work(earlier) == work(space)


def observed_costs(events: Sequence[Event], space: Space, folder: Path) -> Costs | None:
    """Return costs of a run's trials so far; None before three epochs, or one more than there are workers.

    The first training of each worker loads libraries and data. Its start is charged once, as `first_s`; the
    usual start of a training is measured on later trainings.
    """
    history, workers = History(events), space.resources.workers or 1
    trials = [trial for trial in history.trials.values() if trial.rows]
    if sum(len(trial.rows) for trial in trials) < max(_FEWEST_EPOCHS, workers + 1):
        return None
    attempts = attempts_of(events)
    warm = [attempt for attempt in attempts if attempt.number >= workers]
    cold = [attempt for attempt in attempts if attempt.number < workers]
    warm_up_s = max(0.0, _median(attempt.warm_up_s(space.ladder) for attempt in attempts) or 0.0)
    usual = PointCost(
        hparams={},
        start_s=_median(attempt.before_s for attempt in warm) or 0.0,
        start_j=_median(attempt.start_j for attempt in warm) or 0.0,
        warm_up_s=warm_up_s,
        epoch_s=(),
    )
    points = [_point(trial, attempts, space, folder, usual) for trial in trials]
    seen = [point for point in points if any(value is not None for value in point.epoch_s)]
    if not seen:
        return None
    return Costs(
        points=filled(seen, space.ladder),
        source=f"{counted(len(seen), 'trial')} of {folder.name}",
        first_s=min(attempt.before_s for attempt in cold),
        first_j=_median(attempt.start_j for attempt in cold) or 0.0,
        unsure_start_s=0.0 if warm else min(attempt.start_s for attempt in cold),
    )


@dataclass
class Attempt:
    """A training from its assignment to a worker, as recorded in the journal.

    Attributes:
        given_at: Unix time of its assignment.
        number: Its index among the attempts of its session in order of assignment, because the first attempt
            of each worker loads what later ones find loaded. The order in which attempts end would not do:
            the second one of a fast worker may end before the first of a slow one.
        rows: Its epochs with the Unix times of their reports.
    """

    trial_id: str
    given_at: float
    number: int = 0
    rows: list[tuple[float, EpochRow]] = field(default_factory=list)

    @property
    def before_s(self) -> float:
        """Seconds from the assignment to the beginning of the first epoch."""
        at, row = self.rows[0]
        return max(0.0, at - self.given_at - _epoch_s(row))

    @property
    def start_s(self) -> float:
        """Seconds of the start itself, without the start of a worker process."""
        row = self.rows[0][1]
        return row.seconds - _epoch_s(row) if row.start_s is None else row.start_s

    @property
    def start_j(self) -> float | None:
        """Joules of the start; None if no sensor was read."""
        mj = self.rows[0][1].start_energy.total_mj
        return to_joules(mj)

    def warm_up_s(self, ladder: Ladder) -> float | None:
        """Return how many seconds longer the first epoch took than later ones of its budget, or None."""
        first, shapes = self.rows[0][1], [replace(rung, epochs=1) for rung in ladder.rungs]
        alike = {rung for rung, shape in enumerate(shapes) if shape == shapes[first.rung]}
        later_s = self.later_s(alike)
        return _epoch_s(first) - statistics.median(later_s) if later_s else None

    def later_s(self, rungs: Container[int]) -> list[float]:
        """Return seconds from report to report of epochs at `rungs` but the first, saving and waiting too."""
        return [
            max(0.0, at - before - (row.start_s or 0.0))
            for (before, _), (at, row) in pairwise(self.rows)
            if row.rung in rungs
        ]


def attempts_of(events: Sequence[Event]) -> list[Attempt]:
    """Return the attempts that have completed an epoch, by session, in the order of assignment."""
    given_at: dict[str, float] = {}
    began_at = 0.0
    latest: dict[str, Attempt] = {}
    sessions: list[list[Attempt]] = [[]]
    for event in events:
        at = float(event["time"])
        match event["event"]:
            case "session_started":
                began_at = at
                sessions.append([])
            case "trial_asked" | "trial_resumed" | "attempt_failed":
                given_at[event["trial"]] = at
            case "epoch":
                trial_id, row = event["trial"], EpochRow.from_dict(event["row"])
                if row.sensors or trial_id not in latest:
                    given = max(began_at, given_at.get(trial_id, at))
                    latest[trial_id] = Attempt(trial_id, given)
                    sessions[-1].append(latest[trial_id])
                latest[trial_id].rows.append((at, row))
    ordered = [sorted(session, key=lambda attempt: attempt.given_at) for session in sessions]
    return [replace(one, number=number) for session in ordered for number, one in enumerate(session)]


def _point(
    trial: TrialRecord, attempts: Sequence[Attempt], space: Space, folder: Path, usual: PointCost
) -> PointCost:
    """Return one trial's cost by rung, from all its attempts; unknown values are None or the usual ones."""
    num_rungs = len(space.ladder.rungs)
    mine = [attempt for attempt in attempts if attempt.trial_id == trial.trial_id]
    rows = [[row for row in trial.rows if row.rung == rung] for rung in range(num_rungs)]
    files = RunFolder(folder).trial(trial.trial_id)
    return replace(
        usual,
        hparams=trial.hparams,
        epoch_s=tuple(_usual_epoch_s(mine, rung, usual.warm_up_s) for rung in range(num_rungs)),
        scoring_s=fixed_scoring_s(
            space.training.validation_resolution,
            _median(row.metrics.get("eval_s") for row in trial.rows) or 0.0,
        ),
        epoch_j=tuple(_median(_joules(row) for row in of_rung) for of_rung in rows),
        checkpoint_mib=_size_mib(files.checkpoint),
        weights_mib=_size_mib(files.best),
    )


def _size_mib(file: Path) -> float | None:
    return file.stat().st_size / _MIB if file.exists() else None


def _usual_epoch_s(attempts: Sequence[Attempt], rung: int, warm_up_s: float) -> float | None:
    """Return seconds of an epoch after an attempt's first; if there is none, a first one less the warm-up."""
    later_s = [seconds for attempt in attempts for seconds in attempt.later_s({rung})]
    firsts = [attempt.rows[0][1] for attempt in attempts]
    first_s = [_epoch_s(row) for row in firsts if row.rung == rung]
    return _median(later_s or [max(seconds - warm_up_s, seconds / 10) for seconds in first_s])


def _epoch_s(row: EpochRow) -> float:
    """Return seconds of training and scoring. In old journals an attempt's first row includes the start."""
    if row.start_s is not None or not row.sensors:
        return row.seconds
    parts = [row.metrics.get(name) for name in ("train_s", "eval_s")]
    known = [part for part in parts if part is not None]
    return sum(known) if known else row.seconds


def _joules(row: EpochRow) -> float | None:
    """Return joules of one epoch; None if no sensor was read, or none ticked during the epoch."""
    return None if row.energy.total_mj is None else to_joules(row.energy.total_mj)


def _median(values: Iterable[float | None]) -> float | None:
    """Return the median of the known values, which a single epoch with a full disk cache does not move."""
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None
