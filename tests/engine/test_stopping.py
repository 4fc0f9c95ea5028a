"""Trainings that end before their epochs do, and epochs without evaluation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from trainables.classification import Hparams
from trainables.classification.training import start
from trainables.core.contract import Budget, TrainingContext
from trainables.engine.stopping import Stopping

BUDGET = Budget(epochs=6, subset=0.05, resolution=8)


@pytest.fixture
def context(tmp_path: Path) -> TrainingContext:
    return TrainingContext(
        data="digits", data_seed=0, seed=3, cache_dir=tmp_path, resolution=8, validation_subset=50
    )


def observed(scores: list[float], *, mode: str = "max") -> tuple[list[float], list[float], str]:
    """The scores that are given back, the weight after each epoch, and why it ended."""
    stopping = Stopping(metric="val", mode=mode, patience=2)  # type: ignore[arg-type]
    model = nn.Linear(1, 1, bias=False)
    given, weights = [], []
    for epoch, score in enumerate(scores, start=1):
        nn.init.constant_(model.weight, epoch)
        given.append(stopping.observe(epoch, {"val": score}, model)["val"])
        weights.append(model.weight.item())
    return given, weights, stopping.done_reason


def test_patience_ends_a_training_with_its_best_weights_and_their_scores() -> None:
    given, weights, why = observed([0.5, 0.7, 0.6, 0.7])
    assert given == [0.5, 0.7, 0.6, 0.7]
    assert weights == [1.0, 2.0, 3.0, 2.0]
    assert why == "patience: no gain in 2 epochs, since epoch 2, whose weights it has now"


def test_where_less_is_better_a_fall_is_a_gain() -> None:
    given, weights, why = observed([0.5, 0.4, 0.3, 0.35, 0.31], mode="min")
    assert (given[-1], weights[-1]) == (0.3, 3.0)
    assert why


def test_a_training_that_gains_continues() -> None:
    assert observed([0.1, 0.2, 0.2, 0.3, 0.3, 0.4])[2] == ""


def test_a_training_out_of_patience_trains_no_more(context: TrainingContext) -> None:
    # A rate this small gains nothing: the first epoch stays the best.
    training = start(Hparams(batch_size=32, lr=1e-9, patience=1, schedule="none"), BUDGET, context)
    rows = [training.run_epoch(BUDGET) for _ in range(3)]
    assert training.done_reason.startswith("patience: no gain in 1 epochs, since epoch 1")
    assert [row["num_examples"] for row in rows] == [63.0, 63.0, 0.0]
    assert rows[1]["val_loss"] == rows[0]["val_loss"]


def test_patience_is_counted_at_the_largest_budget_only(context: TrainingContext) -> None:
    training = start(Hparams(batch_size=32, lr=1e-9, patience=1, schedule="none"), BUDGET, context)
    lower = replace(BUDGET, epochs=3)
    for _ in range(3):
        training.run_epoch(lower)
    assert training.done_reason == ""


def test_max_steps_end_a_training_inside_an_epoch(context: TrainingContext) -> None:
    training = start(Hparams(batch_size=16, max_steps=6), BUDGET, context)  # 63 examples, 4 steps an epoch
    rows = [training.run_epoch(BUDGET) for _ in range(3)]
    assert [row["num_examples"] for row in rows] == [63.0, 32.0, 0.0]
    assert training.done_reason == "max_steps: 6 steps are taken"
    assert rows[2]["val_loss"] == rows[1]["val_loss"]
    assert "train_loss" not in rows[2]


def test_an_interval_leaves_epochs_unscored_but_never_the_last_of_a_budget(context: TrainingContext) -> None:
    training = start(Hparams(batch_size=32, eval_every=3), BUDGET, context)
    scored = ["val_loss" in training.run_epoch(replace(BUDGET, epochs=end)) for end in (2, 2, 5, 5, 5)]
    assert scored == [False, True, True, False, True]


def test_an_overfit_check_is_scored_every_epoch_and_never_done(context: TrainingContext) -> None:
    hparams = Hparams(batch_size=32, eval_every=3, patience=1, max_steps=1, lr=1e-9)
    training = start(hparams, BUDGET, replace(context, is_overfit=True))
    assert all("val_loss" in training.run_epoch(BUDGET) for _ in range(3))
    assert training.done_reason == ""


def test_the_best_weights_are_those_that_are_scored(context: TrainingContext) -> None:
    hparams = Hparams(batch_size=32, lr=1e-9, patience=1, schedule="none", ema_decay=0.5)
    training = start(hparams, BUDGET, context)
    first = training.run_epoch(BUDGET)
    kept = {name: value.clone() for name, value in training._average.model.state_dict().items()}
    training.run_epoch(BUDGET)
    assert training.done_reason
    assert all(torch.equal(value, kept[name]) for name, value in training._average.model.state_dict().items())
    assert training.run_epoch(BUDGET)["val_accuracy"] == first["val_accuracy"]
