"""When a training is done before its epochs are: it no longer gains, or has taken all its steps."""

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
        patience: Epochs without a gain after which the training is done, and its best weights are
            what it leaves. Only those of the largest budget count: more data or pixels may help
            a trial that stands still on few. None waits for ever.
        max_steps: Optimiser steps after which it is done; None is no limit.

    Attributes:
        done_reason: In words; empty as long as the training continues.
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
        """Count an optimiser step; whether it was the last one."""
        self.num_steps += 1
        if self.num_steps == self._max_steps:
            self.done_reason = f"max_steps: {self._max_steps} steps are taken"
        return bool(self.done_reason)

    def observe(self, epoch: int, scores: Mapping[str, float], model: nn.Module) -> Mapping[str, float]:
        """Take in the scores of an epoch at the largest budget; gives those of what `model` is then.

        The same scores, unless patience ended with this epoch: then the best ones, and `model` has
        the weights that earned them.
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
            # The test set will be scored by what is left in the model, and so by the best weights.
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
