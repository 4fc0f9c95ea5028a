"""Searches without any library's scheduler."""

from __future__ import annotations

import random
from collections.abc import Sequence

from benchmarks.search_quality.simulate import Answer, Asked
from benchmarks.search_quality.table import Table


class RandomPoints:
    """Random points, each trained in full."""

    def __init__(self, table: Table, seed: int) -> None:
        self._num_dimensions, self._num_epochs = table.num_dimensions, table.num_epochs
        self._random = random.Random(seed)
        self._num_asked = 0

    def next_trial(self) -> Asked | None:
        self._num_asked += 1
        point = [self._random.random() for _ in range(self._num_dimensions)]
        return Asked(str(self._num_asked), point)

    def on_placed(self, trial_id: str, point: Sequence[float]) -> None:
        return None

    def on_epoch(self, trial_id: str, epoch: int, accuracy: float) -> Answer:
        return "stop" if epoch == self._num_epochs else "continue"


class OneEpochThenTop:
    """Random points for one epoch each, with half of all epochs; then the best of them in full."""

    def __init__(self, table: Table, seed: int, num_epochs: int) -> None:
        self._points = RandomPoints(table, seed)
        self._num_first = min(num_epochs // 2, len(table.points))
        self._num_epochs = table.num_epochs
        self._asked: list[Asked] = []
        self._first: dict[str, float] = {}
        self._best_first: list[str] | None = None

    def next_trial(self) -> Asked | None:
        if len(self._asked) < self._num_first:
            asked = self._points.next_trial()
            assert asked
            self._asked.append(asked)
            return asked
        if len(self._first) < self._num_first:
            return None
        if self._best_first is None:
            self._best_first = sorted(self._first, key=self._first.__getitem__)
        return Asked(self._best_first.pop(), ()) if self._best_first else None

    def on_placed(self, trial_id: str, point: Sequence[float]) -> None:
        return None

    def on_epoch(self, trial_id: str, epoch: int, accuracy: float) -> Answer:
        if epoch == 1:
            self._first[trial_id] = accuracy
            return "pause"
        return "stop" if epoch == self._num_epochs else "continue"
