"""The joules of one trial: what its rows report, when they settle, and what its windows used besides. Pure.

Two things keep a row's joules from being final at once. Sensors tick: an epoch of 30 ms falls between two
steps of a GPU's counter (100 ms), and a shared device is split up once a second, so `Settlement` distributes
by time what arrives later. And a window, the attempt's account at its meter, stays open a little after the
last row: what its final figures have beyond the rows is a remainder, booked at the rung where the attempt
ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise

from search.energy.reading import KINDS, EnergyReading, EnergySummary
from search.trial import EpochRow

_GPU_PARTS = ("gpu_active_mj", "gpu_context_mj", "gpu_idle_share_mj")
_SAME_S = 1e-6  # tolerance between two sums of the same seconds


@dataclass
class TrialEnergy:
    """The joules of a trial, which add up to the millijoule to what the meters gave it.

    A window is an attempt's account. While it is open its rows are all that is known; once it is closed its
    own figures are the truth, and what they have beyond the rows (the end of a killed attempt, the moment
    between the last row and the end) is a remainder. Starts are counted separately.

    Attributes:
        remainders: For each window, the rung it ended in and the remainder.
        closed: The figures of each closed window, oldest first.
    """

    remainders: dict[str, tuple[int, EnergyReading]] = field(default_factory=dict)
    closed: dict[str, EnergySummary] = field(default_factory=dict)
    _of_rows: dict[str, EnergyReading] = field(default_factory=dict)
    _of_starts: dict[str, EnergyReading] = field(default_factory=dict)
    _windows_with_start: set[str] = field(default_factory=set)
    _settlements: dict[str, Settlement] = field(default_factory=dict, repr=False, compare=False)

    def book(self, row: EpochRow, rows: list[EpochRow]) -> EpochRow:
        """Add the row to `rows`, give earlier rows their part of its joules, and return what it adds in all.

        A row whose window is closed adds nothing: the window includes it already.
        """
        if row.start_s is not None:
            self._windows_with_start.add(row.window)
        if row.window in self.closed:
            row = replace(row, energy=EnergyReading(), start_energy=EnergyReading(), lag_s={})
            rows.append(row)
            return row
        self._of_rows[row.window] = self._of_rows.get(row.window, EnergyReading()) + row.energy
        self._of_starts[row.window] = self._of_starts.get(row.window, EnergyReading()) + row.start_energy
        if row.sensors or row.window not in self._settlements:  # an attempt's first row
            self._settlements[row.window] = Settlement()
        rows.append(row)
        self._settlements[row.window].add(rows)
        return row

    def close(self, summary: EnergySummary, rows: list[EpochRow]) -> tuple[EnergyReading, EnergyReading]:
        """Close a window with its final account; return its remainder, and that of its starts.

        Rows that waited for their joules get their share of the remainder.
        """
        window = summary.window
        remainder = _beyond(summary.reading, self._of_rows.get(window))
        self.closed[window] = summary
        settlement = self._settlements.pop(window, None) or Settlement()
        left = settlement.close(rows, remainder, summary.seconds)
        self.remainders[window] = (rows[-1].rung if rows else 0), left
        return remainder, _beyond(summary.start, self._of_starts.get(window))

    def end_own(self) -> None:
        """Drop the settlement of the trial's own meter.

        Its account is never closed, and the next attempt has another one.
        """
        self._settlements.pop("", None)

    @property
    def total(self) -> EnergyReading:
        """Everything but starts; the parts of the GPU's joules are those of the closed windows."""
        return EnergyReading.sum(self.by_window().values())

    @property
    def start_total(self) -> EnergyReading:
        """The energy of all starts."""
        return EnergyReading.sum(self.starts_by_window().values())

    @property
    def closed_s(self) -> float:
        """How long all closed windows were open, starts left out."""
        return float(sum(summary.seconds for summary in self.closed.values()))

    @property
    def start_s_without_rows(self) -> float:
        """Wall time of starts without a row: of attempts that ended before their first epoch did."""
        unseen = self.closed.keys() - self._windows_with_start
        return float(sum(self.closed[window].start_s for window in unseen))

    def by_window(self) -> dict[str, EnergyReading]:
        """What each attempt used: by its account or, if that was never closed, by its rows."""
        return self._of_rows | {name: summary.reading for name, summary in self.closed.items()}

    def starts_by_window(self) -> dict[str, EnergyReading]:
        """What the starts of each attempt used, in the same way."""
        return self._of_starts | {name: summary.start for name, summary in self.closed.items()}

    @property
    def rungs(self) -> set[int]:
        """The rungs that have a remainder."""
        return {rung for rung, _ in self.remainders.values()}

    def at_rung(self, rung: int) -> EnergyReading:
        """The remainders that belong to `rung`."""
        return EnergyReading.sum(reading for at, reading in self.remainders.values() if at == rung)


class Settlement:
    """Gives each row of one attempt its joules when they are known up to the row's end.

    A shared device is settled once a second, and a GPU's counter moves in steps of up to 100 ms.
    What a row reports was used from where the row before it left off up to `lag_s` before its own end. It is
    distributed by time: between two ticks the power is taken as constant.
    """

    def __init__(self) -> None:
        self._end_s = 0.0  # end of the attempt's rows, on a clock that stops during starts
        self._reached_s = dict.fromkeys(KINDS, 0.0)
        self._spans: dict[int, tuple[float, float]] = {}
        self._shares: dict[tuple[int, str], EnergyReading] = {}

    def add(self, rows: list[EpochRow]) -> None:
        """Settle the last of `rows` in place: rows have no joules of a part until these are known in full."""
        place, row = len(rows) - 1, rows[-1]
        begin_s, self._end_s = self._end_s, self._end_s + row.total_s
        self._spans[place] = begin_s, self._end_s
        for kind in KINDS:
            arrived, lag_s = row.energy.only(kind), row.lag_s.get(kind, 0.0)
            if arrived.part_mj(kind) is not None:
                places = [*self._waiting(rows, kind, before=place), place]
                self._spread(rows, kind, arrived, places, self._end_s - lag_s)

    def close(self, rows: list[EpochRow], remainder: EnergyReading, seconds: float) -> EnergyReading:
        """Distribute what was used beyond the rows' reports; return the part that falls after the last row.

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


def _beyond(total: EnergyReading, of_rows: EnergyReading | None) -> EnergyReading:
    """What `total` has beyond the rows; a part that no row has is included in full."""
    if of_rows is None:
        return total
    kinds = [kind for kind in KINDS if of_rows.part_mj(kind) is None]
    whole = EnergyReading.sum(total.only(kind) for kind in kinds)
    return (total - of_rows).without(kinds) + whole


def _with(row: EpochRow, kind: str, energy: EnergyReading, *, is_whole: bool) -> EpochRow:
    others = row.energy.without([kind])
    if not is_whole:
        return replace(row, energy=others)
    lag_s = {other: seconds for other, seconds in row.lag_s.items() if other != kind}
    return replace(row, energy=others + energy, lag_s=lag_s)


def _split(energy: EnergyReading, seconds: Sequence[float]) -> list[EnergyReading]:
    """Split `energy` by time into whole millijoules that add up to it; all to the last if no time passed."""
    total_s = sum(seconds)
    ends = [end_s / total_s if total_s else 0.0 for end_s in (0.0, *accumulate(seconds))]
    ends[-1] = 1.0
    return [_with_gpu_sum(_between(energy, low, high)) for low, high in pairwise(ends)]


def _between(energy: EnergyReading, low: float, high: float) -> EnergyReading:
    return energy.each(lambda mj: round(mj * high) - round(mj * low))


def _with_gpu_sum(share: EnergyReading) -> EnergyReading:
    """Recompute the GPU's sum, as each part was rounded by itself."""
    parts = [getattr(share, name) for name in _GPU_PARTS]
    return share if None in parts else replace(share, gpu_mj=sum(parts))
