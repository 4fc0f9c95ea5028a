"""Averaged weights, and the training that is scored by them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from trainables.classification import Hparams
from trainables.classification.training import start
from trainables.core.checkpoint import load_checkpoint, save_checkpoint
from trainables.core.contract import Budget, TrainingContext
from trainables.engine.averaging import WeightAverage
from trainables.engine.images.batches import Batch

SMALL = Budget(epochs=3, subset=0.05, resolution=8)
HPARAMS = Hparams(batch_size=16, lr=0.05, drop_rate=0.1, augment="light")


@pytest.fixture
def context(tmp_path: Path) -> TrainingContext:
    return TrainingContext(
        data="digits", data_seed=0, seed=3, cache_dir=tmp_path, resolution=8,
        validation_subset=50, horizon="anytime",
    )  # fmt: skip


class MadeEpoch:
    """Stands for a TrainEpoch: examples by number, in parts."""

    def __init__(self, images: torch.Tensor) -> None:
        self._images = images

    def steps(self, num_examples: int, *, drop_single: bool) -> list[torch.Tensor]:
        return list(torch.arange(len(self._images)).split(num_examples))

    def batch(self, indices: torch.Tensor) -> Batch:
        return Batch(self._images[indices], torch.zeros(len(indices)))


def normalised() -> nn.Sequential:
    return nn.Sequential(nn.BatchNorm1d(1), nn.Dropout(0.5), nn.BatchNorm1d(1))


def settled(average: WeightAverage, images: torch.Tensor, frozen: Sequence[nn.Module] = ()) -> None:
    average.settle(MadeEpoch(images), lambda model, batch: model(batch.images), frozen=frozen)


def equal(first: nn.Module, second: nn.Module) -> bool:
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_a_step_weighs_as_its_number_to_the_eighth() -> None:
    model = nn.Linear(1, 1, bias=False)
    average = WeightAverage(model)
    found = []
    for weight in (1.0, 2.0, 4.0):
        nn.init.constant_(model.weight, weight)
        average.update(model)
        found.append(average.model.weight.item())
    assert found == pytest.approx([1.0, 1 + 9 / 10, 1.9 + (4 - 1.9) * 9 / 11])
    assert model.weight.item() == 4.0


def test_statistics_are_those_of_the_averaged_weights_over_the_examples() -> None:
    model = normalised()
    images = torch.linspace(0, 9, 1200).view(-1, 1)
    average = WeightAverage(model)
    settled(average, images)
    first = average.model[0]  # type: ignore[index]
    assert first.running_mean.item() == pytest.approx(images[:1024].mean().item())
    assert first.num_batches_tracked.item() == 4
    assert not any(module.training for module in average.model.modules())
    assert equal(model, normalised())


def test_settling_draws_no_random_number() -> None:
    average = WeightAverage(normalised())
    before = torch.get_rng_state()
    settled(average, torch.randn(64, 1, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(torch.get_rng_state(), before)


def test_frozen_statistics_are_kept() -> None:
    model = normalised()
    average = WeightAverage(model)
    settled(average, torch.full((8, 1), 3.0), frozen=[model[0]])
    kept, taken = average.model[0], average.model[2]  # type: ignore[index]
    assert (kept.running_mean.item(), taken.running_mean.item()) == (0.0, pytest.approx(3.0, rel=1e-4))


def test_averaging_leaves_the_training_as_it_is(context: TrainingContext) -> None:
    averaged = start(HPARAMS, SMALL, context)
    plain = start(replace(HPARAMS, schedule="none"), SMALL, replace(context, horizon="full"))
    losses = {name: [] for name in ("averaged", "plain")}  # type: dict[str, list[float]]
    for name, training in (("averaged", averaged), ("plain", plain)):
        torch.manual_seed(0)
        losses[name] = [training.run_epoch(SMALL)["train_loss"] for _ in range(2)]
    assert losses["averaged"] == losses["plain"]
    assert equal(averaged.model, plain.model)


def test_the_averaged_weights_are_scored_and_tested(context: TrainingContext) -> None:
    training = start(HPARAMS, SMALL, context)
    scored = training.run_epoch(SMALL)
    state = training.state_dict()
    plain = start(HPARAMS, SMALL, replace(context, horizon="full"))
    plain.model.load_state_dict(state["average"]["model"])
    assert plain._scores(plain.batches.validation(SMALL))["loss"] == scored["val_loss"]
    assert plain.test() == training.test()
    plain.model.load_state_dict(state["model"])
    assert plain._scores(plain.batches.validation(SMALL))["loss"] != scored["val_loss"]


def test_the_rate_stays_after_warm_up_whatever_the_schedule(context: TrainingContext) -> None:
    training = start(replace(HPARAMS, warmup_epochs=1.0), SMALL, context)
    rates = [training.run_epoch(SMALL)["lr"] for _ in range(3)]
    assert rates == pytest.approx([0.05 * 3.5 / 4, 0.05, 0.05])  # 63 examples, four steps an epoch
    assert training.notes()["horizon"].startswith("anytime: a constant rate")


def test_a_killed_training_resumes_to_the_bit(context: TrainingContext, tmp_path: Path) -> None:
    whole, resumed = (start(HPARAMS, SMALL, context) for _ in range(2))
    whole.run_epoch(SMALL)
    save_checkpoint(tmp_path / "state.pt", whole.state_dict())
    expected = [whole.run_epoch(SMALL)["val_loss"] for _ in range(2)]
    resumed.load_state_dict(load_checkpoint(tmp_path / "state.pt"))
    assert [resumed.run_epoch(SMALL)["val_loss"] for _ in range(2)] == expected
    assert resumed.test() == whole.test()
    assert equal(resumed.model, whole.model)


def test_other_horizons_average_nothing(context: TrainingContext) -> None:
    for horizon in ("full", "rung"):
        training = start(HPARAMS, SMALL, replace(context, horizon=horizon))  # type: ignore[arg-type]
        assert training.state_dict()["average"] == {}
        assert "horizon" not in training.notes()


def test_a_decay_is_reached_after_its_first_steps() -> None:
    model = nn.Linear(1, 1, bias=False)
    average = WeightAverage(model, decay=0.5)
    found = []
    for weight in (1.0, 2.0, 4.0, 8.0):
        nn.init.constant_(model.weight, weight)
        average.update(model)
        found.append(average.model.weight.item())
    rising = 1 - 2 ** (-2 / 3)  # timm's share in the second step; the third is above the decay
    second = rising * 1 + (1 - rising) * 2
    third = (second + 4) / 2
    assert found == pytest.approx([1.0, second, third, (third + 8) / 2])


def test_a_decay_averages_with_any_schedule(context: TrainingContext) -> None:
    training = start(replace(HPARAMS, ema_decay=0.9), SMALL, replace(context, horizon="full"))
    scored = training.run_epoch(SMALL)
    assert training._average is not None
    plain = start(HPARAMS, SMALL, replace(context, horizon="full"))
    plain.model.load_state_dict(training.state_dict()["average"]["model"])
    assert plain._scores(plain.batches.validation(SMALL))["loss"] == scored["val_loss"]
    assert "horizon" not in training.notes()
