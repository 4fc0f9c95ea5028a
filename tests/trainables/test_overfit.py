"""A training that cannot overfit a few examples has a bug, and the user is shown where to look for it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from search import cli
from search.trial.overfit import CHECKLIST, try_to_overfit
from tests.support.slow_trainables import marked
from trainables.core.contract import Budget, OverfitTarget, TrainingContext
from trainables.core.load import load_trainable, trainable_names
from trainables.engine.images.batches import Batch, Batches
from trainables.toy import ToyTraining

SPACE = """
parameters:
  lr: {distribution: log_uniform_values, min: 1e-9, max: 1.0}
search: {trainable: classification, data: digits, ladder: {epochs: [1, 2]}, limits: {trials: 2}}
"""


@dataclass(frozen=True, kw_only=True)
class Lenient:
    lr: float = 0.01
    batch_size: int = 64
    noise: float | None = 0.1


@pytest.fixture
def context(tmp_path: Path) -> TrainingContext:
    return TrainingContext(data="digits", data_seed=0, seed=0, cache_dir=tmp_path)


@pytest.mark.parametrize("name", marked(name for name in trainable_names() if load_trainable(name).overfit))
def test_every_trainable_that_learns_can_overfit(name: str, context: TrainingContext) -> None:
    trainable = load_trainable(name)
    goal, example = trainable.overfit, trainable.example
    hparams, context = trainable.hparams(**example.hparams), replace(context, data=example.data)
    result = try_to_overfit(trainable, hparams, context, num_examples=goal.num_examples)
    assert result.has_passed, str(result)
    assert result.score >= result.target


def test_the_examples_are_the_same_in_one_order_and_unchanged(context: TrainingContext) -> None:
    classification = load_trainable("classification")
    hparams = classification.hparams(augment="strong", flip=True)
    seen: list[Batch] = []
    training = classification.start(
        hparams, budget := Budget(epochs=2, subset=16), replace(context, is_overfit=True)
    )
    batches = training.batches
    for epoch in range(2):
        part = batches.epoch(budget, epoch)
        seen += [part.batch(indices) for indices in part.steps(16, drop_single=False)]
    seen += batches.validation(budget)
    assert [len(batch.labels) for batch in seen] == [16, 16, 16]
    assert all(torch.equal(batch.images, seen[0].images) for batch in seen)
    assert all(torch.equal(batch.labels, seen[0].labels) for batch in seen)


def test_labels_that_do_not_belong_to_their_examples_are_found(
    context: TrainingContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = Batches.training

    def shuffled(self, indices, draws, resolution) -> Batch:
        batch = right(self, indices, draws, resolution)
        return replace(batch, labels=batch.labels[torch.randperm(len(batch.labels))])

    monkeypatch.setattr(Batches, "training", shuffled)
    classification = load_trainable("classification")
    result = try_to_overfit(classification, classification.hparams(), context, num_examples=32)
    assert not result.has_passed
    assert result.num_epochs == 100
    assert result.score < 0.95


def test_a_rate_that_moves_nothing_is_found_and_the_command_says_what_to_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JOULETUNE_CACHE", str(tmp_path))
    (tmp_path / "s.yaml").write_text(SPACE)
    arguments = ["--space", str(tmp_path / "s.yaml"), "--overfit", "32"]
    assert cli.run("train", [*arguments, "--hparam", "lr=1e-9"]) == 1
    output = capsys.readouterr().out
    assert "failed  overfit on 32 examples: val_accuracy 0." in output
    assert "of 0.95 after 100 epochs" in output
    assert all(point in output for point in CHECKLIST)
    assert cli.run("train", arguments) == 0
    assert "passed  overfit on 32 examples" in capsys.readouterr().out


def test_a_rate_of_0_is_refused_before(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "s.yaml").write_text(SPACE)
    arguments = ["--space", str(tmp_path / "s.yaml"), "--overfit", "32", "--hparam", "lr=0"]
    assert cli.run("train", arguments) == 2
    assert "lr must be above 0, got 0" in capsys.readouterr().err


def test_an_error_is_to_be_small_and_the_loss_must_fall(
    context: TrainingContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Losses 4, 3, 2 and an error of 0.5, 0.25, 0.1: the target is met in the third epoch."""
    rows = iter([(4.0, 0.1), (3.0, 0.05), (2.0, 0.1), (1.0, 0.0)])

    def run_epoch(self, budget):
        self.epochs_done += 1
        loss, error = next(rows)
        return {"train_loss": loss, "val_rmse": error}

    monkeypatch.setattr(ToyTraining, "run_epoch", run_epoch)
    toy = replace(load_trainable("toy"), metric="val_rmse", mode="min", overfit=OverfitTarget(score=0.1))
    result = try_to_overfit(toy, toy.hparams(), context, num_examples=4)
    assert (result.has_passed, result.num_epochs, result.losses) == (True, 3, (4.0, 2.0))
    assert str(result) == "val_rmse 0.100 of 0.1 after 3 epochs, loss 4 to 2"


@pytest.mark.parametrize(
    ("given", "used", "message"),
    [
        ({}, (0.5, 64), "; with lr 0.5, noise null instead of the defaults"),
        ({"lr": 0.2}, (0.2, 64), "; with noise null instead of the defaults"),
    ],
)
def test_a_recipe_for_more_gives_way_to_what_few_examples_need_and_what_was_set_stays(
    context: TrainingContext, given: dict[str, float], used: tuple[float, int], message: str
) -> None:
    seen = []

    def start(hparams, budget, context) -> ToyTraining:
        seen.append((hparams.lr, hparams.batch_size))
        return toy.start(toy.hparams(), budget, context)

    toy = load_trainable("toy")
    instead = {"lr": 0.5, "noise": None, "batch_size": 64}
    goal = OverfitTarget(score=0.1, overrides=lambda hparams: instead)
    tried = replace(toy, start=start, hparams=Lenient, overfit=goal)
    result = try_to_overfit(tried, Lenient(**given), context, num_examples=4)
    assert seen == [used]
    assert str(result).endswith(message)


def test_what_learns_nothing_is_refused(context: TrainingContext) -> None:
    toy = load_trainable("toy")
    with pytest.raises(ValueError, match="defines no overfit target"):
        try_to_overfit(toy, toy.hparams(), context, num_examples=4)
