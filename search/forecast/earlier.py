"""Costs as earlier runs knew them: the latest run that trained the same on as many workers."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

from search.forecast.costs import Costs, PointCost, filled, fixed_scoring_s
from search.ledger import Ledger
from search.ledger.history import Event, History, TrialRecord
from search.ledger.journal import LedgerError
from search.space import Space, SpaceError, load_space
from search.trial import EpochRow

_FEWEST_EPOCHS = 3
_MIB = 2**20


def earlier_costs(space: Space, results: Path) -> Costs | None:
    """What the latest run under `results` knows that trained the same as `space` will; None without one.

    The same are trainable, data, each rung's share of them and resolution, and trials at a time. Another
    machine's runs are not told apart: results on shared storage are of one cluster.
    """
    folders = sorted(results.glob("*/journal.jsonl"), key=lambda file: file.stat().st_mtime, reverse=True)
    for file in folders:
        costs = _costs_of(file.parent, space)
        if costs:
            return costs
    return None


def _costs_of(folder: Path, space: Space) -> Costs | None:
    try:
        ledger = Ledger.open(folder)
        earlier = load_space(str(ledger.space_file), spaces_dir=folder, is_of_run=True)
        events = ledger.events() if _trains_alike(earlier, space) else []  # journals are long
    except (LedgerError, SpaceError, OSError, KeyError):
        return None  # of another version, or damaged: there are others
    return observed_costs(events, space, folder)


def _trains_alike(earlier: Space, space: Space) -> bool:
    def work(one: Space) -> object:
        rungs = [(rung.subset, rung.resolution) for rung in one.ladder.rungs]
        scored = one.validation_subset, one.validation_resolution, one.precision
        return one.trainable, one.data, rungs, scored, one.resources

    return work(earlier) == work(space)


def observed_costs(events: Sequence[Event], space: Space, folder: Path) -> Costs | None:
    """What the trials of a run have taken so far; None before three epochs, and one more than workers.

    The first training of each worker loads libraries and data. That is told once, by `first_s`, and the start
    of a training by the others.
    """
    history, workers = History(events), space.resources.workers or 1
    trials = [trial for trial in history.trials.values() if trial.rows]
    if sum(len(trial.rows) for trial in trials) < max(_FEWEST_EPOCHS, workers + 1):
        return None
    start_s = _warm_start_s(events, workers)
    points = [_point(trial, space, folder, start_s) for trial in trials]
    seen = [point for point in points if any(value is not None for value in point.epoch_s)]
    if not seen:
        return None
    return Costs(
        points=filled(seen, space.ladder),
        source=f"what {len(seen)} trials of {folder.name} took",
        first_s=_first_s(events),
    )


def _point(trial: TrialRecord, space: Space, folder: Path, start_s: float) -> PointCost:
    num_rungs = len(space.ladder.rungs)
    rows = [[row for row in trial.rows if row.rung == rung] for rung in range(num_rungs)]
    checkpoint = folder / "trials" / trial.trial_id / "checkpoint.pt"
    return PointCost(
        hparams=trial.hparams,
        start_s=start_s,
        epoch_s=tuple(_median(_training_s(row) for row in of_rung) for of_rung in rows),
        scoring_s=fixed_scoring_s(
            space.validation_resolution, _median(row.metrics.get("eval_s") for row in trial.rows) or 0.0
        ),
        epoch_j=tuple(_median(_joules(row) for row in of_rung) for of_rung in rows),
        checkpoint_mib=checkpoint.stat().st_size / _MIB if checkpoint.exists() else None,
    )


def _warm_start_s(events: Sequence[Event], workers: int) -> float:
    """What a training's start takes in a worker that has trained before; 0 while none has."""
    rows = [EpochRow.from_dict(event["row"]) for event in events if event["event"] == "epoch"]
    starts_s = [max(0.0, row.seconds - _training_s(row)) for row in rows if row.sources]
    return _median(starts_s[workers:]) or 0.0


def _training_s(row: EpochRow) -> float:
    """Training and scoring, without the start in an attempt's first row."""
    parts = [row.metrics.get(name) for name in ("train_s", "eval_s")]
    known = [part for part in parts if part is not None]
    return sum(known) if known else row.seconds


def _joules(row: EpochRow) -> float | None:
    return None if row.energy.total_mj is None else row.energy.total_mj / 1000


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def _first_s(events: Sequence[Event]) -> float:
    """How much later the first epoch came than it took: a worker that loads its libraries."""
    asked = next(event["time"] for event in events if event["event"] == "trial_asked")
    first = next(event for event in events if event["event"] == "epoch")
    return max(0.0, float(first["time"] - asked - _training_s(EpochRow.from_dict(first["row"]))))
