"""Measured costs of configurations, epoch by epoch: the forecast's only measured input. Pure."""

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
    """The cost of one configuration.

    Attributes:
        start_s: Time from giving the training to a warm worker to its first epoch.
        warm_up_s: Extra time of the first epoch after each start: a script's imports, kernels.
        epoch_s: Time of an epoch at each rung, scoring included; None where it was not seen.
        scoring_s: The part of `epoch_s` that is scoring, if it is the same at each rung.
        epoch_j: Joules of an epoch at each rung; None if no sensor was read. `start_j` is that of `start_s`.
        checkpoint_mib: Size of one checkpoint.
        weights_mib: Size of what a trial leaves when it completes its top rung; None if it leaves no weights.
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
    """What is known about the costs of a space's configurations.

    Args:
        points: At least one.
        source: Where the costs are known from, in words.
        first_s: Time from the command to the first epoch, once per run: workers load libraries and data.
        first_j: Joules of each worker in that time.
        unsure_first_s: How much longer that may take; it may be shorter by half as much. 0 if it was seen.
        unsure_start_s: Time of a start that had to load everything, if none of a warm worker was seen.
    """

    points: tuple[PointCost, ...]
    source: str
    first_s: float
    first_j: float = 0.0
    unsure_first_s: float = 0.0
    unsure_start_s: float = 0.0

    @classmethod
    def of_nothing(cls, num_rungs: int) -> Costs:
        """Return costs of one second per epoch, which suffice to count epochs."""
        point = PointCost(hparams={}, start_s=0.0, epoch_s=(1.0,) * num_rungs)
        return cls(points=(point,), source="", first_s=0.0)

    def of(self, hparams: Mapping[str, Any]) -> PointCost:
        """Return the seen configuration whose cost should be closest to that of `hparams`.

        It shares the most names (model, optimizer, ...). Among several such configurations it is the nearest
        in batch size, which decides how many steps an epoch has and how well each uses the device.
        """
        num_same = [_num_same_names(point.hparams, hparams) for point in self.points]
        alike = [point for point, num in zip(self.points, num_same, strict=True) if num == max(num_same)]
        return min(alike, key=lambda point: _distance(point.hparams, hparams))


def filled(points: Sequence[PointCost], ladder: Ladder) -> tuple[PointCost, ...]:
    """Return the points with costs at the rungs they did not reach, by other points' ratios, or else by work.

    The ratio between two rungs is the median over the points that were seen at both. Work is examples times
    pixels; that of scoring is the same at each rung.
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
    """Return `scoring_s` if it does not grow with the rungs' pixels, else 0."""
    return scoring_s if validation_resolution == "top" else 0.0


def _scoring_j(point: PointCost) -> float:
    """Return the joules of scoring, in proportion to its time."""
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
    """Return the cost of an epoch at `rung` relative to `known`; None if no point was seen at both."""
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
