"""The training loop."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from trainables.classification import Hparams
from trainables.classification.training import start
from trainables.core import progress
from trainables.core.checkpoint import load_checkpoint, save_checkpoint
from trainables.core.contract import Budget, Diverged, TrainingContext
from trainables.engine.classifiers.metrics import ClassificationMetrics, CrossEntropy
from trainables.engine.images.augment import Augment
from trainables.engine.images.batches import Batches
from trainables.engine.images.data import load_data
from trainables.engine.optimizer import build_optimizer
from trainables.engine.precision import MixedPrecision
from trainables.engine.schedule import Schedule
from trainables.engine.step import Stepper
from trainables.engine.stopping import Stopping
from trainables.engine.supervised import SupervisedTraining

SMALL = Budget(epochs=4, subset=0.05, resolution=8)
LARGE = Budget(epochs=4, subset=0.1, resolution=12)
CPU = torch.device("cpu")


@pytest.fixture
def context(tmp_path) -> TrainingContext:
    return TrainingContext(
        data="digits", data_seed=0, seed=3, cache_dir=tmp_path, resolution=8, validation_subset=50
    )


def linear_training(context, **settings) -> SupervisedTraining:
    """Logistic regression: no BatchNorm, so that a batch's parts do not depend on each other."""
    data = load_data(context)
    torch.manual_seed(context.seed)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    optimizer = build_optimizer(
        model, model[1], name="sgd", lr=0.1, weight_decay=0.0, momentum=0.9, backbone_lr_ratio=1.0
    )
    return SupervisedTraining(
        model=model,
        optimizer=optimizer,
        schedule=Schedule(optimizer, name="none", epochs=4),
        batches=Batches(
            data, context, augment=Augment(0.0), statistics=data.train.statistics(data.score_resolution)
        ),
        stepper=Stepper(model, optimizer, CrossEntropy(), MixedPrecision("fp32", CPU), **settings),
        metrics=ClassificationMetrics(10, CPU),
        stopping=Stopping(metric="val_accuracy", mode="max"),
    )


def difference(first: nn.Module, second: nn.Module) -> float:
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return max((a - b).abs().max().item() for a, b in pairs)


def test_a_long_epoch_shows_its_batches_and_learns_the_same(context, tmp_path, monkeypatch):
    monkeypatch.setitem(progress.SHOWN_AFTER_S, "epoch", 0.0)
    monkeypatch.setattr(progress, "_WRITE_EVERY_S", 0.0)
    file, seen = tmp_path / ".progress", []
    silent = start(Hparams(batch_size=32), SMALL, context).run_epoch(SMALL)
    training = start(Hparams(batch_size=32), SMALL, replace(context, progress_file=file))
    training.model.register_forward_pre_hook(lambda *_: seen.append(file.exists() and file.read_text()))
    shown = training.run_epoch(SMALL)
    assert seen[:2] == [False, "epoch 1 1 2\n"]
    assert {"epoch 1 2 2\n"} == set(seen[2:])  # while it is scored
    assert not file.exists()
    assert all(silent[name] == shown[name] for name in silent if not name.endswith("_s"))
    assert "progress_file" not in context.settings()


@pytest.mark.parametrize("schedule", ["cosine", "plateau"])
def test_two_epochs_a_checkpoint_and_two_at_a_larger_budget_equal_four_to_the_bit(
    context, tmp_path, schedule
):
    hparams = Hparams(batch_size=32, augment="light", flip=True, drop_rate=0.1, schedule=schedule)
    whole, resumed = (start(hparams, LARGE, context) for _ in range(2))
    for _ in range(2):
        whole.run_epoch(SMALL)
    save_checkpoint(tmp_path / "state.pt", whole.state_dict())
    expected = [whole.run_epoch(LARGE)["val_loss"] for _ in range(2)]

    resumed.load_state_dict(load_checkpoint(tmp_path / "state.pt"))
    assert [resumed.run_epoch(LARGE)["val_loss"] for _ in range(2)] == expected
    assert difference(whole.model, resumed.model) == 0
    assert resumed.epochs_done == 4


def test_the_tables_of_the_test_are_of_the_images_it_scored(context):
    training = start(Hparams(), SMALL, context)
    accuracy = training.test()["test_accuracy"]
    tables = training.test_tables()
    counts = [row[1:] for row in tables["confusion"].rows]
    num_images = sum(map(sum, counts))
    assert num_images == len(training.batches.data.test)
    assert sum(row[number] for number, row in enumerate(counts)) == pytest.approx(accuracy * num_images)
    wrong = {row[0] for row in tables["mistakes"].rows}
    assert len(wrong) == pytest.approx((1 - accuracy) * num_images)
    assert wrong <= set(map(str, training.batches.data.test.rows.tolist()))
    assert training.test_tables() == {}


def test_an_epoch_reports_these_values(context):
    values = start(Hparams(), SMALL, context).run_epoch(SMALL)
    assert set(values) == {
        "train_loss",
        "lr",
        "num_examples",
        "val_accuracy",
        "val_top5_accuracy",
        "val_f1_macro",
        "val_f1_weighted",
        "val_loss",
        "train_s",
        "eval_s",
        "val_num_examples",
        "val_accuracy_by_guessing",
        "val_top5_accuracy_by_guessing",
        "val_f1_macro_by_guessing",
        "val_f1_weighted_by_guessing",
    }
    assert values["num_examples"] == 63  # 5 % of 1,257
    assert values["train_s"] > 0
    assert values["eval_s"] > 0


def test_the_loss_on_few_examples_falls(context):
    training = start(Hparams(lr=0.02, batch_size=21), Budget(epochs=8), context)
    losses = [training.run_epoch(SMALL)["train_loss"] for _ in range(8)]
    assert losses[-1] < losses[0] / 3


def test_a_loss_that_explodes_ends_the_training_with_epoch_and_step(context):
    training = linear_training(context, batch_size=16)
    training.run_epoch(SMALL)
    with torch.no_grad():
        training.model[1].weight.fill_(math.inf)
    with pytest.raises(Diverged, match=r"loss became (nan|inf) in epoch 2, step 1$"):
        training.run_epoch(SMALL)


def test_batches_accumulated_equal_one_large_batch(context):
    large, parts = (
        linear_training(context, batch_size=32),
        linear_training(context, batch_size=8, step_size=32),
    )
    losses = [training.run_epoch(SMALL)["train_loss"] for training in (large, parts)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    assert difference(large.model, parts.model) < 1e-6


def test_the_last_smaller_batch_is_trained_on(context):
    assert linear_training(context, batch_size=31).run_epoch(SMALL)["num_examples"] == 63


def test_a_single_last_example_is_left_out_only_with_batch_norm(context):
    assert linear_training(context, batch_size=31).run_epoch(SMALL)["num_examples"] == 63
    assert linear_training(context, batch_size=62).run_epoch(SMALL)["num_examples"] == 63
    assert start(Hparams(batch_size=62), SMALL, context).run_epoch(SMALL)["num_examples"] == 62


def test_clipping_bounds_the_step(context):
    training = linear_training(context, batch_size=63, max_grad_norm=1e-3)
    before = [parameter.detach().clone() for parameter in training.model.parameters()]
    training.run_epoch(SMALL)
    steps = [p.detach() - b for p, b in zip(training.model.parameters(), before, strict=True)]
    norm = torch.cat([step.flatten() for step in steps]).norm().item()
    assert norm == pytest.approx(1e-3 * 0.1 * 1.9, rel=1e-3)  # Nesterov's first step: lr * (1 + momentum)


def test_an_epoch_never_reads_the_test_set(context, monkeypatch):
    training = linear_training(context, batch_size=32)
    test_rows = set(training.batches.data.test.rows.tolist())
    read: set[int] = set()
    images = type(training.batches.data.train).images

    def recorded(self, indices, resolution, *device):
        read.update(self.rows[indices].tolist())
        return images(self, indices, resolution, *device)

    monkeypatch.setattr(type(training.batches.data.train), "images", recorded)
    training.run_epoch(Budget(epochs=1))
    assert len(read) == 1257 + 50
    assert not read & test_rows
    training.test()
    assert test_rows <= read


def test_validation_stays_at_its_resolution_whatever_the_budget(context):
    training = start(Hparams(), LARGE, context)
    assert {batch.images.shape[-1] for batch in training.batches.validation(SMALL)} == {8}
    epoch = training.batches.epoch(LARGE, 0)
    assert epoch.batch(epoch.order[:2]).images.shape == (2, 1, 12, 12)


def test_every_epoch_sees_the_same_examples_in_another_order(context):
    batches = linear_training(context, batch_size=8).batches
    first, second = (batches.epoch(SMALL, epoch).order.tolist() for epoch in (0, 1))
    assert first != second
    assert sorted(first) == sorted(second)


def test_frozen_layers_keep_weights_and_statistics(context):
    training = start(Hparams(freeze_fraction=0.5, augment="light"), SMALL, context)
    before = {name: value.clone() for name, value in training.model.state_dict().items()}
    training.run_epoch(SMALL)
    changed = {
        name for name, value in training.model.state_dict().items() if not torch.equal(value, before[name])
    }
    assert not any(name.startswith(("stem", "stages.0", "stages.1", "stages.2")) for name in changed)
    assert {"stages.8.norm2.running_mean", "stages.8.conv2.weight", "head.weight"} <= changed


def test_a_training_leaves_the_number_of_threads_alone(context):
    before = torch.get_num_threads()
    start(Hparams(), SMALL, context).run_epoch(SMALL)
    assert torch.get_num_threads() == before


def test_validation_follows_the_rung_where_that_is_asked_for(context):
    training = start(Hparams(), LARGE, replace(context, validation_resolution="rung"))
    small = replace(LARGE, resolution=4)
    assert {batch.images.shape[-1] for batch in training.batches.validation(small)} == {4}
    assert {batch.images.shape[-1] for batch in training.batches.test()} == {8}
