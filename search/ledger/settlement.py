"""Which epoch used what a meter reports late: epochs may be shorter than its ticks. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate, pairwise

from search.energy.reading import KINDS, EnergyReading
from search.trial import EpochRow

_GPU_PARTS = ("gpu_active_mj", "gpu_context_mj", "gpu_idle_share_mj")
_SAME_S = 1e-6  # two sums of the same seconds


class Settlement:
    """Gives each row of one attempt its joules when they are known up to the row's end.

    A shared device is settled once a second, and a GPU's counter moves in steps of up to 100 ms.
    What a row reports was used up to `lag_s` before its end, from where the row before it left off. It is
    shared out by time: between two ticks the power is taken as constant.
    """

    def __init__(self) -> None:
        self._end_s = 0.0  # of the attempt's rows, on a clock that stops during starts
        self._reached_s = dict.fromkeys(KINDS, 0.0)
        self._spans: dict[int, tuple[float, float]] = {}
        self._shares: dict[tuple[int, str], EnergyReading] = {}

    def add(self, rows: list[EpochRow]) -> None:
        """Take in the last of `rows`. In place, rows that wait lose what is not known whole, or get it."""
        place, row = len(rows) - 1, rows[-1]
        begin_s, self._end_s = self._end_s, self._end_s + row.total_s
        self._spans[place] = begin_s, self._end_s
        for kind in KINDS:
            arrived, lag_s = row.energy.only(kind), row.lag_s.get(kind, 0.0)
            if arrived.part_mj(kind) is not None:
                places = [*self._waiting(rows, kind, before=place), place]
                self._spread(rows, kind, arrived, places, self._end_s - lag_s)

    def close(self, rows: list[EpochRow], remainder: EnergyReading, seconds: float) -> EnergyReading:
        """Share out what was used beyond the rows' reports; gives the part of the time after the last one.

        Args:
            seconds: How long the attempt lasted, starts left out.
        """
        place, end_s = len(rows), max(self._end_s, seconds)
        self._spans[place] = self._end_s, end_s
        left = EnergyReading()
        for kind in KINDS:
            arrived = remainder.only(kind)
            if arrived.part_mj(kind) is not None:
                waiting = self._waiting(rows, kind, before=place)
                self._spread(rows, kind, arrived, [*waiting, place], end_s)
                left = left + self._shares.pop((place, kind))
        return left

    def _waiting(self, rows: Sequence[EpochRow], kind: str, *, before: int) -> list[int]:
        return [place for place in self._spans if place < before and kind in rows[place].lag_s]

    def _spread(
        self, rows: list[EpochRow], kind: str, arrived: EnergyReading, places: Sequence[int], until_s: float
    ) -> None:
        since_s, self._reached_s[kind] = self._reached_s[kind], max(self._reached_s[kind], until_s)
        spans = [self._spans[place] for place in places]
        overlaps_s = [max(0.0, min(end_s, until_s) - max(begin_s, since_s)) for begin_s, end_s in spans]
        for place, share, (_, end_s) in zip(places, _split(arrived, overlaps_s), spans, strict=True):
            whole = self._shares.get((place, kind), EnergyReading()) + share
            self._shares[place, kind] = whole
            if place < len(rows):
                rows[place] = _with(rows[place], kind, whole, is_whole=end_s <= until_s + _SAME_S)


def _with(row: EpochRow, kind: str, energy: EnergyReading, *, is_whole: bool) -> EpochRow:
    others = row.energy.without([kind])
    if not is_whole:
        return replace(row, energy=others)
    lag_s = {other: seconds for other, seconds in row.lag_s.items() if other != kind}
    return replace(row, energy=others + energy, lag_s=lag_s)


def _split(energy: EnergyReading, seconds: Sequence[float]) -> list[EnergyReading]:
    """Whole millijoules by time, which add up to `energy`; all of it to the last where no time passed."""
    total_s = sum(seconds)
    ends = [end_s / total_s if total_s else 0.0 for end_s in (0.0, *accumulate(seconds))]
    ends[-1] = 1.0
    return [_with_gpu_sum(_between(energy, low, high)) for low, high in pairwise(ends)]


def _between(energy: EnergyReading, low: float, high: float) -> EnergyReading:
    return energy.each(lambda mj: round(mj * high) - round(mj * low))


def _with_gpu_sum(share: EnergyReading) -> EnergyReading:
    """Each part was rounded by itself."""
    parts = [getattr(share, name) for name in _GPU_PARTS]
    return share if None in parts else replace(share, gpu_mj=sum(parts))
