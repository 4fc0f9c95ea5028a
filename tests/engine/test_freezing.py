"""Two phases of transfer: a frozen backbone, and then one that learns too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from trainables.classification import Hparams
from trainables.classification.training import start
from trainables.core.contract import Budget, TrainingContext
from trainables.engine.optimizer import check_groups
from trainables.engine.supervised import SupervisedTraining

BUDGET = Budget(epochs=4, subset=0.05, resolution=8)
HPARAMS = Hparams(
    batch_size=32, lr=0.02, schedule="none", freeze_fraction=1.0, unfreeze_epoch=2, unfreeze_lr_ratio=0.5,
    backbone_lr_ratio=0.1,
)  # fmt: skip


@pytest.fixture
def training(tmp_path: Path) -> SupervisedTraining[Any]:
    context = TrainingContext(
        data="digits", data_seed=0, seed=3, cache_dir=tmp_path, resolution=8, validation_subset=50
    )
    return start(HPARAMS, BUDGET, context)


def changed(training: SupervisedTraining[Any]) -> set[str]:
    """The names of parameters and statistics that an epoch changes."""
    before = {name: value.clone() for name, value in training.model.state_dict().items()}
    training.run_epoch(BUDGET)
    after = training.model.state_dict()
    return {name for name, value in before.items() if not torch.equal(value, after[name])}


def test_the_frozen_backbone_keeps_weights_and_statistics_until_its_epoch(
    training: SupervisedTraining[Any],
) -> None:
    head = {"head.weight", "head.bias"}
    assert changed(training) == head
    assert changed(training) == head
    assert changed(training) == set(training.model.state_dict())


def test_frozen_parameters_join_the_optimiser_when_they_thaw(training: SupervisedTraining[Any]) -> None:
    def num_stepped() -> int:
        return sum(len(group["params"]) for group in training.optimizer.param_groups)

    assert num_stepped() == 2
    for _ in range(3):
        training.run_epoch(BUDGET)
    assert num_stepped() == len(list(training.model.parameters()))
    check_groups(training.model, training.optimizer)


def test_the_heads_momentum_is_kept(training: SupervisedTraining[Any]) -> None:
    optimizer, head = training.optimizer, training.model.head.weight
    for _ in range(2):
        training.run_epoch(BUDGET)
    momentum = optimizer.state[head]["momentum_buffer"].clone()
    training._freezing.enter(2, optimizer)
    assert training.optimizer is optimizer
    assert torch.equal(optimizer.state[head]["momentum_buffer"], momentum)


def test_after_the_thaw_all_rates_are_lower(training: SupervisedTraining[Any]) -> None:
    rates = []
    for _ in range(3):
        training.run_epoch(BUDGET)
        rates.append([group["lr"] for group in training.optimizer.param_groups])
    assert rates == [[0.02, 0.02], [0.02, 0.02], pytest.approx([0.01, 0.01, 0.001, 0.001])]


def test_frozen_epochs_without_anything_frozen_are_refused() -> None:
    with pytest.raises(
        ValueError, match="unfreeze_epoch needs something frozen; set freeze_fraction above 0"
    ):
        Hparams(unfreeze_epoch=2)
