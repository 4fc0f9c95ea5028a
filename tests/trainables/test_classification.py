"""Image classification: its hyperparameters and how it starts."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
import torch

from search.budget import Ladder
from search.space import SpaceError
from search.trial import Checkpointing, run_trial
from tests.support.toy_runs import SteadyMeter, made_space
from trainables.classification import TRAINABLE, Hparams
from trainables.classification.training import start
from trainables.core.contract import Budget, TrainingContext, WeightFile


def test_importing_it_does_not_import_torch():
    check = (
        "import sys, trainables.classification; "
        "sys.exit(bool({'torch', 'timm', 'torchvision', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


def test_defaults_are_the_recipe_of_the_paper():
    hparams = Hparams()
    assert (hparams.model, hparams.lr, hparams.momentum) == ("resnet20", 0.1, 0.9)
    assert (hparams.weight_decay, hparams.batch_size) == (1e-4, 128)


def test_it_is_ranked_by_validation_accuracy():
    assert (TRAINABLE.metric, TRAINABLE.mode) == ("val_accuracy", "max")


def test_every_problem_is_listed_at_once():
    with pytest.raises(ValueError, match="lr must be above 0") as caught:
        Hparams(lr=0.0, momentum=1.0, augment="heavy", max_grad_norm=0.0, schedule="cos")
    assert str(caught.value).split("; ") == [
        "lr must be above 0, got 0.0",
        "momentum must be in [0, 1), got 1.0",
        "schedule must be one of cosine, linear, step, exponential, plateau, one_cycle, none, got 'cos'",
        "max_grad_norm must be above 0 or null, got 0.0",
        "augment must be none, crop, light, strong or in [0, 1], got 'heavy'",
    ]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"lr": float("nan")}, "lr must be above 0, got nan"),
        ({"augment": 1.5}, "augment must be"),
        ({"weights": "hub"}, "resnet20 has no weights on a hub; set weights to none"),
        ({"weights": "file:here.pt"}, "weights must be none, hub or file:PATH with an absolute path"),
        ({"schedule": "one_cycle", "warmup_epochs": 1.0}, "one_cycle has its own warm-up"),
        ({"schedule": "one_cycle", "warmup_fraction": 0.1}, "set warmup_fraction to 0, got 0.1"),
        ({"warmup_epochs": 1.0, "warmup_fraction": 0.1}, "give warmup_epochs or warmup_fraction"),
        ({"schedule": "step", "min_lr_ratio": 0.1}, "min_lr_ratio is for cosine, linear, one_cycle"),
        ({"decay_milestones": "2, 1"}, "decay_milestones must be rising numbers"),
        ({"decay_rate": 1.5}, r"decay_rate must be in \(0, 1\], or null, got 1.5"),
    ],
)
def test_values_that_make_no_sense_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Hparams(**wrong)


@pytest.mark.parametrize("augment", ["none", "crop", "light", "strong", 0, 0.3, 1.0])
def test_augmentation_has_a_name_or_a_strength(augment):
    assert Hparams(augment=augment).augment == augment


def test_only_pretrained_models_want_files():
    assert TRAINABLE.weights(Hparams(model="resnet18")) == ()
    (file,) = TRAINABLE.weights(Hparams(model="resnet18", weights="hub"))
    assert file.location == "timm/resnet18.a1_in1k/model.safetensors"
    assert TRAINABLE.weights(Hparams(weights="file:/a.pt")) == (WeightFile(source="file", location="/a.pt"),)


def test_an_unknown_model_is_found_without_starting_it():
    with pytest.raises(ValueError, match=r"no model is named 'resnet_18'; near are .*resnet18"):
        TRAINABLE.weights(Hparams(model="resnet_18"))


def test_a_space_of_old_is_refused_with_what_to_write(tmp_path):
    text = "parameters: {pretrained: {values: [true, false]}}\nsearch: {data: mnist5k}\n"
    with pytest.raises(
        SpaceError, match="no longer has pretrained; write weights: hub for true, weights: none"
    ):
        made_space(tmp_path, text)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_backbone_can_learn_slower_than_its_head(tmp_path, optimizer):
    context = TrainingContext(data="digits", data_seed=0, seed=0, cache_dir=tmp_path)
    hparams = Hparams(optimizer=optimizer, lr=0.01, backbone_lr_ratio=0.1, schedule="none")
    training = start(hparams, Budget(epochs=1), context)
    assert [group["lr"] for group in training.optimizer.param_groups] == pytest.approx(
        [0.01, 0.01, 0.001, 0.001]
    )


def test_its_choices_are_noted_with_reasons(tmp_path):
    context = TrainingContext(data="digits", data_seed=0, seed=0, cache_dir=tmp_path)
    assert start(Hparams(), Budget(epochs=1), context).notes()["precision"].startswith("fp32: ")


def test_an_unknown_model_is_refused_at_the_start(tmp_path):
    context = TrainingContext(data="digits", data_seed=0, seed=0, cache_dir=tmp_path)
    with pytest.raises(ValueError, match=r"near are .*resnet20"):
        start(Hparams(model="resnet2o"), Budget(epochs=1), context)


def scores(folder, horizon, count, **options):
    """Validation loss and rate of each epoch, by number, of a trial that is asked for this many rows."""
    rungs = (Budget(epochs=1, subset=0.05, resolution=8), Budget(epochs=3, subset=0.1, resolution=8))
    ladder = Ladder(rungs, horizon)
    context = TrainingContext(
        data="digits", data_seed=0, seed=3, cache_dir=folder, resolution=8, horizon=horizon
    )
    hparams = Hparams(batch_size=32, augment="light", drop_rate=0.1)
    running = run_trial(TRAINABLE, hparams, ladder, context, SteadyMeter(), **options)
    done = [row for _, row in zip(range(count), running, strict=False)]
    return {row.epoch: (row.metrics["val_loss"], row.metrics["lr"]) for row in done}


@pytest.mark.parametrize(("horizon", "num_epochs"), [("full", 3), ("rung", 4), ("anytime", 3)])
def test_killed_inside_a_rung_it_resumes_to_the_bit(tmp_path, horizon, num_epochs):
    checkpointing = Checkpointing(path=tmp_path / "checkpoint.pt", every_s=0.0)
    whole = scores(tmp_path, horizon, 9)
    cut = scores(tmp_path, horizon, 2, checkpointing=checkpointing)
    rest = scores(tmp_path, horizon, 9, checkpointing=checkpointing)
    assert list(whole) == list(range(1, num_epochs + 1))
    assert {**cut, **rest} == whole
    assert min(rest) == 2


def last_rate(epochs_done, epochs, num_steps):
    """What a cosine over `epochs` gives the last of an epoch's steps, which asks for its middle."""
    position = epochs_done + 1 - 0.5 / num_steps
    return 0.05 * (1 + math.cos(math.pi * position / epochs))


def test_each_horizon_has_its_rates(tmp_path):
    rates = {
        name: [lr for _, lr in scores(tmp_path, name, 9).values()] for name in ("full", "rung", "anytime")
    }
    assert rates["anytime"] == [0.1, 0.1, 0.1]
    assert rates["full"] == pytest.approx([last_rate(0, 3, 2), last_rate(1, 3, 4), last_rate(2, 3, 4)])
    assert rates["rung"] == pytest.approx([last_rate(0, 1, 2), *(last_rate(done, 3, 4) for done in range(3))])


@pytest.mark.parametrize(("is_wanted", "precision"), [(True, "high"), (False, "highest")])
def test_tf32_is_set_anew_by_each_training(tmp_path, is_wanted, precision):
    torch.set_float32_matmul_precision("medium")
    context = TrainingContext(data="digits", data_seed=0, seed=0, cache_dir=tmp_path)
    start(Hparams(tf32=is_wanted), Budget(epochs=1), context)
    assert torch.get_float32_matmul_precision() == precision
    torch.set_float32_matmul_precision("highest")


def test_a_compiled_model_is_the_one_that_trains(tmp_path, monkeypatch):
    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda model: compiled.append(model))
    context = TrainingContext(data="digits", data_seed=0, seed=0, cache_dir=tmp_path)
    training = start(Hparams(compile=True, ema_decay=0.9), Budget(epochs=1), context)
    assert compiled == [training.model]
    assert start(Hparams(), Budget(epochs=1), context).model not in compiled
