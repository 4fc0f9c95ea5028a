"""A trainable that does nothing, so that all of a trial's time is the program's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trainables.core.contract import Budget, Trainable, TrainingContext


@dataclass(frozen=True, kw_only=True)
class Hparams:
    lr: float = 0.1
    batch_size: int = 64


class Nothing:
    """A training without work. Its score depends on lr alone."""

    def __init__(self, hparams: Hparams) -> None:
        self._score = -abs(hparams.lr - 0.5)
        self.epochs_done = 0

    def run_epoch(self, budget: Budget) -> Mapping[str, float]:
        self.epochs_done += 1
        return {"score": self._score}

    def test(self) -> Mapping[str, float]:
        return {"score": self._score}

    def notes(self) -> Mapping[str, str]:
        return {}

    def state_dict(self) -> dict[str, Any]:
        return {"epochs_done": self.epochs_done}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.epochs_done = state["epochs_done"]


def start(hparams: Hparams, budget: Budget, context: TrainingContext) -> Nothing:
    return Nothing(hparams)


TRAINABLE = Trainable(hparams=Hparams, metric="score", mode="max", start=start)
