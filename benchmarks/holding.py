"""A training that holds memory and waits, as a trial on a GPU does from the CPU's point of view.

It computes nothing, so that on two cores any gain comes from memory alone, which is what packing is about.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trainables.core.contract import Budget, Trainable, TrainingContext


@dataclass(frozen=True, kw_only=True)
class Hparams:
    """Memory held from the first epoch on, beyond the worker's own, and the waiting time of an epoch.

    `lr` distinguishes trials of the same size.
    """

    lr: float = 0.01
    size_mib: int = 150
    wait_s: float = 8.0


class Holding:
    """A training whose work is to wait."""

    def __init__(self, hparams: Hparams) -> None:
        self._hparams, self._held = hparams, b""
        self.epochs_done = 0

    def run_epoch(self, budget: Budget) -> Mapping[str, float]:
        if not self._held:
            self._held = b"x" * (self._hparams.size_mib * 2**20)  # every page is touched
        time.sleep(self._hparams.wait_s)
        self.epochs_done += 1
        return {"score": float(self._hparams.size_mib)}

    def test(self) -> Mapping[str, float]:
        return {"score": 0.0}

    def notes(self) -> Mapping[str, str]:
        return {}

    def state_dict(self) -> dict[str, Any]:
        return {"epochs_done": self.epochs_done}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.epochs_done = state["epochs_done"]


def start(hparams: Hparams, budget: Budget, context: TrainingContext) -> Holding:
    return Holding(hparams)


TRAINABLE = Trainable(hparams=Hparams, metric="score", mode="max", start=start)
