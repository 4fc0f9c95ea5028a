"""Number formats."""

from __future__ import annotations

import re

import pytest
import torch

from trainables.checkpoint import load_checkpoint, save_checkpoint
from trainables.classification import Hparams, start
from trainables.contract import Budget, Diverged, Env
from trainables.engine.precision import MixedPrecision

CPU = torch.device("cpu")


def test_automatic_precision_on_a_cpu_is_fp32_and_says_why():
    assert MixedPrecision("auto", CPU).reason.startswith("fp32: on a CPU")


def test_bf16_is_used_where_it_is_asked_for():
    precision = MixedPrecision("bf16", CPU)
    with precision.autocast():
        assert torch.nn.functional.linear(torch.ones(1, 2), torch.ones(1, 2)).dtype == torch.bfloat16
    assert precision.reason == "bf16: asked for"


def test_fp16_on_a_cpu_is_refused():
    with pytest.raises(ValueError, match="fp16 needs a GPU, got device cpu"):
        MixedPrecision("fp16", CPU)


@pytest.mark.parametrize(
    ("has_bf16", "choice"),
    [(True, "bf16: this GPU computes it"), (False, "fp16: this GPU has no bf16; gradients are scaled")],
)
def test_automatic_precision_on_a_gpu_is_bf16_where_the_gpu_has_it(monkeypatch, has_bf16, choice):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has_bf16)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert MixedPrecision("auto", torch.device("cuda")).reason.startswith(choice)


def test_gradients_are_clipped_to_the_norm_of_all_together():
    weights = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    optimizer = torch.optim.SGD([{"params": [weight]} for weight in weights], lr=1.0)
    precision = MixedPrecision("fp32", CPU)
    precision.backward(3 * weights[0].sum() + 4 * weights[1].sum())
    precision.step(optimizer, clip_norm=1.0)
    assert [weight.item() for weight in weights] == pytest.approx([-0.6, -0.8], abs=1e-5)
    assert all(weight.grad is None for weight in weights)


@pytest.fixture
def training(tmp_path):
    """In bf16, with one retry; its outputs overflow whenever mixed precision meets epoch 2."""
    env = Env(
        data="digits", data_seed=0, seed=3, cache_dir=tmp_path, resolution=8,
        validation_subset=50, precision="bf16",
    )  # fmt: skip
    hparams = Hparams(batch_size=32, fp32_retry=True, frozen_share=0.5, frozen_epochs=1)
    training = start(hparams, BUDGET, env)

    def overflow(module, inputs, outputs):
        has_overflown = torch.is_autocast_enabled("cpu") and training.epochs_done == 1
        return outputs * torch.inf if has_overflown else outputs

    training.model.register_forward_hook(overflow)
    return training


BUDGET = Budget(epochs=3, subset=0.05, resolution=8)


def test_an_epoch_that_diverges_is_trained_again_in_fp32_and_the_row_says_so(training):
    first = training.run_epoch(BUDGET)
    assert training.notes()["precision"] == "bf16: asked for"
    second = training.run_epoch(BUDGET)
    reason = r"fp32: loss became (nan|inf) in epoch 2, step 1 in mixed precision; the epoch was trained again"
    assert re.fullmatch(reason, training.notes()["precision"])
    assert (training.epochs_done, first["num_samples"], second["num_samples"]) == (2, 63.0, 63.0)
    assert training._stopping.num_steps == 4  # the diverged attempt's are forgotten


def test_the_rest_stays_in_fp32_even_after_a_checkpoint(training, tmp_path):
    for _ in range(2):
        training.run_epoch(BUDGET)
    save_checkpoint(tmp_path / "state.pt", training.state_dict())
    training._stepper.precision = MixedPrecision("bf16", CPU)
    training.load_state_dict(load_checkpoint(tmp_path / "state.pt"))
    assert training._stepper.precision.is_full
    assert training.notes()["precision"].startswith("fp32: loss became")


def test_there_is_one_retry(training):
    training.run_epoch(BUDGET)
    training.model.register_forward_hook(lambda module, inputs, outputs: outputs * torch.nan)
    with pytest.raises(Diverged, match="epoch 2, step 1"):
        training.run_epoch(BUDGET)


def test_without_a_retry_the_training_ends(training):
    training._has_retry = False
    training.run_epoch(BUDGET)
    with pytest.raises(Diverged, match="epoch 2, step 1"):
        training.run_epoch(BUDGET)
