"""A learning curve by formula, in microseconds: for trying out a space, a ladder or a machine.

The curve rises to a ceiling that depends on how far lr and batch_size lie from a sweet spot
(lr 0.1 at batch size 64, along lr / batch_size), with seeded noise. No data is read and no torch
is needed. Expected result at full budget: val_accuracy 0.95 at the sweet spot.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trainables.core.contract import Budget, Trainable, TrainingContext

_EXAMPLES = 1000


@dataclass(frozen=True, kw_only=True)
class Hparams:
    """Hyperparameters to set or to search.

    Attributes:
        lr: Best at 0.1 for a batch of 64.
        batch_size: Best where lr / batch_size is 0.1 / 64.
        noise: Standard deviation of a score.
    """

    lr: float = 0.01
    batch_size: int = 64
    noise: float = 0.005

    def __post_init__(self) -> None:
        if self.lr <= 0 or self.batch_size < 1 or self.noise < 0:
            raise ValueError(f"lr and batch_size must be above 0 and noise at least 0, got {self}")


class ToyTraining:
    """A `Training` whose state is its epoch."""

    def __init__(self, hparams: Hparams, context: TrainingContext) -> None:
        self._hparams, self._seed = hparams, context.seed
        self.epochs_done = 0

    def run_epoch(self, budget: Budget) -> Mapping[str, float]:
        self.epochs_done += 1
        return {"val_accuracy": self._accuracy("val"), "num_examples": float(_num_examples(budget))}

    def test(self) -> Mapping[str, float]:
        return {"test_accuracy": self._accuracy("test")}

    def notes(self) -> Mapping[str, str]:
        return {}

    def state_dict(self) -> dict[str, Any]:
        return {"epochs_done": self.epochs_done}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.epochs_done = state["epochs_done"]

    def _accuracy(self, split: str) -> float:
        """In [0, 1]: the ceiling of lr and batch_size, nearer by 40 % of the gap each epoch, plus noise."""
        decades_off = math.log10(self._hparams.lr / self._hparams.batch_size) - math.log10(0.1 / 64)
        ceiling = 0.95 * math.exp(-0.3 * decades_off**2)
        noise = random.Random(f"{self._seed} {split} {self.epochs_done}").gauss(0, self._hparams.noise)
        return min(max(ceiling * (1 - 0.6 ** (self.epochs_done + 1)) + noise, 0.0), 1.0)


def _num_examples(budget: Budget) -> int:
    """Examples of an epoch: all 1,000, a fraction of them, or a count."""
    if budget.subset is None:
        return _EXAMPLES
    return round(budget.subset * _EXAMPLES) if isinstance(budget.subset, float) else budget.subset


def start(hparams: Hparams, budget: Budget, context: TrainingContext) -> ToyTraining:
    """A curve at epoch 0; it does not depend on the budget's epochs."""
    return ToyTraining(hparams, context)


TRAINABLE = Trainable(hparams=Hparams, metric="val_accuracy", mode="max", start=start)
