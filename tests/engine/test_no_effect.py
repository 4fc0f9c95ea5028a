"""Hyperparameters that were changed but can have no effect."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from trainables.classification import Hparams
from trainables.classification.training import start
from trainables.core.contract import Budget, TrainingContext
from trainables.engine.no_effect import without_effect

ENV = TrainingContext(data="digits", data_seed=0, seed=0, cache_dir=Path(), precision="bf16")


def reasons(context: TrainingContext = ENV, **changes: Any) -> dict[str, str]:
    return without_effect(Hparams(**changes), Budget(epochs=3), context)


def test_nothing_is_reported_of_the_defaults() -> None:
    assert reasons() == {}
    assert reasons(optimizer="adamw", lr=1e-3) == {}


@pytest.mark.parametrize(
    ("changes", "name", "reason"),
    [
        ({"optimizer": "adamw", "momentum": 0.5}, "momentum", "adamw has no momentum"),
        (
            {"optimizer": "adamw", "lr": 1e-4, "weight_decay": 2e-4},
            "weight_decay",
            "lr x weight_decay is 2e-08, under 3e-08: it changes no fp32 weight",
        ),
        ({"unified_lr_epoch": 1}, "unified_lr_epoch", "backbone_lr_ratio is 1, so all rates are equal"),
        (
            {"unified_lr_epoch": 3, "backbone_lr_ratio": 0.1},
            "unified_lr_epoch",
            "there are 3 epochs, so rates never become equal",
        ),
        ({"unfreeze_lr_ratio": 0.5}, "unfreeze_lr_ratio", "unfreeze_epoch is null, so nothing thaws"),
        (
            {"freeze_fraction": 0.5, "unfreeze_epoch": 3},
            "unfreeze_epoch",
            "there are 3 epochs, so nothing thaws",
        ),
        (
            {"freeze_fraction": 1.0, "backbone_lr_ratio": 0.1},
            "backbone_lr_ratio",
            "the whole backbone is frozen",
        ),
        ({"tf32": True}, "tf32", "a CPU has no TF32"),
        ({"decay_milestones": "1, 2"}, "decay_milestones", "the schedule cosine has no milestones"),
        ({"decay_rate": 0.5}, "decay_rate", "the schedule cosine does not fall in steps"),
    ],
)
def test_a_hyperparameter_that_cannot_act_is_named_with_the_reason(
    changes: dict[str, Any], name: str, reason: str
) -> None:
    assert reasons(**changes) == {f"no effect of {name}": reason}


def test_hyperparameters_that_act_are_not_named() -> None:
    assert reasons(optimizer="sgd", momentum=0.5, lr=1e-4, weight_decay=2e-5) == {}
    assert reasons(optimizer="adamw", lr=1e-3, weight_decay=0.05) == {}
    assert reasons(freeze_fraction=1.0, unfreeze_epoch=1, backbone_lr_ratio=0.1, unfreeze_lr_ratio=0.5) == {}


def test_a_retry_in_fp32_needs_another_precision() -> None:
    reason = {"no effect of fp32_retry": "the precision is fp32 from the start"}
    assert reasons(replace(ENV, precision="fp32"), fp32_retry=True) == reason
    assert reasons(replace(ENV, precision="auto"), fp32_retry=True) == reason
    assert reasons(fp32_retry=True) == {}


def test_the_row_says_it(tmp_path: Path) -> None:
    context = replace(ENV, cache_dir=tmp_path)
    notes = start(Hparams(optimizer="adamw", momentum=0.5), Budget(epochs=1), context).notes()
    assert notes["no effect of momentum"] == "adamw has no momentum"
