"""The learning curves of a search so far, as rows for the model. Pure.

Only some epochs of each curve are rows: 1, 2, 3, 4, 5, 7, 9, 12, ..., each a third more than the one before,
and the ends of the rungs. They hold the information of a curve on a log scale, and 100 trials make 300 rows,
not thousands. If a model would still have too many, the worst curves keep only their last point.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from search.freeze_thaw.kernel import Numbers, Places, Rows

# A fit of 600 rows takes 0.3 s, and the time grows with the third power. Beyond that, each fit drops rows
# down to 480, and the next comes when there are 600 again.
MOST_ROWS, THINNED_ROWS = 600, 480
_CLIP = 2.0  # spans below the median
_FEWEST = 4  # results that an epoch needs to have a median of its own


class Curves:
    """The values of each trial at the times of the grid.

    Args:
        grid: Epochs in ascending order; for ladders whose rungs differ in data or resolution, rung numbers
            from 1.
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
        """Add a trial that has no values yet."""
        self._numbers[trial_id] = len(self._points)
        self._points.append(point)

    def number(self, trial_id: str) -> int:
        return self._numbers[trial_id]

    def point(self, trial_id: str) -> Numbers:
        return self._points[self._numbers[trial_id]]

    def add(self, trial_id: str, epoch: int, value: float) -> None:
        """Record the value of an epoch, larger being better; ignore one off the grid or not past the latest.

        A value that is not finite counts as the lowest so far of the trial and of all trials at this epoch;
        if there is none, it is ignored.
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
        """Return the values of a trial, in order."""
        return [values[trial_id] for values in self._by_place if trial_id in values]

    def value_at(self, epoch: int) -> Mapping[str, float]:
        """Return the value at this epoch of each trial that has a row there, in order of arrival."""
        return self._by_place[self._place[epoch]]

    def reached(self, trial_id: str) -> int:
        """Return the epoch of a trial's latest row; 0 if it has none."""
        place = self._reached.get(trial_id)
        return 0 if place is None else self.grid[place]

    def next_epoch(self, trial_id: str) -> int | None:
        """Return the epoch of the grid that a trial reaches next; None at the top."""
        place = self._reached.get(trial_id, -1) + 1
        return self.grid[place] if place < len(self.grid) else None

    def kept(self, num: int, most: int) -> list[int]:
        """Return which of the first `num` rows stay if at most `most` can, in order.

        Curves first lose all but their last point, the worst curve first; then every second curve outside the
        best `most` / 2 goes entirely. A curve is as good as its best point.

        If curves lost only their earlier points, the ends of bad ones would form straight lines: the model
        then predicted accuracies of 140 and 216 % for new points, against 100 and 107 with all rows, and 102
        and 106 with this rule.
        """
        if num <= most:
            return list(range(num))
        worst_first = self._curves_by_value(num)
        before_last = [row for curve in worst_first for row in curve[:-1]]
        lasts = [curve[-1] for curve in worst_first[: -(most // 2)]]
        dropped = set([*before_last, *_every_second(lasts)][: num - most])
        return [row for row in range(num) if row not in dropped]

    def _curves_by_value(self, num: int) -> list[list[int]]:
        """Return each trial's rows among the first `num`, worst trial first, of equal ones the younger."""
        curves: dict[int, list[int]] = {}
        for row, trial in enumerate(self._trials[:num]):
            curves.setdefault(trial, []).append(row)
        best = {trial: max(self._values[row] for row in rows) for trial, rows in curves.items()}
        return [curves[trial] for trial in sorted(curves, key=lambda trial: (best[trial], -trial))]

    def without_rows(self, of: Sequence[int]) -> set[str]:
        """Return the trials that have rows, but none among these."""
        shown = {self._trials[row] for row in of}
        return {trial_id for trial_id in self._reached if self._numbers[trial_id] not in shown}

    def rows(self, of: Sequence[int], further: Sequence[tuple[str, int]] = ()) -> Rows:
        """Return these rows, followed by one for each trial and epoch in `further`."""
        trials = [
            *(self._trials[row] for row in of),
            *(self._numbers[trial_id] for trial_id, _ in further),
        ]
        at = [*(self._at[row] for row in of), *(self._place[epoch] for _, epoch in further)]
        # Only the points up to the last trial in question: sums over more would differ in their last digits.
        points = np.array(self._points[: max(trials, default=-1) + 1]).reshape(-1, len(self._points[0]))
        return Rows(points, np.array(trials, np.int64), self._times, np.array(at, np.int64))

    def scaled(self, of: Sequence[int]) -> Numbers:
        """Return the values of these rows, scaled to mean 0 and deviation 1.

        Values far below the median of their own epoch are raised: otherwise one diverged trial would make all
        others look the same. The median is per epoch, because the first epochs of a good trial lie below the
        median of all epochs.
        """
        clipped, mean, deviation = self._scale(of)
        return np.asarray((clipped - mean) / deviation, float)

    def unscaled(self, value: float, of: Sequence[int]) -> float:
        """Return a value on the scale of `scaled` in units of the metric."""
        _, mean, deviation = self._scale(of)
        return mean + value * deviation

    def time(self, epoch: int) -> float:
        """Return u of an epoch of the grid."""
        return float(self._times[self._place[epoch]])

    def _scale(self, of: Sequence[int]) -> tuple[Numbers, float, float]:
        values = np.array([self._values[row] for row in of])
        at = np.array([self._at[row] for row in of], np.int64)
        clipped = np.maximum(values, self._floors(values, at)[at])
        deviation = float(clipped.std())
        return clipped, float(clipped.mean()), deviation if deviation > 0 else 1.0

    def _floors(self, values: Numbers, at: Places) -> Numbers:
        """Return, for each time of the grid, the value to which lower ones are raised."""
        everything = np.median(values) - _CLIP * (values.max() - np.median(values))
        floors = np.full(len(self.grid), everything)
        for place in np.unique(at):
            here = values[at == place]
            if len(here) >= _FEWEST:
                floors[place] = np.median(here) - _CLIP * (here.max() - np.median(here))
        return floors


def _every_second(rows: Sequence[int]) -> list[int]:
    """Return all rows reordered: first every second one, then every second of the rest, and so on."""
    found: list[int] = []
    while rows:
        found += rows[::2]
        rows = rows[1::2]
    return found
