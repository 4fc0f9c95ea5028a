"""What a trial may use at each rung, what a whole search may use, and why it must end. Pure."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from trainables.core.contract import Budget, Horizon

JOULES_PER_KWH = 3_600_000.0
_GRACE_S, _LEAST_GRACE_S = 120.0, 10.0
NO_RUNG_HORIZON = (
    "must be full or anytime where rungs are measured in joules: how many epochs a rung holds, which its "
    "own schedule would span, is known only when it has ended"
)

Resource = Literal["epochs", "energy_j"]


@dataclass(frozen=True)
class Ladder:
    """Budgets of growing size. A trial that survives rung k goes on at rung k + 1.

    Attributes:
        horizon: What learning-rate schedules span as a trial climbs. "full": the whole ladder, in
            one training. "rung": each rung's own epochs, in a training that begins anew; epochs are
            counted over all of them, so rungs of 1, 2 and 3 epochs end after 1, 3 and 6.
            "anytime": nothing; the rate stays, in one training.
        joules: Where rungs are measured in joules: what the epochs of a trial have used when it ends
            each. A rung ends with the first epoch that reaches its joules. The epochs of the budgets
            are then one number, the cap of a training, and whoever reaches it ends the top rung.
        resolution_unit: What the budgets' resolution counts. Work grows with its square where that is
            pixels of a side, else with itself.

    Raises:
        ValueError: No rung, or an axis that falls (epochs or joules must rise) from rung to rung.
    """

    rungs: tuple[Budget, ...]
    horizon: Horizon = "full"
    joules: tuple[float, ...] = ()
    resolution_unit: str = "px"

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
        """What rungs are measured in."""
        return "energy_j" if self.joules else "epochs"

    @property
    def steps(self) -> list[int]:
        """What a sampler takes for the size of each rung: its epochs, or its place among rungs of joules."""
        return list(range(len(self.rungs))) if self.joules else [rung.epochs for rung in self.rungs]

    @property
    def top(self) -> Budget:
        """The largest budget: full training."""
        return self.rungs[-1]

    @property
    def ends(self) -> list[int]:
        """How many epochs a trial has run when it ends each rung, those before a new start included.

        With joules: at most so many.
        """
        epochs = [rung.epochs for rung in self.rungs]
        return list(itertools.accumulate(epochs)) if self.horizon == "rung" else epochs

    def rung_for(self, epochs_done: int) -> int:
        """Index of the rung at whose budget the next epoch runs (the last one when all are done).

        Of a ladder of epochs: on one of joules it is the rung above the last that the trial has ended.
        """
        return min(bisect.bisect_right(self.ends, epochs_done), len(self.rungs) - 1)

    def rung_ended_at(self, epochs_done: int, used_mj: int = 0, at_rung: int = 0) -> int | None:
        """Index of the rung that ends after exactly `epochs_done` epochs, if one does.

        An epoch that reaches the joules of several rungs ends the highest of them alone: those it jumps
        have no result, for it would be one of more joules than the others had there.

        Args:
            used_mj: By these epochs.
            at_rung: At whose budget the last of them ran.
        """
        if not self.joules:
            return self.ends.index(epochs_done) if epochs_done in self.ends else None
        if epochs_done >= self.top.epochs:
            return len(self.rungs) - 1
        reached = bisect.bisect_right([round(joules * 1000) for joules in self.joules], used_mj) - 1
        return reached if reached >= at_rung else None

    def starts_anew_at(self, epochs_done: int) -> bool:
        """Whether the next epoch is the first of a training."""
        return epochs_done == 0 or (self.horizon == "rung" and epochs_done in self.ends)

    def training_budget(self, epochs_done: int) -> Budget:
        """The largest budget of the training that the next epoch belongs to: what its schedule spans."""
        return self.rungs[self.rung_for(epochs_done)] if self.horizon == "rung" else self.top

    def epoch_work(self, rung: int) -> float:
        """The size of an epoch at `rung`, examples times pixels or tokens: meant for ratios between rungs."""
        return self._work(self.rungs[rung])

    def work_share(self, epochs_done: int) -> float:
        """How much of a full training's work so many epochs are: examples times pixels.

        Above 1 with the horizon "rung", where an ascent is several trainings.
        """
        done = sum(self._work(self.rungs[self.rung_for(epoch)]) for epoch in range(epochs_done))
        if self.horizon == "rung":
            return done / (self.top.epochs * self._work(self.top))
        return done / sum(self._work(self.rungs[self.rung_for(epoch)]) for epoch in range(self.ends[-1]))

    def work_share_at(self, rungs: Iterable[int]) -> float:
        """How much of a full training's work one epoch at each of these rungs is, on a ladder of joules.

        How far each rung reaches differs from trial to trial there, so that full training is what promotion
        runs: all epochs at the top rung's budget.
        """
        return sum(self._work(self.rungs[rung]) for rung in rungs) / (self.top.epochs * self._work(self.top))

    def with_top(
        self, *, epochs: int | None = None, subset: float | int | None = None, resolution: int | None = None
    ) -> Ladder:
        """The same ladder with another top; the lower rungs keep their proportions.

        Rungs whose epochs fall together after rounding are merged into the larger one. Joules stay.
        """
        rungs = [
            Budget(
                epochs=_proportional(rung.epochs, self.top.epochs, epochs or self.top.epochs),
                subset=_scaled_subset(rung.subset, self.top.subset, subset),
                resolution=rung.resolution
                if resolution is None
                else _proportional(rung.resolution or 1, self.top.resolution or 1, resolution),
            )
            for rung in self.rungs
        ]
        if self.joules:
            return replace(self, rungs=tuple(rungs))
        by_epochs = {rung.epochs: rung for rung in rungs}  # a later, larger rung replaces its equal
        return replace(self, rungs=tuple(by_epochs.values()))

    def resized(self, schedule: Sequence[tuple[int, int]]) -> Ladder:
        """Full training in one go, whose images grow on the way.

        Args:
            schedule: Epochs, counted from 1, each with the side in pixels from there on, such as
                [(1, 14), (3, 20), (5, 28)]. The last side is the top's resolution.

        Raises:
            ValueError: It does not begin at epoch 1 and rise within the top's epochs.
        """
        firsts = [first for first, _ in schedule]
        if not firsts or firsts[0] != 1 or sorted(set(firsts)) != firsts or firsts[-1] > self.top.epochs:
            raise ValueError(
                f"epochs must begin with 1 and rise up to {self.top.epochs} at most, got {firsts}"
            )
        ends = [*(first - 1 for first in firsts[1:]), self.top.epochs]
        rungs = [
            replace(self.top, epochs=end, resolution=side)
            for end, (_, side) in zip(ends, schedule, strict=True)
        ]
        return Ladder(tuple(rungs), resolution_unit=self.resolution_unit)

    def only_top(self) -> Ladder:
        """Full training from the first epoch on, under one schedule: what promotion runs."""
        return Ladder((self.top,), resolution_unit=self.resolution_unit)

    def _work(self, budget: Budget) -> float:
        power = 2 if self.resolution_unit == "px" else 1
        return (budget.subset or 1.0) * float(budget.resolution or 1) ** power


def _is_rising(values: Sequence[float]) -> bool:
    return all(earlier < later for earlier, later in itertools.pairwise(values))


def _check_axis(axis: str, values: Sequence[float | int | None]) -> None:
    given = [value for value in values if value is not None]
    if given and len(given) != len(values):
        raise ValueError(f"{axis} must be given for every rung or for none, got {list(values)}")
    if len({type(value) for value in given}) > 1:
        raise ValueError(f"{axis} must be all shares or all counts, got {given}")
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


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the whole search may use; None is no limit.

    `disk_gib` is of checkpoints, `cache_gib` of decoded data on each node. `grace_minutes` is how long epochs
    under way may go on once a run is to end; None is two minutes, or the hours where those are shorter.
    `epoch_minutes` is what any one epoch may take.
    """

    trials: int | None = None
    hours: float | None = None
    kwh: float | None = None
    disk_gib: float | None = None
    cache_gib: float | None = None
    grace_minutes: float | None = None
    epoch_minutes: float | None = None

    @property
    def epoch_s(self) -> float | None:
        """What any one epoch may take."""
        return None if self.epoch_minutes is None else self.epoch_minutes * 60

    @property
    def grace_s(self) -> float:
        """How long epochs under way may go on once the run is to end."""
        if self.grace_minutes is not None:
            return self.grace_minutes * 60
        return min(_GRACE_S, max((self.hours or math.inf) * 3600, _LEAST_GRACE_S))


@dataclass(frozen=True, kw_only=True)
class Spent:
    """What a search has used so far. Joules are None where no sensor can be read."""

    trials: int = 0
    hours: float = 0.0
    energy_j: float | None = None

    @property
    def kwh(self) -> float | None:
        return None if self.energy_j is None else self.energy_j / JOULES_PER_KWH


def limit_reached(limits: Limits, spent: Spent) -> str | None:
    """Why no further training may start, in words for the last line, or None.

    Trials are not among the reasons: they stop new trials from being asked for, while those
    that run go on to their end.
    """
    if limits.hours is not None and spent.hours >= limits.hours:
        return f"{limits.hours:g} h limit reached ({spent.hours:.2f})"
    if limits.kwh is not None and spent.kwh is not None and spent.kwh >= limits.kwh:
        limit, used = (_kwh_text(kwh, digits) for kwh, digits in ((limits.kwh, 2), (spent.kwh, 3)))
        return f"{limit} kWh limit reached ({used})"
    return None


def _kwh_text(kwh: float, digits: int) -> str:
    """As many decimals; of what they would round to nothing, as many significant digits."""
    return f"{kwh:.{digits}f}" if kwh >= 0.01 else f"{kwh:.{digits}g}"
