"""The budget of a trial at each rung, the limits of a whole search, and why it must end. Pure."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from search.energy.units import to_millijoules
from search.tariff import JOULES_PER_KWH, Tariff
from trainables.core.contract import Budget, Horizon

_GRACE_S, _LEAST_GRACE_S = 120.0, 10.0
_RATIO, _LEAST_RATIO = 1.35, 1.15  # between successive epochs at which a trial may pause; see `grid_of`
NO_RUNG_HORIZON = (
    "must be full or anytime where rungs are measured in joules: how many epochs a rung holds, which a "
    "schedule of its own would have to span, is known only when it has ended"
)

Resource = Literal["epochs", "energy_j"]


@dataclass(frozen=True)
class Ladder:
    """Budgets of growing size. A trial that survives rung k continues at rung k + 1.

    Attributes:
        horizon: What learning-rate schedules span as a trial moves up the rungs. "full": the whole ladder, in
            one training. "rung": each rung's own epochs, in a new training per rung; epochs are
            counted over all of them, so rungs of 1, 2 and 3 epochs end after 1, 3 and 6.
            "anytime": nothing; the rate is constant, in one training.
        joules: If rungs are measured in joules: the joules that a trial's epochs have used when it
            completes each rung. A rung is complete after the first epoch that reaches its joules. All
            budgets then have the same number of epochs, the maximum of a training, which completes the top
            rung.
        resolution_unit: The unit of the budgets' resolution. Work grows with its square if it is
            pixels ("px"), else linearly.

        pauses: Epochs after which a trial may pause, beside the ends of rungs; its state is saved there.

    Raises:
        ValueError: There is no rung, or an axis falls from rung to rung (epochs and joules must rise).
    """

    rungs: tuple[Budget, ...]
    horizon: Horizon = "full"
    joules: tuple[float, ...] = ()
    resolution_unit: str = "px"
    pauses: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.rungs:
            raise ValueError("a ladder needs at least one rung")
        epochs = [rung.epochs for rung in self.rungs]
        if self.joules:
            self._check_joules(epochs)
        elif not _is_rising(epochs):
            raise ValueError(f"epochs must rise from rung to rung, got {epochs}")
        for axis in ("subset", "resolution"):
            _check_axis(axis, [getattr(rung, axis) for rung in self.rungs])

    def _check_joules(self, epochs: list[int]) -> None:
        if not _is_rising([0.0, *self.joules]):
            raise ValueError(f"joules must rise from rung to rung, from above 0, got {list(self.joules)}")
        if len(self.joules) != len(self.rungs) or len(set(epochs)) > 1:
            raise ValueError(
                f"epochs must be one number beside joules, the cap of a training, and joules one per rung, "
                f"got epochs {epochs} and joules {list(self.joules)}"
            )
        if self.horizon == "rung":
            raise ValueError(f"horizon {NO_RUNG_HORIZON}")

    @property
    def resource(self) -> Resource:
        """The resource that rungs are measured in."""
        return "energy_j" if self.joules else "epochs"

    @property
    def steps(self) -> list[int]:
        """The step that a sampler sees for each rung: its epochs, or its index if rungs are of joules."""
        return list(range(len(self.rungs))) if self.joules else [rung.epochs for rung in self.rungs]

    @property
    def top(self) -> Budget:
        """The largest budget: full training."""
        return self.rungs[-1]

    @property
    def ends(self) -> list[int]:
        """Epochs that a trial has run when it completes each rung, over all its trainings.

        With rungs of joules these are maxima.
        """
        epochs = [rung.epochs for rung in self.rungs]
        return list(itertools.accumulate(epochs)) if self.horizon == "rung" else epochs

    def with_pauses(self) -> Ladder:
        """Return the ladder with pauses between its rungs, or without if they differ in more than epochs."""
        kinds = {(rung.subset, rung.resolution) for rung in self.rungs}
        is_one_training = not self.joules and self.horizon != "rung" and len(kinds) == 1
        return replace(self, pauses=tuple(grid_of(self.ends)) if is_one_training else ())

    @property
    def costs(self) -> list[float]:
        """The cost of each rung from the one below it: in joules, or in epochs at the top's budget."""
        if self.joules:
            return [above - below for below, above in itertools.pairwise((0.0, *self.joules))]
        top = self._work(self.top)
        stretches = [above - below for below, above in itertools.pairwise((0, *self.ends))]
        return [epochs * self._work(rung) / top for epochs, rung in zip(stretches, self.rungs, strict=True)]

    def rung_for(self, epochs_done: int) -> int:
        """Return the index of the rung at whose budget the next epoch runs (the last one when all are done).

        Only for ladders of epochs: with joules it is the rung above the last that the trial has completed.
        """
        return min(bisect.bisect_right(self.ends, epochs_done), len(self.rungs) - 1)

    def rung_completed_at(self, epochs_done: int, used_mj: int = 0, at_rung: int = 0) -> int | None:
        """Return the index of the rung that is completed after exactly `epochs_done` epochs, if any.

        An epoch that reaches the joules of several rungs completes only the highest of them. The rungs it
        skips get no result: it would have taken more joules than other trials had there.

        Args:
            used_mj: Millijoules of these epochs.
            at_rung: The rung at whose budget the last of them ran.
        """
        if not self.joules:
            return self.ends.index(epochs_done) if epochs_done in self.ends else None
        if epochs_done >= self.top.epochs:
            return len(self.rungs) - 1
        # Whole millijoules on both sides: counters are integers, and 0.1 + 0.2 J must reach a rung of 0.3 J.
        reached = bisect.bisect_right([to_millijoules(joules) for joules in self.joules], used_mj) - 1
        return reached if reached >= at_rung else None

    def begins_training_at(self, epochs_done: int) -> bool:
        """Whether the next epoch is the first of a training: the only one, or a rung's own."""
        return epochs_done == 0 or (self.horizon == "rung" and epochs_done in self.ends)

    def training_budget(self, epochs_done: int) -> Budget:
        """Return the budget that the schedule of the next epoch's training spans: the rung's or the top's."""
        return self.rungs[self.rung_for(epochs_done)] if self.horizon == "rung" else self.top

    def epoch_work(self, rung: int) -> float:
        """Return the work of an epoch at `rung`, as examples times pixels or tokens, for ratios of rungs."""
        return self._work(self.rungs[rung])

    def work_share(self, epochs_done: int) -> float:
        """Return the work of `epochs_done` epochs, examples times pixels, as a fraction of full training's.

        It may exceed 1 with the horizon "rung", where a trial trains once per rung: on rungs of 1, 2 and 3
        plain epochs the way to the top takes 6 epochs and a full training 3.
        """
        done = sum(self._work(self.rungs[self.rung_for(epoch)]) for epoch in range(epochs_done))
        if self.horizon == "rung":
            return done / (self.top.epochs * self._work(self.top))
        return done / sum(self._work(self.rungs[self.rung_for(epoch)]) for epoch in range(self.ends[-1]))

    def work_share_at(self, rungs: Iterable[int]) -> float:
        """Return the work of one epoch at each of these rungs as a fraction of a full training's.

        For rungs of joules. Their number of epochs differs from trial to trial, so full training means what
        promotion runs: all epochs at the top rung's budget.
        """
        return sum(self._work(self.rungs[rung]) for rung in rungs) / (self.top.epochs * self._work(self.top))

    def with_top(
        self, *, epochs: int | None = None, subset: float | int | None = None, resolution: int | None = None
    ) -> Ladder:
        """Return the ladder with another top; the lower rungs keep their proportions.

        Rungs whose epochs are equal after rounding are merged into the larger one. Joules do not change.
        """
        rungs = [
            Budget(
                epochs=_proportional(rung.epochs, self.top.epochs, epochs or self.top.epochs),
                subset=_scaled_subset(rung.subset, self.top.subset, subset),
                resolution=rung.resolution
                if resolution is None
                else _proportional(rung.resolution or 1, self.top.resolution or 1, resolution),
                validation=rung.validation,
            )
            for rung in self.rungs
        ]
        if self.joules:
            return replace(self, rungs=tuple(rungs))
        by_epochs = {
            rung.epochs: rung for rung in rungs
        }  # the later, larger one of rungs with equal epochs stays
        return replace(self, rungs=tuple(by_epochs.values()))

    def resized(self, schedule: Sequence[tuple[int, int]]) -> Ladder:
        """Return a ladder of full training in one go with growing images.

        Args:
            schedule: Epochs, counted from 1, each with the resolution from there on, such as
                [(1, 14), (3, 20), (5, 28)]. The last resolution is the top's.

        Raises:
            ValueError: The epochs do not begin with 1 and rise within the top's epochs.
        """
        firsts = [first for first, _ in schedule]
        if not firsts or firsts[0] != 1 or sorted(set(firsts)) != firsts or firsts[-1] > self.top.epochs:
            raise ValueError(
                f"epochs must begin with 1 and rise up to {self.top.epochs} at most, got {firsts}"
            )
        ends = [*(first - 1 for first in firsts[1:]), self.top.epochs]
        rungs = [
            replace(self.top, epochs=end, resolution=resolution)
            for end, (_, resolution) in zip(ends, schedule, strict=True)
        ]
        return Ladder(tuple(rungs), resolution_unit=self.resolution_unit)

    def only_top(self) -> Ladder:
        """Return full training from the first epoch on, under one schedule: what promotion runs."""
        return Ladder((self.top,), resolution_unit=self.resolution_unit)

    def _work(self, budget: Budget) -> float:
        # Twice the resolution is four times the pixels, but twice the tokens.
        power = 2 if self.resolution_unit == "px" else 1
        return (budget.subset or 1.0) * float(budget.resolution or 1) ** power


def grid_of(ends: Sequence[int]) -> list[int]:
    """Return the epochs at which a curve is read and its trial may pause: each a third more than the last.

    1, 2, 3, 4, 5, 7, 9, 12, 16, 22, 30, ...: six times fewer decisions than with every epoch, and five times
    finer than rungs of eta 3. Epochs close to the end of a rung are left out, because a second pause there
    would show nothing new.

    Args:
        ends: Epochs at which rungs end, all of which are returned too; the last is the top.
    """
    found, epochs = [], 1
    while epochs < ends[-1]:
        if all(epochs == end or max(epochs, end) > _LEAST_RATIO * min(epochs, end) for end in ends):
            found.append(epochs)
        epochs = max(epochs + 1, round(epochs * _RATIO))
    return sorted({*found, *ends})


def _is_rising(values: Sequence[float]) -> bool:
    return all(earlier < later for earlier, later in itertools.pairwise(values))


def _check_axis(axis: str, values: Sequence[float | int | None]) -> None:
    given = [value for value in values if value is not None]
    if given and len(given) != len(values):
        raise ValueError(f"{axis} must be given for every rung or for none, got {list(values)}")
    if len({type(value) for value in given}) > 1:
        raise ValueError(f"{axis} must be all fractions or all counts, got {given}")
    if any(later < earlier for earlier, later in itertools.pairwise(given)):
        raise ValueError(f"{axis} must not fall from rung to rung, got {given}")


def _proportional(value: int, top: int, new_top: int) -> int:
    return max(1, round(value * new_top / top))


def _scaled_subset(
    value: float | int | None, old_top: float | int | None, new_top: float | int | None
) -> float | int | None:
    if new_top is None:
        return value
    share = 1.0 if value is None or old_top is None else value / old_top
    return max(1, round(share * new_top)) if isinstance(new_top, int) else share * new_top


_NOT_ENDS = frozenset({"disk_gib", "cache_gib", "grace_minutes", "epoch_minutes"})


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the whole search may use; None means no limit.

    Attributes:
        kwh: Energy of all devices, idle power included.
        co2e_kg: CO2 equivalents of the same energy by `tariff`, as `cost` is its cost in the tariff's
            currency.
        disk_gib: Size of all checkpoints.
        cache_gib: Size of decoded data on each node.
        grace_minutes: How long running epochs may continue once the run is to end; defaults to two minutes,
            or `hours` if that is shorter, but at least 10 s.
        epoch_minutes: Longest duration of a single epoch.
        stop_when_flat: The search ends once further trials are unlikely to gain anything.
    """

    trials: int | None = None
    hours: float | None = None
    kwh: float | None = None
    disk_gib: float | None = None
    cache_gib: float | None = None
    grace_minutes: float | None = None
    epoch_minutes: float | None = None
    stop_when_flat: bool = False
    co2e_kg: float | None = None
    cost: float | None = None
    tariff: Tariff = field(default_factory=Tariff)

    @property
    def stated(self) -> dict[str, Any]:
        """The limits as a space writes them, including those that are None."""
        return {name: value for name, value in vars(self).items() if name != "tariff"}

    @property
    def ends(self) -> dict[str, Any]:
        """The limits that end a search, as a space writes them, including those that are None."""
        return {name: value for name, value in self.stated.items() if name not in _NOT_ENDS}

    @property
    def of_energy(self) -> list[EnergyLimit]:
        """The limits on energy, whatever unit they are written in."""
        written = {
            "kwh": (self.kwh, "kWh", 1.0),
            "co2e_kg": (self.co2e_kg, "kg CO2e", (self.tariff.g_per_kwh or 0.0) / 1000),
            "cost": (self.cost, self.tariff.currency, self.tariff.cost_per_kwh or 0.0),
        }
        return [
            EnergyLimit(key=f"search.limits.{key}", most=most, unit=unit, per_kwh=per_kwh)
            for key, (most, unit, per_kwh) in written.items()
            if most is not None and per_kwh > 0
        ]

    @property
    def most_kwh(self) -> float | None:
        """The smallest energy limit, in kilowatt-hours; None means no limit."""
        return min((limit.most / limit.per_kwh for limit in self.of_energy), default=None)

    def without_energy(self) -> Limits:
        return replace(self, kwh=None, co2e_kg=None, cost=None)

    @property
    def epoch_s(self) -> float | None:
        """Longest duration of a single epoch; None means no limit."""
        return None if self.epoch_minutes is None else self.epoch_minutes * 60

    @property
    def grace_s(self) -> float:
        """How long running epochs may continue once the run is to end."""
        if self.grace_minutes is not None:
            return self.grace_minutes * 60
        # A search of one minute must not wait two for its last epochs, but each may finish a step and save.
        return min(_GRACE_S, max((self.hours or math.inf) * 3600, _LEAST_GRACE_S))


@dataclass(frozen=True, kw_only=True)
class EnergyLimit:
    """A limit on energy, in the unit that the user thinks in.

    Attributes:
        key: Key of the limit in a space.
        most: The limit, in `unit`.
        per_kwh: Amount of `unit` per kilowatt-hour.
    """

    key: str
    most: float
    unit: str
    per_kwh: float


@dataclass(frozen=True, kw_only=True)
class Spent:
    """What a search has used so far; joules are None if no sensor can be read."""

    trials: int = 0
    hours: float = 0.0
    energy_j: float | None = None

    @property
    def kwh(self) -> float | None:
        return None if self.energy_j is None else self.energy_j / JOULES_PER_KWH


def limit_reached(limits: Limits, spent: Spent) -> str | None:
    """Return why no further training may start, as text for the last line; None if no limit is reached.

    The number of trials is not checked here: it stops new trials from starting, while running ones
    continue to their end.
    """
    if limits.hours is not None and spent.hours >= limits.hours:
        return f"{limits.hours:g} h limit reached ({spent.hours:.2f})"
    for limit in limits.of_energy if spent.kwh is not None else ():
        used = (spent.kwh or 0.0) * limit.per_kwh
        if used >= limit.most:
            return f"{_amount(limit.most, 2)} {limit.unit} limit reached ({_amount(used, 3)})"
    return None


def _amount(value: float, digits: int) -> str:
    """Return `value` with `digits` decimals, or with `digits` significant digits if it is under 0.01."""
    return f"{value:.{digits}f}" if value >= 0.01 else f"{value:.{digits}g}"
