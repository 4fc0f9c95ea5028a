"""The loop without images: a regression with two inputs, outputs by name and a score to minimise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainables.core.checkpoint import load_checkpoint, save_checkpoint
from trainables.core.contract import Budget, TrainingContext
from trainables.engine.assembly import assemble
from trainables.engine.hparams import TrainingHparams
from trainables.engine.seeds import generator, seed_all
from trainables.engine.supervised import SupervisedTraining

BUDGET = Budget(epochs=6)
INPUTS = torch.randn(64, 3, generator=torch.Generator().manual_seed(1))
SCALES = torch.rand(64, 1, generator=torch.Generator().manual_seed(2)) + 0.5


@dataclass(frozen=True)
class Pairs:
    """Inputs (batch, 3), a scale for each (batch, 1), and what is to be found (batch,)."""

    inputs: Tensor
    scales: Tensor
    wanted: Tensor

    def __len__(self) -> int:
        return len(self.wanted)

    def split(self, size: int) -> list[Pairs]:
        parts = (self.inputs.split(size), self.scales.split(size), self.wanted.split(size))
        return [Pairs(*part) for part in zip(*parts, strict=True)]


def pairs(indices: Tensor) -> Pairs:
    inputs, scales = INPUTS[indices], SCALES[indices]
    return Pairs(inputs, scales, inputs.sum(1) * scales[:, 0])


@dataclass(frozen=True)
class Epoch:
    order: Tensor

    def steps(self, num_examples: int, *, drop_single: bool) -> list[Tensor]:
        return list(self.order.split(num_examples))

    def batch(self, indices: Tensor) -> Pairs:
        return pairs(indices)


class AllPairs:
    """48 for training, 8 each for validation and test."""

    def epoch(self, budget: Budget, epoch: int) -> Epoch:
        return Epoch(torch.randperm(48, generator=generator("order", seed=0, epoch=epoch)))

    def validation(self, budget: Budget) -> Iterator[Pairs]:
        yield pairs(torch.arange(48, 56))

    def test(self) -> Iterator[Pairs]:
        yield pairs(torch.arange(56, 64))


class Scaled(nn.Module):
    """A line of scaled inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(3, 3), nn.Linear(3, 1)

    def forward(self, inputs: Tensor, scales: Tensor) -> dict[str, Tensor]:
        return {"found": self.head(self.body(inputs * scales))[:, 0]}


class Error:
    """The root of the mean squared error."""

    def __init__(self) -> None:
        self._squares: list[Tensor] = []

    def update(self, outputs: Any, batch: Pairs) -> None:
        self._squares.append((outputs["found"] - batch.wanted).square())

    def compute(self) -> dict[str, float]:
        loss = torch.cat(self._squares).mean().item()
        self._squares.clear()
        return {"loss": loss, "rmse": loss**0.5}


def mean_square(outputs: Any, batch: Pairs) -> Tensor:
    return (outputs["found"] - batch.wanted).square().mean()


def started(
    precision: Any = "fp32", model: Scaled | None = None, **changes: Any
) -> SupervisedTraining[Pairs]:
    context = TrainingContext(data="made", data_seed=0, seed=0, cache_dir=Path(), precision=precision)
    hparams = TrainingHparams(**{"lr": 0.05, "batch_size": 16, "momentum": 0.5} | changes)
    seed_all(context.seed)
    model = model or Scaled()
    return assemble(
        hparams,
        BUDGET,
        context,
        model=model,
        head=model.head,
        batches=AllPairs(),
        loss=mean_square,
        metrics=Error(),
        metric="val_rmse",
        mode="min",
        forward=lambda model, batch: model(batch.inputs, batch.scales),
        notes={"data": "made"},
    )


def test_it_learns_and_is_tested() -> None:
    training = started()
    rows = [training.run_epoch(BUDGET) for _ in range(6)]
    assert rows[-1]["val_rmse"] < rows[0]["val_rmse"] / 3
    assert training.test().keys() == {"test_loss", "test_rmse"}
    assert training.notes() == {"precision": "fp32: asked for", "data": "made"}


def test_outputs_by_name_come_in_fp32() -> None:
    training = started(precision="bf16")
    found = training._stepper.outputs(training.model, pairs(torch.arange(4)))["found"]
    assert found.dtype == torch.float32
    assert torch.equal(found, found.bfloat16().float())


def test_it_resumes_to_the_bit(tmp_path: Path) -> None:
    changes = {
        "ema_decay": 0.9,
        "patience": 3,
        "freeze_fraction": 1.0,
        "unfreeze_epoch": 2,
        "optimizer": "adamw",
    }
    whole, resumed = started(**changes), started(**changes)
    for _ in range(2):
        whole.run_epoch(BUDGET)
    save_checkpoint(tmp_path / "state.pt", whole.state_dict())
    expected = [whole.run_epoch(BUDGET)["val_rmse"] for _ in range(4)]
    resumed.load_state_dict(load_checkpoint(tmp_path / "state.pt"))
    assert [resumed.run_epoch(BUDGET)["val_rmse"] for _ in range(4)] == expected


@pytest.mark.parametrize("most", [8, 5])
def test_pieces_of_any_batch_give_the_same_step(most: int) -> None:
    whole, halved = started(), started()

    def check(model: nn.Module, inputs: tuple[Tensor, Tensor]) -> None:
        if len(inputs[0]) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")

    halved.model.register_forward_pre_hook(check)
    for _ in range(3):
        expected, found = whole.run_epoch(BUDGET), halved.run_epoch(BUDGET)
        assert found["val_rmse"] == pytest.approx(expected["val_rmse"], rel=1e-5)


def test_less_is_better_for_patience() -> None:
    training = started(patience=1, lr=1e-3, schedule="none")
    rows = [training.run_epoch(BUDGET) for _ in range(6)]
    assert training.done_reason == ""  # it gains, if only a little
    assert rows[-1]["val_rmse"] < rows[0]["val_rmse"]


def test_every_broken_rule_is_in_one_message() -> None:
    with pytest.raises(ValueError, match="layer_decay must be") as caught:
        TrainingHparams(
            layer_decay=0.0, patience=0, ema_decay=1.0, eval_every=0, max_steps=0, unfreeze_epoch=0
        )
    assert str(caught.value).split("; ") == [
        "layer_decay must be in (0, 1], got 0.0",
        "unfreeze_epoch must be 1 or more, or null, got 0",
        "ema_decay must be in (0, 1), or null, got 1.0",
        "patience must be 1 or more, or null, got 0",
        "max_steps must be 1 or more, or null, got 0",
        "eval_every must be 1 or more, got 0",
        "unfreeze_epoch needs something frozen",
        "set freeze_fraction above 0",
    ]


def test_a_strided_convolution_of_few_channels_computes_with_channels_first() -> None:
    """With channels last torch 2.15 corrupts the heap in its backward pass on a CPU."""
    model, seen = Scaled(), list[bool]()
    model.stem = nn.Sequential(nn.Conv2d(3, 4, 1, stride=2), nn.Conv2d(4, 4, 3, stride=2))
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = torch.randn(2, 3, 8, 8).contiguous(memory_format=torch.channels_last)
    before = model.stem(images)
    started(model=model, ema_decay=0.9)
    for layer in model.stem:
        layer.register_forward_hook(lambda layer, images, maps: seen.append(images[0].is_contiguous()))
    assert torch.allclose(model.stem(images), before, atol=1e-6)
    assert seen[0]
    assert model.stem[0].weight.stride() == (3, 1, 1, 1)
    assert model.stem[1].weight.stride() == (36, 1, 12, 4)  # others stay channels last
