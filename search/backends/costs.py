"""What configurations were seen to take, epoch by epoch: the forecast's only measured input. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from search.budget import Ladder
from trainables.core.contract import ValidationResolution


@dataclass(frozen=True, kw_only=True)
class PointCost:
    """What one configuration takes.

    Attributes:
        start_s: From the moment a warm worker is given a training to its first epoch.
        warm_up_s: What the first epoch of each start takes longer than others: a script's imports, kernels.
        epoch_s: An epoch at each rung, scoring included; None where it was not seen.
        scoring_s: What of it scoring takes, where that is the same at each rung.
        epoch_j: Its joules; None where no sensor was read. `start_j` are those of `start_s`.
        checkpoint_mib: One checkpoint of it.
        weights_mib: What a trial leaves that ends its top rung; None where it leaves no weights.
    """

    hparams: Mapping[str, Any]
    start_s: float
    epoch_s: tuple[float | None, ...]
    warm_up_s: float = 0.0
    scoring_s: float = 0.0
    epoch_j: tuple[float | None, ...] = ()
    start_j: float = 0.0
    checkpoint_mib: float | None = None
    weights_mib: float | None = None


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What is known of a space's configurations.

    Args:
        points: At least one.
        source: Where it is known from, in words.
        first_s: From the command to the first epoch, once a run: a worker that loads its libraries and data.
        first_j: What each worker uses meanwhile.
        unsure_first_s: How much longer that may take, or by half as much shorter; 0 where it was seen.
        unsure_start_s: What a start took that had to load everything, where no warm worker's was seen.
    """

    points: tuple[PointCost, ...]
    source: str
    first_s: float
    first_j: float = 0.0
    unsure_first_s: float = 0.0
    unsure_start_s: float = 0.0

    @classmethod
    def of_nothing(cls, num_rungs: int) -> Costs:
        """An epoch is a second, to count by."""
        point = PointCost(hparams={}, start_s=0.0, epoch_s=(1.0,) * num_rungs)
        return cls(points=(point,), source="", first_s=0.0)

    def of(self, hparams: Mapping[str, Any]) -> PointCost:
        """The seen configuration that should cost what `hparams` do.

        It has as many of the same names (model, optimizer, ...) as any; of those it is the nearest in batch
        size, which decides how many steps an epoch has and how well each uses the device.
        """
        num_same = [_num_same_names(point.hparams, hparams) for point in self.points]
        alike = [point for point, num in zip(self.points, num_same, strict=True) if num == max(num_same)]
        return min(alike, key=lambda point: _distance(point.hparams, hparams))


def filled(points: Sequence[PointCost], ladder: Ladder) -> tuple[PointCost, ...]:
    """The points with the rungs that each did not come to: other points' ratio there, else by the work.

    Work is examples times pixels, of which scoring has the same at each rung; one epoch at a rung is to one
    at another as the median of the points that were seen at both.
    """
    seconds, joules = [one.epoch_s for one in points], [one.epoch_j for one in points]
    return tuple(
        replace(
            point,
            epoch_s=_filled(seconds, point.epoch_s, ladder, fixed=point.scoring_s),
            epoch_j=_filled(joules, point.epoch_j, ladder, fixed=_scoring_j(point)),
        )
        for point in points
    )


def fixed_scoring_s(validation_resolution: ValidationResolution, scoring_s: float) -> float:
    """`scoring_s` where it does not grow with the rungs' pixels, else 0."""
    return scoring_s if validation_resolution == "top" else 0.0


def _scoring_j(point: PointCost) -> float:
    """Scoring's share of the joules: that of its time."""
    both = [(s, j) for s, j in zip(point.epoch_s, point.epoch_j, strict=False) if s and j is not None]
    return min((j * min(1.0, point.scoring_s / s) for s, j in both), default=0.0)


def _filled(
    all_rows: Sequence[Sequence[float | None]], row: Sequence[float | None], ladder: Ladder, *, fixed: float
) -> tuple[float | None, ...]:
    seen = {rung: value for rung, value in enumerate(row) if value is not None}
    if not seen:
        return tuple(row)
    nearest = [min(seen, key=lambda known: abs(known - rung)) for rung in range(len(row))]
    ratios = [_ratio(all_rows, known, rung) for rung, known in enumerate(nearest)]
    by_work = [ladder.epoch_work(rung) / ladder.epoch_work(known) for rung, known in enumerate(nearest)]
    return tuple(
        seen[known] * ratio if ratio is not None else fixed + max(0.0, seen[known] - fixed) * work
        for known, ratio, work in zip(nearest, ratios, by_work, strict=True)
    )


def _ratio(all_rows: Sequence[Sequence[float | None]], known: int, rung: int) -> float | None:
    """What an epoch at `rung` is to one at `known`, where a point was seen at both."""
    if rung == known:
        return 1.0
    pairs = [(other[rung], other[known]) for other in all_rows if len(other) > max(rung, known)]
    ratios = [there / here for there, here in pairs if there is not None and here]
    return statistics.median(ratios) if ratios else None


def _num_same_names(seen: Mapping[str, Any], asked: Mapping[str, Any]) -> int:
    return sum(
        asked.get(name) == value for name, value in seen.items() if isinstance(value, str | bool | None)
    )


def _distance(seen: Mapping[str, Any], asked: Mapping[str, Any]) -> float:
    sizes = seen.get("batch_size"), asked.get("batch_size")
    if all(isinstance(size, int | float) and size > 0 for size in sizes):
        return abs(math.log(sizes[0] / sizes[1]))  # type: ignore[operator]
    return 0.0
