"""Workers that read each epoch from a table: the event loop shared by all contenders."""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from benchmarks.search_quality.table import Rows, Table
from trainables.curves import Numbers

Answer = Literal["continue", "pause", "stop"]


@dataclass(frozen=True)
class Asked:
    """A trial to train at `point`: a new one, or a paused one that resumes where it was."""

    trial_id: str
    point: Sequence[float]


class Contender(Protocol):
    """A scheduler with its sampler. Epochs count from 1."""

    def next_trial(self) -> Asked | None:
        """The trial that a free worker trains next; None if there is none at present."""
        ...

    def on_placed(self, trial_id: str, point: Sequence[float]) -> None:
        """Record the coordinates of the row that stands for a new trial's point, before it trains.

        A model that gets a row's score at the point it proposed would learn from points 0.3 to 0.7 off.
        """
        ...

    def on_epoch(self, trial_id: str, epoch: int, accuracy: float) -> Answer:
        """Record an epoch and return whether the trial continues; after the last epoch never "continue"."""
        ...


@dataclass
class Trial:
    """A row, and how many of its epochs are trained."""

    row: int
    epochs: int = 0


@dataclass(frozen=True, kw_only=True)
class Trace:
    """The state of a search after each epoch spent, over all workers.

    Attributes:
        seen: The best accuracy of any epoch so far.
        picked: Accuracy after full training of the trial that has this best epoch, which is the search's
            result. It may fall when a worse trial shows a better epoch.
        decision_s: CPU seconds of the contender per trial started or resumed, including learning.
    """

    seen: Numbers
    picked: Numbers
    decision_s: float


class Simulation:
    """A search of `table` by `contender` on workers that take the time recorded in the table."""

    def __init__(self, contender: Contender, table: Table, *, num_workers: int = 4) -> None:
        self.trials: dict[str, Trial] = {}
        self._contender, self._table = contender, table
        self._rows = Rows(table)
        self._num_free, self._now_s = num_workers, 0.0
        self._ends: list[tuple[float, int, str]] = []  # seconds, order of start, trial
        self._num_starts = self._num_handed_out = 0
        self._cpu_s = 0.0

    def run(self, num_epochs: int) -> Trace:
        """Spend `num_epochs`, or fewer if the contender has no more to train."""
        full = self._table.val_accuracy[:, -1]
        seen, picked = np.full(num_epochs, np.nan), np.full(num_epochs, np.nan)
        best = best_full = -np.inf
        self._occupy()
        for spent in range(num_epochs):
            if self._ends:
                trial, accuracy = self._end_of_epoch()
                if accuracy > best:
                    best, best_full = accuracy, full[trial.row]
            seen[spent], picked[spent] = best, best_full
        return Trace(seen=seen, picked=picked, decision_s=self._cpu_s / max(1, self._num_handed_out))

    def _end_of_epoch(self) -> tuple[Trial, float]:
        self._now_s, _, trial_id = heapq.heappop(self._ends)
        trial = self.trials[trial_id]
        accuracy = float(self._table.val_accuracy[trial.row, trial.epochs])
        trial.epochs += 1
        with self._timed():
            answer = self._contender.on_epoch(trial_id, trial.epochs, accuracy)
        if answer == "continue":
            self._train(trial_id)
        else:
            self._num_free += 1
        self._occupy()
        return trial, accuracy

    def _occupy(self) -> None:
        while self._num_free and (asked := self._next_trial()):
            if asked.trial_id not in self.trials:
                row = self._rows.row_of(asked.point)
                self.trials[asked.trial_id] = Trial(row)
                with self._timed():
                    self._contender.on_placed(asked.trial_id, self._table.points[row].tolist())
            self._train(asked.trial_id)
            self._num_free -= 1

    def _next_trial(self) -> Asked | None:
        with self._timed():
            asked = self._contender.next_trial()
        self._num_handed_out += asked is not None
        return asked

    @contextmanager
    def _timed(self) -> Iterator[None]:
        began_s = time.process_time()
        yield
        self._cpu_s += time.process_time() - began_s

    def _train(self, trial_id: str) -> None:
        trial = self.trials[trial_id]
        end_s = self._now_s + float(self._table.seconds[trial.row, trial.epochs])
        self._num_starts += 1
        heapq.heappush(self._ends, (end_s, self._num_starts, trial_id))
