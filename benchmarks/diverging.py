"""A learning curve by formula that is NaN from some epoch on, to measure the cost of diverging trials."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from trainables.core.contract import Budget, Trainable, TrainingContext


@dataclass(frozen=True, kw_only=True)
class Hparams:
    """A trial and its fate.

    Attributes:
        ceiling: The value that the curve rises to.
        nan_from: The first epoch that is NaN; 0 means none.
    """

    ceiling: float = 0.5
    nan_from: int = 0


class Diverging:
    """A training whose state is its epoch."""

    def __init__(self, hparams: Hparams) -> None:
        self._hparams = hparams
        self.epochs_done = 0

    def run_epoch(self, budget: Budget) -> Mapping[str, float]:
        self.epochs_done += 1
        return {"score": score_at(self.epochs_done, **asdict(self._hparams))}

    def test(self) -> Mapping[str, float]:
        return {"score": self._hparams.ceiling}

    def notes(self) -> Mapping[str, str]:
        return {}

    def state_dict(self) -> dict[str, Any]:
        return {"epochs_done": self.epochs_done}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.epochs_done = state["epochs_done"]


def score_at(epoch: int, *, ceiling: float, nan_from: int) -> float:
    """The score at the end of an epoch, counted from 1."""
    if 0 < nan_from <= epoch:
        return math.nan
    return ceiling * (1 - math.exp(-epoch / 9))


def configurations(num_trials: int, seed: int) -> list[dict[str, Any]]:
    """Configurations in random order; a third of them diverge, in one of their first 3 epochs."""
    rng = random.Random(seed)
    fates = [rng.randint(1, 3) if number % 3 == 0 else 0 for number in range(num_trials)]
    rng.shuffle(fates)
    return [{"ceiling": rng.random(), "nan_from": fate} for fate in fates]


def start(hparams: Hparams, budget: Budget, context: TrainingContext) -> Diverging:
    return Diverging(hparams)


TRAINABLE = Trainable(hparams=Hparams, metric="score", mode="max", start=start)
