"""What a model costs: its parameters, multiply-adds and latency, and that measuring them changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from trainables.classification import TRAINABLE, Hparams
from trainables.classification.training import start
from trainables.core.contract import BadResult, Budget, TrainingContext
from trainables.core.optional import measured_by
from trainables.engine.model_cost import latency_ms, measured, multiply_adds, num_parameters

CPU = torch.device("cpu")
SMALL = Budget(epochs=1, subset=0.05, resolution=8)


class Attention(nn.Module):
    """One head over (1, tokens, width), without projections."""

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return nn.functional.scaled_dot_product_attention(tokens, tokens, tokens)


@pytest.mark.parametrize(
    ("model", "inputs", "num", "num_macs"),
    [
        (nn.Linear(10, 4), torch.zeros(1, 10), 44, 40),
        (nn.Conv2d(3, 8, 3, padding=1), torch.zeros(1, 3, 16, 16), 224, 3 * 9 * 8 * 256),
        (nn.Conv2d(8, 8, 3, groups=8, bias=False), torch.zeros(1, 8, 6, 6), 72, 9 * 8 * 16),
        (Attention(), torch.zeros(1, 5, 4), 0, 2 * 5 * 5 * 4),
        (nn.Sequential(nn.BatchNorm1d(6), nn.ReLU()), torch.zeros(1, 6), 12, 0),
    ],
)
def test_parameters_and_multiply_adds_are_exact(
    model: nn.Module, inputs: torch.Tensor, num: int, num_macs: int
) -> None:
    model.eval()
    assert num_parameters(model) == num
    assert multiply_adds(lambda: model(inputs)) == num_macs


def test_a_layer_that_is_used_twice_has_its_parameters_once_and_a_frozen_one_counts() -> None:
    layer = nn.Linear(3, 3)
    for parameter in layer.parameters():
        parameter.requires_grad_(False)
    model = nn.Sequential(layer, layer)
    assert num_parameters(model) == 12
    assert multiply_adds(lambda: model(torch.zeros(1, 3))) == 18


def test_latency_is_the_lowest_median_of_five_after_the_warm_up() -> None:
    medians_ms = [5, 4, 3, 6, 7]  # of ten calls each, one of which is quick by chance, and four are disturbed
    took_ms = [9] * 10 + [each for ms in medians_ms for each in (0, *[ms] * 5, *[50] * 4)]
    took_ns = [ms * 1_000_000 for ms in took_ms]
    assert latency_ms(*faked(took_ns), clock_ns=clock(took_ns)) == 3.0


def test_of_a_slow_model_three_passes_are_timed() -> None:
    took_ns = [3_000_000_000] * 3 + [4_000_000_000, 5_000_000_000, 9_000_000_000]
    assert latency_ms(*faked(took_ns), clock_ns=clock(took_ns)) == 5000.0


def faked(took_ns: list[int]) -> tuple[Callable[[], None], torch.device]:
    return lambda: None, CPU


def clock(took_ns: list[int]) -> Callable[[], int]:
    """One that is asked before and after each pass."""
    times, now = [], 0
    for each in took_ns:
        times += [now, now + each]
        now += each
    return iter(times).__next__


def test_only_what_is_asked_for_is_measured_and_the_model_is_as_it_was() -> None:
    model = nn.Sequential(nn.Linear(4, 2), nn.BatchNorm1d(2), nn.Dropout(0.5))
    model[1].eval()  # as a frozen part
    state = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(3)
    found = measured(model, {"params_m", "macs_g", "recall"}, lambda: model(torch.ones(1, 4)), device=CPU)
    assert found == {"params_m": 14e-6, "macs_g": 8e-9}
    assert [module.training for module in model] == [True, False, True]
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    drawn = torch.rand(1)
    torch.manual_seed(3)
    assert torch.equal(drawn, torch.rand(1))


def test_memory_on_the_cpu_is_refused_with_the_reason() -> None:
    with pytest.raises(BadResult, match="peak_memory_mib is not measured on the CPU, where a"):
        measured(nn.Linear(1, 1), {"peak_memory_mib"}, lambda: None, device=CPU)


def context(folder: Path) -> TrainingContext:
    return TrainingContext(
        data="digits", data_seed=0, seed=3, cache_dir=folder, resolution=8, validation_subset=50
    )


def trained(folder: Path, names: set[str]) -> tuple[dict[str, float], dict[str, float]]:
    training = start(Hparams(batch_size=32, drop_rate=0.1), SMALL, context(folder))
    found = measured_by(training, names, SMALL)
    return dict(found), training.run_epoch(SMALL)


def test_a_classifier_gives_what_it_declares_and_trains_as_without_being_asked(tmp_path: Path) -> None:
    declared = TRAINABLE.measures.keys() - {"peak_memory_mib"}  # which nothing measures here
    asked, epoch = trained(tmp_path, declared)
    nothing, same = trained(tmp_path, set())
    assert (asked.keys(), nothing) == ({"params_m", "macs_g", "latency_ms"}, {})
    assert declared <= asked.keys() | epoch.keys()
    assert asked["params_m"] == 0.269434  # the CIFAR network of 0.27 M of He et al. 2016, with one channel
    assert asked["latency_ms"] > 0
    timed = {"train_s", "eval_s"}
    assert {name: epoch[name] for name in epoch.keys() - timed} == {
        name: same[name] for name in same.keys() - timed
    }
