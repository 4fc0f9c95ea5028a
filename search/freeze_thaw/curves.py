"""The learning curves of a search so far, as rows for the model. Pure.

Of each curve only some epochs are rows: 1, 2, 3, 4, 5, 7, 9, 12, ..., each a third more than the one before,
with the ends of the rungs. They hold what a curve on a log scale has to say, and 100 trials make 300 rows,
not thousands. Where they would still be too many for a model, the worst curves keep their last point alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from search.freeze_thaw.kernel import Numbers, Places, Rows

# A fit takes 0.3 s there and grows with the third power. Beyond, rows are taken out at each fit, and a fit
# comes whenever there are as many as before.
MOST_ROWS, THINNED_ROWS = 600, 480
_CLIP = 2.0  # spans below the median
_FEWEST = 4  # results at an epoch, for it to have a median of its own


class Curves:
    """What each trial has shown at the times of the grid.

    Args:
        grid: Epochs, rising; or for ladders whose rungs differ in data or resolution their numbers from 1.
    """

    def __init__(self, grid: Sequence[int]) -> None:
        self.grid = list(grid)
        self._place = {epoch: place for place, epoch in enumerate(grid)}
        self._times = np.log1p(np.array(grid, float)) / math.log1p(grid[-1])
        self._numbers: dict[str, int] = {}
        self._points: list[Numbers] = []
        self._trials: list[int] = []
        self._at: list[int] = []
        self._values: list[float] = []
        self._by_place: list[dict[str, float]] = [{} for _ in grid]
        self._reached: dict[str, int] = {}  # the place of the latest row

    def __len__(self) -> int:
        return len(self._values)

    @property
    def trials(self) -> list[str]:
        return list(self._numbers)

    def start(self, trial_id: str, point: Numbers) -> None:
        """Take in a trial that has shown nothing yet."""
        self._numbers[trial_id] = len(self._points)
        self._points.append(point)

    def number(self, trial_id: str) -> int:
        return self._numbers[trial_id]

    def point(self, trial_id: str) -> Numbers:
        return self._points[self._numbers[trial_id]]

    def add(self, trial_id: str, epoch: int, value: float) -> None:
        """Take in an epoch, larger values are better; one that is not on the grid, or was there, changes
        nothing.

        A value that is not finite counts as the lowest that was seen of the trial, or of any at its epoch.
        """
        place = self._place.get(epoch)
        if place is None or place <= self._reached.get(trial_id, -1):
            return
        if not math.isfinite(value):
            known = [*self._by_place[place].values(), *self.values_of(trial_id)]
            if not known:
                return
            value = min(known)
        self._trials.append(self._numbers[trial_id])
        self._at.append(place)
        self._values.append(value)
        self._by_place[place][trial_id] = value
        self._reached[trial_id] = place

    def values_of(self, trial_id: str) -> list[float]:
        """What a trial has shown, in order."""
        return [values[trial_id] for values in self._by_place if trial_id in values]

    def value_at(self, epoch: int) -> Mapping[str, float]:
        """What each trial that has a row of this epoch showed there, in order."""
        return self._by_place[self._place[epoch]]

    def reached(self, trial_id: str) -> int:
        """The epoch of a trial's latest row; 0 of none."""
        place = self._reached.get(trial_id)
        return 0 if place is None else self.grid[place]

    def next_epoch(self, trial_id: str) -> int | None:
        """The epoch of the grid that a trial would reach next; None at the top."""
        place = self._reached.get(trial_id, -1) + 1
        return self.grid[place] if place < len(self.grid) else None

    def kept(self, num: int, most: int) -> list[int]:
        """Which of the first `num` rows stay where only `most` can, in order.

        First each curve loses all but its last point, the worst curve first; then, of all but the best, every
        second curve goes as a whole. A curve is as good as its best point.

        Without the middles alone, the ends of bad curves are straight lines: the model then expected 140 and
        216 % of accuracy of new points, where it expected 100 and 107 with all rows, and 102 and 106 so.
        """
        if num <= most:
            return list(range(num))
        worst_first = self._curves_by_value(num)
        before_last = [row for curve in worst_first for row in curve[:-1]]
        lasts = [curve[-1] for curve in worst_first[: -(most // 2)]]
        dropped = set([*before_last, *_every_second(lasts)][: num - most])
        return [row for row in range(num) if row not in dropped]

    def _curves_by_value(self, num: int) -> list[list[int]]:
        """The rows of each trial among the first `num`, the worst trial first; of equal ones the younger."""
        curves: dict[int, list[int]] = {}
        for row, trial in enumerate(self._trials[:num]):
            curves.setdefault(trial, []).append(row)
        best = {trial: max(self._values[row] for row in rows) for trial, rows in curves.items()}
        return [curves[trial] for trial in sorted(curves, key=lambda trial: (best[trial], -trial))]

    def without_rows(self, of: Sequence[int]) -> set[str]:
        """The trials that have shown something, and nothing of it in these rows."""
        shown = {self._trials[row] for row in of}
        return {trial_id for trial_id in self._reached if self._numbers[trial_id] not in shown}

    def rows(self, of: Sequence[int], further: Sequence[tuple[str, int]] = ()) -> Rows:
        """These rows, and behind them one for each trial and epoch in `further`."""
        trials = [
            *(self._trials[row] for row in of),
            *(self._numbers[trial_id] for trial_id, _ in further),
        ]
        at = [*(self._at[row] for row in of), *(self._place[epoch] for _, epoch in further)]
        # Of the trials in question alone: sums over more of them would differ in their last digits.
        points = np.array(self._points[: max(trials, default=-1) + 1]).reshape(-1, len(self._points[0]))
        return Rows(points, np.array(trials, np.int64), self._times, np.array(at, np.int64))

    def scaled(self, of: Sequence[int]) -> Numbers:
        """The values of these rows, with mean 0 and deviation 1.

        What lies far below the median of its own epoch is taken up: one diverged trial would leave all others
        the same value. By epoch, for the first epochs of a good trial lie below the median of all epochs.
        """
        clipped, mean, deviation = self._scale(of)
        return np.asarray((clipped - mean) / deviation, float)

    def unscaled(self, value: float, of: Sequence[int]) -> float:
        """What a value on that scale is."""
        _, mean, deviation = self._scale(of)
        return mean + value * deviation

    def time(self, epoch: int) -> float:
        """u of an epoch of the grid."""
        return float(self._times[self._place[epoch]])

    def _scale(self, of: Sequence[int]) -> tuple[Numbers, float, float]:
        values = np.array([self._values[row] for row in of])
        at = np.array([self._at[row] for row in of], np.int64)
        clipped = np.maximum(values, self._floors(values, at)[at])
        deviation = float(clipped.std())
        return clipped, float(clipped.mean()), deviation if deviation > 0 else 1.0

    def _floors(self, values: Numbers, at: Places) -> Numbers:
        """Of each time of the grid the value below which nothing counts."""
        everything = np.median(values) - _CLIP * (values.max() - np.median(values))
        floors = np.full(len(self.grid), everything)
        for place in np.unique(at):
            here = values[at == place]
            if len(here) >= _FEWEST:
                floors[place] = np.median(here) - _CLIP * (here.max() - np.median(here))
        return floors


def _every_second(rows: Sequence[int]) -> list[int]:
    """All of them: first every second one, then every second of the rest, and so on."""
    found: list[int] = []
    while rows:
        found += rows[::2]
        rows = rows[1::2]
    return found
