"""Asynchronous successive halving: who goes on at a rung. Pure: no Ray, no clock, no files.

Li et al. 2020, "A System for Massively Parallel Hyperparameter Tuning" (ASHA), in its stopping
form: a trial that ends a rung goes on if it is in the top 1/eta of all that ended it so far.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

from trainables.contract import Mode

Decision = Literal["go_on", "stop"]


class Rungs:
    """Scores of every trial at every rung, and the decision each of them leads to.

    Feeding the same results in the same order gives the same decisions, so a restart rebuilds
    it from the journal.

    Args:
        num_rungs: Rungs of the ladder; the last one is full training and ends a trial.
        eta: One in eta trials goes on. None lets every trial run the whole ladder.
    """

    def __init__(self, num_rungs: int, *, eta: float | None, mode: Mode) -> None:
        if eta is not None and eta <= 1:
            raise ValueError(f"eta must be above 1, got {eta}")
        self._eta = eta
        self._sign = 1.0 if mode == "max" else -1.0
        self._scores: list[dict[str, float]] = [{} for _ in range(num_rungs)]

    def on_result(self, trial_id: str, rung: int, value: float) -> Decision:
        """Record `value` at the end of `rung` and say whether the trial goes on.

        NaN never passes, and never counts among those a later trial is compared with. Of equal
        values the older one ranks first.
        """
        if math.isnan(value):
            return "stop"
        scores = self._scores[rung]
        scores[trial_id] = self._sign * value
        if rung == len(self._scores) - 1:
            return "stop"
        if self._eta is None:
            return "go_on"
        num_ahead = sum(score >= scores[trial_id] for other, score in scores.items() if other != trial_id)
        num_passing = max(1, int(len(scores) / self._eta))
        return "go_on" if num_ahead < num_passing else "stop"

    def counts(self) -> list[int]:
        """How many trials have ended each rung, the lowest first."""
        return [len(scores) for scores in self._scores]

    def values(self, rung: int) -> Mapping[str, float]:
        """Value of each trial that ended `rung`, in the order they came."""
        return {trial: self._sign * score for trial, score in self._scores[rung].items()}
