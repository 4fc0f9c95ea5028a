"""A training that was interrupted ends as one that was not, to the bit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from search.budget import Ladder
from search.trial import Checkpointing, EpochRow, run_trial
from search.trial.checkpoints import SavedState
from tests.support.toy_runs import SteadyMeter
from trainables.classification import TRAINABLE, Hparams
from trainables.core.checkpoint import load_checkpoint
from trainables.core.contract import Budget, TrainingContext

LADDER = Ladder(
    (
        Budget(epochs=2, subset=0.05, resolution=8),
        Budget(epochs=4, subset=0.08, resolution=8),
        Budget(epochs=6, subset=0.1, resolution=12),
    )
)
BASE = Hparams(batch_size=16, lr=0.05, augment="light", flip=True, drop_rate=0.1, ema_decay=0.9)
TIMES = {"train_s", "eval_s"}


def rows(
    hparams: Hparams, context: TrainingContext, ladder: Ladder, folder: Path, final: str
) -> Iterator[EpochRow]:
    checkpointing = Checkpointing(path=folder / "checkpoint.pt", every_s=0.0)
    return run_trial(
        TRAINABLE, hparams, ladder, context, SteadyMeter(), checkpointing=checkpointing, final=folder / final
    )


def outcome(row: EpochRow, weights: Path) -> tuple[dict[str, float], Any]:
    """All the numbers of the last row, and everything the training has become."""
    metrics = {name: value for name, value in row.metrics.items() if name not in TIMES}
    return {**metrics, **(row.test or {})}, SavedState.from_dict(load_checkpoint(weights)).training


def differences(first: Any, second: Any) -> list[float]:
    """How far apart each two tensors of two states are; all other values must be equal."""
    if isinstance(first, torch.Tensor):
        return [(first.double() - second.double()).abs().max().item()] if first.numel() else []
    if isinstance(first, dict):
        assert first.keys() == second.keys()
        return [gap for key in first for gap in differences(first[key], second[key])]
    if isinstance(first, list | tuple):
        assert len(first) == len(second)
        return [gap for pair in zip(first, second, strict=True) for gap in differences(*pair)]
    assert first == second
    return []


def interrupted_everywhere(hparams: Hparams, context: TrainingContext, ladder: Ladder, folder: Path) -> None:
    """Train once whole, and once with a new training from the checkpoint after every epoch; compare."""
    whole, pieces = folder / "whole", folder / "pieces"
    for path in (whole, pieces):
        path.mkdir()
    uninterrupted = list(rows(hparams, context, ladder, whole, "final.pt"))
    expected, state = outcome(uninterrupted[-1], whole / "final.pt")
    for _ in uninterrupted:
        trained = (row for row in rows(hparams, context, ladder, pieces, "final.pt") if not row.is_replay)
        last = next(trained)  # and no further: what it has in memory is lost
    found, resumed = outcome(last, pieces / "final.pt")
    assert found == expected
    assert {"val_loss", "test_loss"} <= found.keys()
    assert max(differences(resumed, state)) == 0


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Two threads that wait for each other on busy cores take 50 s for what one does in 3 s."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


@pytest.fixture
def context(tmp_path: Path) -> TrainingContext:
    return TrainingContext(
        data="digits", data_seed=0, seed=3, cache_dir=tmp_path, resolution=8,
        validation_subset=50, precision="bf16",
    )  # fmt: skip


def test_interrupted_after_every_epoch_of_a_ladder_it_ends_the_same(
    context: TrainingContext, tmp_path: Path
) -> None:
    interrupted_everywhere(BASE, context, LADDER, tmp_path)


@pytest.mark.parametrize("num_threads", [0, 2])
def test_so_it_does_with_images_that_are_decoded(
    context: TrainingContext, tmp_path: Path, num_threads: int
) -> None:
    noise = np.random.default_rng(0)
    for number in range(60):
        path = tmp_path / "photos" / f"class{number % 2}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise.integers(0, 255, (20, 16, 3), dtype=np.uint8)).save(path)
    context = replace(
        context,
        data=f"imagefolder:{tmp_path / 'photos'}",
        cache_dir=tmp_path / f"cache{num_threads}",
        num_workers=num_threads,
        validation_subset=None,
    )
    short = Ladder((Budget(epochs=1, subset=0.5, resolution=8), Budget(epochs=2, subset=1.0, resolution=12)))
    interrupted_everywhere(replace(BASE, drop_rate=0.0), context, short, tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {
            "optimizer": "adamw",
            "lr": 1e-3,
            "schedule": "plateau",
            "warmup_epochs": 0.5,
            "grad_accum_steps": 2,
        },
        {"freeze_fraction": 0.5, "unfreeze_epoch": 3, "backbone_lr_ratio": 0.5, "unified_lr_epoch": 5},
        {"patience": 1, "eval_every": 2, "max_grad_norm": 1.0, "schedule": "one_cycle"},
        {"mixup": 0.4, "cutmix": 1.0, "rand_augment": 0.3, "grad_accum_steps": 2},
        {"max_steps": 9, "label_smoothing": 0.1, "schedule": "step"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_so_it_does_with_every_hyperparameter(
    context: TrainingContext, tmp_path: Path, changes: dict[str, Any]
) -> None:
    interrupted_everywhere(replace(BASE, **changes), replace(context, precision="fp32"), LADDER, tmp_path)
