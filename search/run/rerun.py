"""What running the failed trials of a run again will cost, judging by the run's own epochs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from search.energy.units import to_joules
from search.ledger import Ledger
from search.ledger.history import History, TrialRecord
from search.space import Space
from search.trial import EpochRow

Range = tuple[float, float]  # the least and the most


@dataclass(frozen=True, kw_only=True)
class RerunEstimate:
    """The cost of running failed trials again.

    At the least each ends at its next rung; at the most each reaches the top.

    Attributes:
        causes: How many trials failed for each cause.
        seconds: Training time, all workers together; None if no epoch of the run has ended.
        joules: None if no epoch was measured.
        scaled: Rungs at which no trial has trained, with costs scaled from another rung by examples and
            pixels.
    """

    causes: Mapping[str, int]
    epochs: tuple[int, int]
    seconds: Range | None
    joules: Range | None
    scaled: tuple[int, ...]

    @property
    def num_trials(self) -> int:
        return sum(self.causes.values())


def rerun_estimate(history: History, space: Space, has_state: Callable[[str], bool]) -> RerunEstimate:
    """Estimate what the failed trials of `history` will use.

    Args:
        has_state: Returns whether a trial has a checkpoint: it then resumes from it, else it starts over.
    """
    failed = [trial for trial in history.trials.values() if trial.status == "failed"]
    rows = [row for trial in history.trials.values() for row in trial.rows]
    seconds = _by_rung(rows, lambda row: row.seconds)
    joules = _by_rung(rows, lambda row: to_joules(mj) if (mj := row.energy.total_mj) is not None else None)
    least, most = [], []
    for trial in failed:
        begun = trial.epochs if has_state(trial.trial_id) else 0
        least += _rungs_between(space, begun, _next_end(space, trial))
        most += _rungs_between(space, begun, space.ladder.ends[-1])
    return RerunEstimate(
        causes=Counter(trial.cause for trial in failed),
        epochs=(len(least), len(most)),
        seconds=_range(space, seconds, least, most),
        joules=_range(space, joules, least, most),
        scaled=tuple(sorted(set(most) - set(seconds))) if seconds and not space.ladder.joules else (),
    )


def estimate_rerun(ledger: Ledger, space: Space) -> RerunEstimate:
    """Estimate what the run's failed trials will use, each from its checkpoint if it has one."""
    return rerun_estimate(
        ledger.read_history(),
        space,
        has_state=lambda trial_id: ledger.trial(trial_id).checkpoint.is_file(),
    )


def _by_rung(rows: Iterable[EpochRow], cost: Callable[[EpochRow], float | None]) -> dict[int, float]:
    """The mean cost of an epoch at each rung where a cost is known."""
    costs: dict[int, list[float]] = {}
    for row in rows:
        if (known := cost(row)) is not None:
            costs.setdefault(row.rung, []).append(known)
    return {rung: fmean(known) for rung, known in costs.items()}


def _next_end(space: Space, trial: TrialRecord) -> int:
    """Epochs after which the trial can first be stopped; on rungs of joules, after any epoch."""
    ladder = space.ladder
    if space.scheduler.mode == "none":
        return ladder.ends[-1]
    if ladder.joules:
        return trial.epochs + 1
    ended = -1 if trial.rung is None else trial.rung
    return ladder.ends[min(ended + 1, len(ladder.ends) - 1)]


def _rungs_between(space: Space, begun: int, end: int) -> list[int]:
    """The rung of each epoch; on a ladder of joules it is not known beforehand, so the lowest is taken."""
    ladder = space.ladder
    return [0 if ladder.joules else ladder.rung_for(epoch) for epoch in range(begun, end)]


def _range(
    space: Space, known: Mapping[int, float], least: Sequence[int], most: Sequence[int]
) -> Range | None:
    if not known:
        return None
    if space.ladder.joules:
        known = {0: fmean(known.values())}
    costs = {rung: _cost_at(space, known, rung) for rung in {*least, *most}}
    return sum(costs[rung] for rung in least), sum(costs[rung] for rung in most)


def _cost_at(space: Space, known: Mapping[int, float], rung: int) -> float:
    nearest = min(known, key=lambda other: (abs(other - rung), other))
    ladder = space.ladder
    return known[nearest] * ladder.epoch_work(rung) / ladder.epoch_work(nearest)
