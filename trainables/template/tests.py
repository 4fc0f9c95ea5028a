"""Tests of this model alone; the contract tests check what every trainable promises."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from trainables.core.contract import Budget, TrainingContext
from trainables.template import Hparams
from trainables.template.training import Perceptron, start


def test_nine_epochs_learn_the_digits(tmp_path: Path) -> None:
    context = TrainingContext(data="digits", data_seed=0, seed=0, cache_dir=tmp_path)
    budget = Budget(epochs=9)
    training = start(Hparams(), budget, context)
    scores = [training.run_epoch(budget)["val_accuracy"] for _ in range(9)]
    assert scores[-1] > 0.9


@pytest.mark.parametrize("side", [4, 8, 28])
def test_images_of_any_side_can_be_read(side: int) -> None:
    network = Perceptron(1, 8, 10, Hparams(hidden=16))
    assert network(torch.zeros(3, 1, side, side)).shape == (3, 10)


def test_values_that_make_no_sense_are_refused_in_one_message() -> None:
    with pytest.raises(ValueError, match=r"hidden must be 1 or more, got 0; drop_rate must be in \[0, 1\)"):
        Hparams(hidden=0, drop_rate=1.0)
