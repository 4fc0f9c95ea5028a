"""mixup, CutMix and RandAugment: the same numbers whenever they are drawn again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from trainables.classification import Hparams
from trainables.classification.mixing import MixedBatches, Mixing
from trainables.classification.training import _notes, start
from trainables.core.contract import Budget, TrainingContext
from trainables.engine.images.augment import Augment
from trainables.engine.images.batches import Batch

BUDGET = Budget(epochs=2, subset=0.05, resolution=8)
BATCH = Batch(torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(6))
UNEVEN = torch.randint(0, 256, (6, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def context(tmp_path: Path) -> TrainingContext:
    return TrainingContext(
        data="digits", data_seed=0, seed=3, cache_dir=tmp_path, resolution=8, validation_subset=50
    )


def mixed(mixup: float = 1.0, cutmix: float = 0.0, **changes: int) -> Batch:
    mixing = Mixing(6, mixup=mixup, cutmix=cutmix, seed=changes.pop("seed", 1))
    return mixing.mixed(BATCH, **{"epoch": 2, "number": 3} | changes)


def test_mixup_mixes_images_as_it_mixes_labels() -> None:
    batch = mixed()
    share = batch.labels[0, 0].item()
    assert 0 < share < 1
    assert batch.labels[0, 5].item() == pytest.approx(1 - share)
    assert torch.allclose(batch.images, share * BATCH.images + (1 - share) * BATCH.images.roll(1, 0))


def test_cutmix_labels_are_the_shares_of_the_area() -> None:
    batch = mixed(mixup=0.0, cutmix=1.0)
    kept = (batch.images == BATCH.images).float().mean().item()
    assert 0 < kept < 1
    assert batch.labels[0, 0].item() == pytest.approx(kept, abs=1e-6)


def test_draws_belong_to_seed_epoch_and_batch() -> None:
    shares = {
        mixed(**change).labels[0, 0].item() for change in ({}, {"seed": 2}, {"epoch": 3}, {"number": 4})
    }
    assert len(shares) == 4
    assert torch.equal(mixed().images, mixed().images)


def test_with_both_each_batch_gets_one_of_them() -> None:
    kinds = set()
    for number in range(20):
        batch = mixed(cutmix=1.0, number=number)
        kinds.add(bool((batch.images == BATCH.images).any()))  # mixup leaves no pixel
    assert kinds == {True, False}


def test_neither_mixing_nor_rand_augment_moves_the_global_generator() -> None:
    before = torch.get_rng_state()
    mixed()
    Augment(0.0, rand_augment=0.5).moved(UNEVEN, torch.rand(6, 5, generator=torch.Generator()))
    assert torch.equal(torch.get_rng_state(), before)


def test_rand_augment_of_an_example_does_not_depend_on_its_batch() -> None:
    augment = Augment(0.0, rand_augment=0.5)
    draws = augment.draws(6, seed=1, epoch=2)
    together = augment.moved(UNEVEN, draws)
    alone = torch.cat([augment.moved(UNEVEN[i : i + 1], draws[i : i + 1]) for i in range(6)])
    assert torch.equal(together, alone)
    assert not torch.equal(together, UNEVEN)
    other_epoch = augment.moved(UNEVEN, augment.draws(6, seed=1, epoch=3))
    assert not torch.equal(together, other_epoch)


def test_only_training_examples_are_mixed(context: TrainingContext) -> None:
    training = start(Hparams(mixup=0.4, cutmix=1.0, batch_size=16), BUDGET, context)
    epoch = training.batches.epoch(BUDGET, 0)
    assert epoch.batch(epoch.steps(16, drop_single=True)[0]).labels.shape == (16, 10)
    assert all(batch.labels.ndim == 1 for batch in training.batches.validation(BUDGET))
    assert all(batch.labels.ndim == 1 for batch in training.batches.test())
    assert "train_loss is computed on mixed examples" in training.notes()["mixing"]


def test_a_model_that_mixes_learns(context: TrainingContext) -> None:
    budget = replace(BUDGET, epochs=8)
    training = start(Hparams(mixup=0.2, lr=0.02, batch_size=21, label_smoothing=0.1), budget, context)
    losses = [training.run_epoch(budget)["train_loss"] for _ in range(8)]
    assert losses[-1] < losses[0] / 2


def test_an_overfit_check_mixes_nothing(context: TrainingContext) -> None:
    training = start(Hparams(mixup=0.4), BUDGET, replace(context, is_overfit=True))
    assert not isinstance(training.batches, MixedBatches)


@pytest.mark.parametrize(("data", "is_noted"), [("digits", True), ("imagefolder:/photos", False)])
def test_mirrored_digits_are_noted(context: TrainingContext, data: str, is_noted: bool) -> None:
    assert ("flip" in _notes(Hparams(flip=True), replace(context, data=data))) is is_noted
