"""Number formats."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from trainables.classification import Hparams
from trainables.classification.training import start
from trainables.core.checkpoint import load_checkpoint, save_checkpoint
from trainables.core.contract import Budget, Diverged, TrainingContext
from trainables.engine.precision import MixedPrecision, chosen_format

CPU = torch.device("cpu")
ENV = TrainingContext(
    data="digits", data_seed=0, seed=3, cache_dir=Path(), resolution=8, validation_subset=50, precision="bf16"
)  # fmt: skip


def test_on_a_cpu_auto_is_what_the_run_has_chosen_for_all_its_trials():
    context = replace(ENV, precision="auto", auto_precision="bf16: 2.1 times as fast")
    assert MixedPrecision.of(context).reason == "bf16: 2.1 times as fast"


def test_without_a_run_auto_on_a_cpu_is_what_the_machine_chooses(monkeypatch):
    monkeypatch.setenv("JOULETUNE_CPU_PRECISION", "bf16")
    assert MixedPrecision.of(replace(ENV, precision="auto")).reason == "bf16: set by JOULETUNE_CPU_PRECISION"


def test_bf16_is_used_where_it_is_asked_for():
    precision = MixedPrecision("bf16", CPU)
    with precision.autocast():
        assert torch.nn.functional.linear(torch.ones(1, 2), torch.ones(1, 2)).dtype == torch.bfloat16
    assert precision.reason == "bf16: asked for"


def test_fp16_on_a_cpu_is_refused():
    with pytest.raises(ValueError, match="fp16 needs a GPU, got device cpu"):
        MixedPrecision("fp16", CPU)


@pytest.mark.parametrize(
    ("has_bf16", "name", "why"),
    [(True, "bf16", "this GPU computes it"), (False, "fp16", "this GPU has no bf16; gradients are scaled")],
)
def test_automatic_precision_on_a_gpu_is_bf16_where_the_gpu_has_it(monkeypatch, has_bf16, name, why):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has_bf16)
    chosen = chosen_format(replace(ENV, precision="auto", device="cuda"))
    assert (chosen[0], chosen[1][: len(why)]) == (name, why)


def test_gradients_are_clipped_to_the_norm_of_all_together():
    weights = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    optimizer = torch.optim.SGD([{"params": [weight]} for weight in weights], lr=1.0)
    precision = MixedPrecision("fp32", CPU)
    precision.backward(3 * weights[0].sum() + 4 * weights[1].sum())
    precision.step(optimizer, max_grad_norm=1.0)
    assert [weight.item() for weight in weights] == pytest.approx([-0.6, -0.8], abs=1e-5)
    assert all(weight.grad is None for weight in weights)


@pytest.fixture
def training(tmp_path):
    """In bf16, with one retry; its outputs overflow whenever mixed precision meets epoch 2."""
    hparams = Hparams(batch_size=32, fp32_retry=True, freeze_fraction=0.5, unfreeze_epoch=1)
    training = start(hparams, BUDGET, replace(ENV, cache_dir=tmp_path))

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
    assert (training.epochs_done, first["num_examples"], second["num_examples"]) == (2, 63.0, 63.0)
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


class BadConvolution:
    """A layer whose bf16 convolution gives NaN, as some shapes have on processors with AMX.

    Args:
        num_calls: So many forward passes give it; later ones are right.
        is_backward: Its gradients are NaN, and what it gives is right.
    """

    def __init__(self, *, num_calls: int = 10**9, is_backward: bool = False) -> None:
        self.num_left, self._is_backward = num_calls, is_backward

    def __call__(self, module, inputs, outputs):
        if not torch.is_autocast_enabled("cpu") or not self.num_left:
            return outputs
        self.num_left -= 1
        if self._is_backward and outputs.requires_grad:
            outputs.register_hook(lambda gradient: gradient * torch.nan)
            return outputs
        return outputs * torch.nan


def started(tmp_path, bad: BadConvolution | None = None, *, precision="bf16", **changes):
    """A plain training; `bad` is its first convolution's."""
    context = replace(ENV, cache_dir=tmp_path, precision=precision, **changes)
    training = start(Hparams(batch_size=32), BUDGET, context)
    layer = next(module for module in training.model.modules() if isinstance(module, torch.nn.Conv2d))
    layer.register_forward_hook(bad or (lambda module, inputs, outputs: None))
    return training


def epochs(training, number: int, budget: Budget = None) -> list[dict[str, float]]:
    """Rows of this many epochs, without the times measured."""
    values = [dict(training.run_epoch(budget or BUDGET)) for _ in range(number)]
    return [{name: value for name, value in one.items() if not name.endswith("_s")} for one in values]


@pytest.mark.parametrize("bad", [{}, {"num_calls": 1}, {"is_backward": True}])
def test_a_first_epoch_that_is_not_finite_in_bf16_on_a_cpu_is_tried_in_fp32_with_a_note(tmp_path, bad):
    training = started(tmp_path, BadConvolution(**bad))
    found = epochs(training, 2)
    assert found == epochs(started(tmp_path, precision="fp32"), 2)  # to the bit
    assert re.fullmatch(
        r"fp32: loss.* became nan in epoch 1.* in mixed precision; the epoch was trained again",
        training.notes()["precision"],
    )


def test_what_was_tried_in_fp32_stays_there_over_a_checkpoint_to_the_bit(tmp_path):
    whole, cut = (started(tmp_path, BadConvolution()) for _ in range(2))
    expected = epochs(whole, 3)
    first = epochs(cut, 1)
    save_checkpoint(tmp_path / "state.pt", cut.state_dict())
    resumed = started(tmp_path, BadConvolution())
    resumed.load_state_dict(load_checkpoint(tmp_path / "state.pt"))
    assert first + epochs(resumed, 2) == expected
    assert resumed.notes()["precision"] == whole.notes()["precision"]


def test_a_validation_that_is_not_finite_in_bf16_on_a_cpu_is_tried_in_fp32(tmp_path):
    training = started(tmp_path)
    layer = next(module for module in training.model.modules() if isinstance(module, torch.nn.Conv2d))

    def bad(module, inputs, outputs):
        is_scoring = torch.is_autocast_enabled("cpu") and not module.training
        return outputs * torch.nan if is_scoring else outputs

    layer.register_forward_hook(bad)
    assert epochs(training, 1)[0]["val_loss"] > 0
    assert training.notes()["precision"].startswith("fp32: loss on held-out data became nan")


def test_the_first_epoch_at_another_resolution_is_tried_in_fp32_too(tmp_path):
    training = started(tmp_path)
    epochs(training, 1)
    assert training.notes()["precision"] == "bf16: asked for"
    layer = next(module for module in training.model.modules() if isinstance(module, torch.nn.Conv2d))
    layer.register_forward_hook(BadConvolution())
    epochs(training, 1, replace(BUDGET, resolution=16))
    assert training.notes()["precision"].startswith("fp32: loss became nan in epoch 2, step 1")


def test_one_that_diverges_in_fp32_too_has_diverged(tmp_path):
    training = started(tmp_path)
    training.model.register_forward_hook(lambda module, inputs, outputs: outputs * torch.nan)
    with pytest.raises(Diverged, match="loss became nan in epoch 1, step 1"):
        training.run_epoch(BUDGET)


def test_a_layer_that_the_processor_has_no_bf16_for_is_computed_in_fp32_with_a_note(tmp_path):
    training = started(tmp_path)

    def refuse(module, inputs):
        if torch.is_autocast_enabled("cpu"):
            raise RuntimeError("could not create a primitive descriptor for the LSTM\nmore")

    training.model.register_forward_pre_hook(refuse)
    assert epochs(training, 1)[0]["train_loss"] > 0
    assert training.notes()["precision"] == (
        "fp32: could not create a primitive descriptor for the LSTM in mixed precision; the epoch was "
        "trained again"
    )


def test_another_error_of_the_first_epoch_is_not_tried_again(tmp_path):
    training, calls = started(tmp_path), []

    def fail(module, inputs):
        calls.append(module)
        raise RuntimeError("sizes of tensors must match")

    training.model.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="must match"):
        training.run_epoch(BUDGET)
    assert len(calls) == 1


@pytest.mark.parametrize(("before", "now"), [("bf16", "fp32"), ("fp32", "bf16")])
def test_a_training_resumes_in_the_format_it_began_in_whatever_the_machine_chooses_now(tmp_path, before, now):
    def chosen(name: str):
        return started(tmp_path, precision="auto", auto_precision=f"{name}: measured then")

    whole, cut = chosen(before), chosen(before)
    expected = epochs(whole, 2)
    epochs(cut, 1)
    resumed = chosen(now)
    resumed.load_state_dict(cut.state_dict())
    assert epochs(resumed, 1) == expected[1:]
    assert resumed.notes()["precision"] == f"{before}: measured then"


def test_layers_with_losses_of_their_own_are_tried_in_fp32_too(tmp_path):
    from trainables.forward_forward import TRAINABLE

    budget = Budget(epochs=1, subset=0.05)
    context = replace(ENV, cache_dir=tmp_path, resolution=None)
    training = TRAINABLE.start(TRAINABLE.hparams(**TRAINABLE.example.hparams), budget, context)
    training.net.layers[0].register_forward_hook(BadConvolution())
    assert training.run_epoch(budget)["train_loss"] > 0
    assert training.notes()["precision"].startswith("fp32: loss became nan in epoch 1 in mixed precision")
