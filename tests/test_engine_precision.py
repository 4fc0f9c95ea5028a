"""Number formats."""

from __future__ import annotations

import pytest
import torch

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
