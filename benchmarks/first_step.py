"""Stamps the end of the first epoch of a ResNet-20 on 128 digits.

It runs as a trainable of a search, and as a plain script that trains the same without the program around it.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from trainables.classification import TRAINABLE as CLASSIFICATION
from trainables.classification import Hparams
from trainables.classification.training import start
from trainables.core.contract import Budget, TrainingContext

_ONE_STEP = Budget(epochs=1, subset=128, resolution=28)


class Stamped:
    """A classification training that writes the time after its first epoch."""

    def __init__(self, hparams: Hparams, budget: Budget, context: TrainingContext) -> None:
        self._training = start(hparams, budget, context)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._training, name)

    def run_epoch(self, budget: Budget) -> Mapping[str, float]:
        metrics = self._training.run_epoch(budget)
        Path(os.environ["FIRST_STEP_FILE"]).write_text(str(time.time()))
        return metrics


TRAINABLE = replace(CLASSIFICATION, start=Stamped)  # preflight treats it like classification

if __name__ == "__main__":
    context = TrainingContext(
        data="mnist5k", data_seed=0, seed=0, cache_dir=Path(sys.argv[1]), resolution=28, validation_subset=100
    )
    Stamped(Hparams(), _ONE_STEP, context).run_epoch(_ONE_STEP)
