"""The values that trials are compared by: the metric and, if the space names them, others beside it. Pure.

Rungs, sampler, front, tables and exports take each value from here. Most are as the trial reported them;
joules are not.

Joules spent would make a trial that was stopped early seem cheap. What counts is what its epochs predict for
full training, or their cost per example.
"""

from __future__ import annotations

import math
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
    """Joules of full training, or of one example, whichever the space names beside its metric.

    Attributes:
        uncertainty_j: The error to expect in either direction. Smaller differences are ties.
        scope: The parts included, such as "gpu+cpu": joules of different parts cannot be compared.
    """

    joules: float
    uncertainty_j: float
    scope: str


@dataclass(frozen=True, kw_only=True)
class ObjectiveValues:
    """What a trial's epochs show of each of a space's objectives.

    Attributes:
        numbers: The metric, then those beside it in the space's order, at the highest completed rung.
        cost: Cost for the objective in joules, whose number is the last one; None without such an objective.
    """

    numbers: tuple[float, ...]
    cost: Cost | None = None

    @property
    def uncertainty(self) -> float:
        """Uncertainty of the last number: joules are estimates, all others are taken as reported."""
        return self.cost.uncertainty_j if self.cost else 0.0

    def score(self, space: Space) -> Score:
        """The numbers with the signs that make larger ones better."""
        signs = (1 if mode == "max" else -1 for mode in space.modes)
        return tuple(sign * number for sign, number in zip(signs, self.numbers, strict=True))


class Objective:
    """The values by which rungs and sampler compare trials.

    Deterministic: the same questions in the same order get the same answers, so a resumed run decides alike.

    Attributes:
        no_energy_reason: Why joules cannot be known, if the first trial asked for them had none.
    """

    def __init__(self, space: Space) -> None:
        self._space = space
        self._joules = ComparableJoules("search.objective asks for it")

    @property
    def no_energy_reason(self) -> str:
        return self._joules.no_energy_reason

    def values(self, trial: TrialRecord, value: float) -> tuple[tuple[float, ...], float]:
        """The value of each objective at the end of a rung, and the uncertainty of the last one.

        A number that the trial's latest row lacks is NaN, which stops the trial at its rung.

        Args:
            value: The metric at the latest of the trial's rows.

        Raises:
            Unmeasured: The space asks for joules, and the trial has none that can be compared.
        """
        metrics, beside = trial.rows[-1].metrics, self._space.beside
        numbers = [value, *(metrics.get(each.name, math.nan) for each in beside if not each.is_joules)]
        if (name := self._space.joules_objective) is None:
            return tuple(numbers), 0.0
        cost = cost_of(self._space, trial)
        if cost is None:
            self._joules.refuse(f"{name} cannot be measured ({_unknown_cost_reason(trial)})")
        self._joules.accept(cost.scope)
        return (*numbers, cost.joules), cost.uncertainty_j


class LadderEnergy:
    """Checks the joules of each row on a ladder of joules. Deterministic, as `Objective` is.

    Attributes:
        no_energy_reason: Why no rung can be completed, if the first trial that was to complete one could not.
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
            Unmeasured: Its joules are unknown, or would complete a rung and cannot be used for that.
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
    """The joules that `space` minimises, as far as the trial's epochs are known; None if unknown."""
    if space.joules_objective == "energy_per_example":
        return _per(trial, _num_examples(_measured_epochs(trial) or list(trial.curve.values())))
    return projected_full(space, trial)


def projected_full(space: Space, trial: TrialRecord) -> Cost | None:
    """Estimate what full training would use, from the epochs done and their share of its work.

    Unlike joules spent, this can be compared between a trial that was stopped and one that continued.
    Repeated epochs and what attempts used beside their epochs are left out, as are epochs some sensor missed.

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


def values_of(space: Space, trial: TrialRecord) -> ObjectiveValues | None:
    """The value of each objective of `space`; None if one of them is unknown for the trial."""
    names = [space.metric, *(each.name for each in space.beside if not each.is_joules)]
    known = [number for name in names if (number := trial.value(name)) is not None]
    cost = None if space.joules_objective is None else cost_of(space, trial)
    if len(known) < len(names) or (cost is None and space.joules_objective is not None):
        return None
    return ObjectiveValues(numbers=(*known, *([cost.joules] if cost else [])), cost=cost)


def pareto_front(space: Space, trials: Iterable[TrialRecord]) -> list[tuple[TrialRecord, ObjectiveValues]]:
    """The trials that no other one dominates, the best by metric first.

    Only trials that completed the highest rung any has completed are taken: a stopped trial's metric is not
    final. A trial dominates another if it is worse in no objective, and better in one.
    """
    sound = [trial for trial in trials if is_comparable(trial, space.metric)]
    top = max((trial.rung or 0 for trial in sound), default=0)
    known = [(trial, values) for trial in sound if trial.rung == top and (values := values_of(space, trial))]
    scopes = [values.cost.scope for _, values in known if values.cost]
    known = [(trial, values) for trial, values in known if not values.cost or values.cost.scope == scopes[0]]
    scores = [(values.score(space), values.uncertainty) for _, values in known]
    front = [
        (score, place)
        for place, (score, uncertainty) in enumerate(scores)
        if not any(dominates(other, score, other_one + uncertainty) for other, other_one in scores)
    ]
    return [known[place] for _, place in sorted(front, key=lambda item: tuple(-each for each in item[0]))]


def _measured_epochs(trial: TrialRecord) -> list[EpochRow]:
    """The epochs that every sensor of the trial has measured: joules of different parts would not add up."""
    rows = list(trial.curve.values())
    scope = EnergyReading.sum(row.energy for row in rows).scope
    return [row for row in rows if scope and row.energy.scope == scope]


def _per(trial: TrialRecord, amount: float | None) -> Cost | None:
    """The joules of the trial's measured epochs per `amount`; None if either is unknown, or `amount` is 0."""
    rows = _measured_epochs(trial)
    # Joules of a row that was lost with its worker are known for its attempt only: too many, never too few.
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
