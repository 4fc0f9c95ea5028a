"""Ending a training before its last epoch: it no longer improves, or has taken all its steps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from trainables.core.contract import Mode


class Stopping:
    """Watches the scores and the steps of one training, and keeps its best weights.

    Args:
        metric: The value that ranks epochs, as `run_epoch` names it.
        patience: Epochs without improvement after which the training ends with its best weights.
            Only epochs of the largest budget count: more data or pixels may help a trial that
            stagnates on few. None never ends it.
        max_steps: Optimiser steps after which the training ends; None means no limit.

    Attributes:
        done_reason: Why the training has ended, in words; empty as long as it continues.
        num_steps: Optimiser steps taken.
    """

    def __init__(
        self, *, metric: str, mode: Mode, patience: int | None = None, max_steps: int | None = None
    ) -> None:
        self.done_reason = ""
        self.num_steps = 0
        self._metric, self._sign = metric, 1 if mode == "max" else -1
        self._patience, self._max_steps = patience, max_steps
        self._best_epoch = 0
        self._best_scores: dict[str, float] = {}
        self._best_weights: dict[str, Tensor] = {}

    def count_step(self) -> bool:
        """Count an optimiser step and return whether it was the last."""
        self.num_steps += 1
        if self.num_steps == self._max_steps:
            self.done_reason = f"max_steps: {self._max_steps} steps are taken"
        return bool(self.done_reason)

    def observe(self, epoch: int, scores: Mapping[str, float], model: nn.Module) -> Mapping[str, float]:
        """Record the scores of an epoch at the largest budget and return those of `model` afterwards.

        They are the same, unless patience runs out with this epoch: then they are the best ones, and
        `model` has the weights that earned them.
        """
        if self._patience is None or self.done_reason:
            return scores
        best = self._sign * self._best_scores[self._metric] if self._best_scores else -math.inf
        # Clones, as the model continues training in place. One copy of the weights is held, on their device.
        if self._sign * scores[self._metric] > best:
            self._best_epoch, self._best_scores = epoch, dict(scores)
            self._best_weights = {name: value.clone() for name, value in model.state_dict().items()}
        elif epoch - self._best_epoch >= self._patience:
            since = f"since epoch {self._best_epoch}, whose weights it has now"
            self.done_reason = f"patience: no gain in {self._patience} epochs, {since}"
            # The test scores the weights that are left in the model: these must be the best ones.
            model.load_state_dict(self._best_weights)
            return self._best_scores
        return scores

    def state_dict(self) -> dict[str, Any]:
        return {
            "done_reason": self.done_reason,
            "num_steps": self.num_steps,
            "best": [self._best_epoch, self._best_scores, self._best_weights],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.done_reason, self.num_steps = state["done_reason"], state["num_steps"]
        self._best_epoch, self._best_scores, self._best_weights = state["best"]
