"""A table of recorded trainings as a search space: points in a unit cube."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from trainables.curves import Curves, Numbers, load_curves

Point = tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Table:
    """Recorded trainings, one per row.

    Attributes:
        points: Coordinates of each row, (rows, dimensions).
        val_accuracy: (rows, epochs).
        seconds: Duration of each epoch, (rows, epochs).
    """

    name: str
    points: Numbers
    val_accuracy: Numbers
    seconds: Numbers

    @property
    def num_dimensions(self) -> int:
        return int(self.points.shape[1])

    @property
    def num_epochs(self) -> int:
        return int(self.val_accuracy.shape[1])

    def regret(self, accuracy: Numbers, best: float) -> Numbers:
        """How far `accuracy` is below `best`: 0 is `best`, 1 the median of all full trainings."""
        return (best - accuracy) / (best - float(np.median(self.val_accuracy[:, -1])))


@lru_cache(maxsize=2)
def load_table(path: Path) -> Table:
    return table_of(path.stem, load_curves(path))


def table_of(name: str, curves: Curves) -> Table:
    """The table with each hyperparameter replaced by its relative rank, from 0 to 1.

    LCBench's points are uniform draws, some of them on a log scale, so ranks undo the scale; the other
    tables were chosen by hand, so ranks spread them out. Epochs last 1 s where no time was recorded.
    """
    shape = curves.val_accuracy.shape
    return Table(
        name=name,
        points=np.apply_along_axis(_share_of_ranks, 0, curves.hparams),
        val_accuracy=curves.val_accuracy,
        seconds=np.ones(shape) if curves.seconds is None else curves.seconds,
    )


def _share_of_ranks(values: Numbers) -> Numbers:
    """Relative ranks; equal values share the middle of their ranks."""
    ordered = np.sort(values)
    below = np.searchsorted(ordered, values, side="left")
    up_to = np.searchsorted(ordered, values, side="right") - 1
    return (below + up_to) / 2 / (len(values) - 1)


class Rows:
    """Assigns a row to each proposed point: the nearest that no other point of this search has.

    With 1,000 rows in 7 dimensions the two lie 0.3 to 0.7 apart, so `Contender.on_placed` gets the row's own
    point. A point that is a taken row's own, as when a configuration is proposed again, maps to that row.
    """

    def __init__(self, table: Table) -> None:
        self._points = table.points
        self._row_of: dict[Point, int] = {}
        self._is_taken = np.zeros(len(table.points), bool)

    def row_of(self, point: Sequence[float]) -> int:
        """The row of `point`, the same every time."""
        key = tuple(point)
        if key not in self._row_of:
            if self._is_taken.all():
                raise ValueError(f"all {len(self._points)} rows are taken; lower the epochs of the search")
            distance = ((self._points - np.array(key)) ** 2).sum(axis=1)
            distance[self._is_taken] = np.inf
            row = self._row_of[key] = int(distance.argmin())
            self._row_of.setdefault(tuple(self._points[row].tolist()), row)
            self._is_taken[row] = True
        return self._row_of[key]
