"""What trials are compared by: the metric and, where the space asks for them, joules. Pure.

Joules spent would make a trial that was stopped early seem cheap. What counts is what its epochs predict for
full training, or cost per example.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from search.budget import Ladder
from search.energy.reading import EnergyReading
from search.energy.units import to_joules
from search.energy.usable import NO_SENSOR, ComparableJoules
from search.ledger.history import TrialRecord
from search.ranking import is_comparable
from search.rungs.results import Score, dominates
from search.space import Space
from search.trial import EpochRow


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Joules of full training, or of one example: what the space names beside its metric.

    Attributes:
        uncertainty_j: To be expected, either way. Smaller differences are ties.
        scope: The parts in it, such as "gpu+cpu": joules of other parts do not compare.
    """

    joules: float
    uncertainty_j: float
    scope: str


class Objective:
    """The values by which rungs and sampler compare trials.

    Deterministic: the same questions in the same order have the same answers, so a resumed run decides alike.

    Attributes:
        no_energy_reason: Why no joules can be known, where the first trial that was asked for had none.
    """

    def __init__(self, space: Space) -> None:
        self._space = space
        self._joules = ComparableJoules("search.objective asks for it")

    @property
    def no_energy_reason(self) -> str:
        return self._joules.no_energy_reason

    def values(self, trial: TrialRecord, value: float) -> tuple[tuple[float, ...], float]:
        """The value of each objective at the end of a rung, and the uncertainty of the last one.

        Args:
            value: The metric at the latest of the trial's rows.

        Raises:
            Unmeasured: The space asks for joules, and the trial has none that compare.
        """
        if self._space.cost is None:
            return (value,), 0.0
        cost = cost_of(self._space, trial)
        if cost is None:
            self._joules.refuse(f"{self._space.cost} cannot be measured ({_unknown_cost_reason(trial)})")
        self._joules.accept(cost.scope)
        return (value, cost.joules), cost.uncertainty_j


class LadderEnergy:
    """Checks the joules of each row on a ladder of joules. Deterministic, as `Objective` is.

    Attributes:
        no_energy_reason: Why no rung can end, where the first trial that was to end one could not.
    """

    def __init__(self, ladder: Ladder) -> None:
        self._is_asked = bool(ladder.joules)
        self._joules = ComparableJoules("search.ladder measures rungs in joules")

    @property
    def no_energy_reason(self) -> str:
        return self._joules.no_energy_reason

    def check(self, row: EpochRow) -> None:
        """Check that the row's joules may decide at which rung its trial is.

        Raises:
            Unmeasured: Its joules are not known, or are to end a rung and cannot.
        """
        if not self._is_asked:
            return
        if row.used is None or row.used.mj is None:
            self._joules.refuse(row.used.unusable_reason if row.used else "its joules were not counted")
        elif row.completes_rung and row.used.unusable_reason:
            self._joules.refuse(row.used.unusable_reason)
        elif row.completes_rung:
            self._joules.accept(row.used.scope)


def cost_of(space: Space, trial: TrialRecord) -> Cost | None:
    """The joules that `space` minimises, as far as the trial's epochs are known; None is unknown."""
    if space.cost == "energy_per_example":
        return _per(trial, _num_examples(_measured_epochs(trial) or list(trial.curve.values())))
    return projected_full(space, trial)


def projected_full(space: Space, trial: TrialRecord) -> Cost | None:
    """What full training would use, from the epochs done and the share of its work they are.

    Unlike the joules spent it compares a trial that was stopped with one that continued. Repeated epochs
    and what attempts used beside their epochs are left out, and so are epochs some sensor missed.

    On a ladder of joules full training is what promotion runs: every epoch up to the cap at the top rung's
    budget.
    """
    if space.ladder.joules:
        rows = _measured_epochs(trial) or list(trial.curve.values())
        return _per(trial, space.ladder.work_share_at(row.rung for row in rows))
    measured = {row.epoch for row in _measured_epochs(trial)}
    ladder = space.ladder
    missed = set(trial.curve) - measured if measured else set()
    missed_share = sum(ladder.work_share(epoch) - ladder.work_share(epoch - 1) for epoch in missed)
    return _per(trial, ladder.work_share(trial.epochs) - missed_share)


def pareto_front(space: Space, trials: Iterable[TrialRecord]) -> list[tuple[TrialRecord, Cost]]:
    """The trials that no other one dominates, the best by metric first.

    Only those that ended the highest rung any has ended: a stopped trial's metric is not final. A trial
    dominates another if neither its metric nor its joules are worse, and one of them is better.
    """
    sound = [trial for trial in trials if is_comparable(trial, space.metric)]
    top = max((trial.rung or 0 for trial in sound), default=0)
    known = [(trial, cost) for trial in sound if trial.rung == top and (cost := cost_of(space, trial))]
    known = [(trial, cost) for trial, cost in known if cost.scope == known[0][1].scope]
    scores = [(_score(space, trial, cost), cost.uncertainty_j) for trial, cost in known]
    front = [
        (score, place)
        for place, (score, uncertainty_j) in enumerate(scores)
        if not any(
            dominates(other, score, other_uncertainty_j + uncertainty_j)
            for other, other_uncertainty_j in scores
        )
    ]
    return [known[place] for _, place in sorted(front, key=lambda item: (-item[0][0], -item[0][1]))]


def _score(space: Space, trial: TrialRecord, cost: Cost) -> Score:
    value = trial.value(space.metric)
    assert value is not None, "is_comparable"
    return (value if space.mode == "max" else -value), -cost.joules


def _measured_epochs(trial: TrialRecord) -> list[EpochRow]:
    """The epochs that every sensor of the trial has measured: joules of other parts would not add up."""
    rows = list(trial.curve.values())
    scope = EnergyReading.sum(row.energy for row in rows).scope
    return [row for row in rows if scope and row.energy.scope == scope]


def _per(trial: TrialRecord, amount: float | None) -> Cost | None:
    """The joules of the trial's measured epochs divided by `amount`; None where either is unknown or 0."""
    rows = _measured_epochs(trial)
    # A row that was lost with its worker has no joules of its own, its attempt has: too many, never too few.
    energy = EnergyReading.sum(row.energy for row in rows) if rows else trial.energy
    if energy.total_mj is None or not amount:
        return None
    uncertainty_mj = energy.gpu_uncertainty_mj or 0
    return Cost(
        joules=to_joules(energy.total_mj) / amount,
        uncertainty_j=to_joules(uncertainty_mj) / amount,
        scope=energy.scope,
    )


def _num_examples(rows: list[EpochRow]) -> float | None:
    if any("num_examples" not in row.metrics for row in rows):
        return None
    return sum(row.metrics["num_examples"] for row in rows)


def _unknown_cost_reason(trial: TrialRecord) -> str:
    if trial.energy.total_mj is not None:
        return "the trainable reports no num_examples"
    return trial.sensors.get("reason") or NO_SENSOR
