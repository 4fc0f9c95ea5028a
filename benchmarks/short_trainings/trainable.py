"""A custom trainable that imports torch at its top, trains a second per epoch, and reports only its score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from trainables.core.contract import Budget, Trainable, TrainingContext


@dataclass(frozen=True, kw_only=True)
class Hparams:
    """Hyperparameters of a small network on generated points."""

    lr: float = 0.05
    width: int = 256


class Circles:
    """Classifies points inside and outside a sphere."""

    def __init__(self, hparams: Hparams, context: TrainingContext) -> None:
        torch.manual_seed(context.seed)
        made = torch.Generator().manual_seed(context.data_seed)
        self._points = torch.randn(40_000, 64, generator=made)
        self._labels = (self._points.square().sum(1) > 63.3).long()
        width = hparams.width
        self._model = nn.Sequential(
            nn.Linear(64, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 2)
        )
        self._optimizer = torch.optim.SGD(self._model.parameters(), lr=hparams.lr, momentum=0.9)
        self.epochs_done = 0

    def run_epoch(self, budget: Budget) -> Mapping[str, float]:
        """Train on all points but the last 2,000, and score the first half of those."""
        for first in range(0, 38_000, 100):
            batch = slice(first, first + 100)
            self._optimizer.zero_grad()
            nn.functional.cross_entropy(self._model(self._points[batch]), self._labels[batch]).backward()
            self._optimizer.step()
        self.epochs_done += 1
        return {"val_accuracy": self._accuracy(slice(38_000, 39_000))}

    def test(self) -> Mapping[str, float]:
        """Score the last 1,000 points."""
        return {"test_accuracy": self._accuracy(slice(39_000, None))}

    def _accuracy(self, part: slice) -> float:
        with torch.no_grad():
            right = self._model(self._points[part]).argmax(1) == self._labels[part]
        return float(right.float().mean())

    def notes(self) -> Mapping[str, str]:
        """Return no notes: nothing is chosen automatically."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Return everything that a training needs to resume."""
        parts = {"model": self._model.state_dict(), "optimizer": self._optimizer.state_dict()}
        return {**parts, "epochs_done": self.epochs_done}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume from this state."""
        self._model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.epochs_done = state["epochs_done"]


TRAINABLE = Trainable(
    hparams=Hparams,
    metric="val_accuracy",
    mode="max",
    start=lambda hparams, budget, context: Circles(hparams, context),
)
