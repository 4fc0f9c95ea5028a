"""Knobs that were turned and cannot act."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from trainables.classification import Hparams, start
from trainables.core.contract import Budget, Env
from trainables.engine.no_effect import without_effect

ENV = Env(data="digits", data_seed=0, seed=0, cache_dir=Path(), precision="bf16")


def reasons(env: Env = ENV, **changes: Any) -> dict[str, str]:
    return without_effect(Hparams(**changes), Budget(epochs=3), env)


def test_nothing_is_said_of_the_defaults() -> None:
    assert reasons() == {}
    assert reasons(optimizer="adamw", lr=1e-3) == {}


@pytest.mark.parametrize(
    ("changes", "name", "reason"),
    [
        ({"optimizer": "adamw", "momentum": 0.5}, "momentum", "adamw has none"),
        (
            {"optimizer": "adamw", "lr": 1e-4, "weight_decay": 2e-4},
            "weight_decay",
            "lr x weight_decay is 2e-08, under 3e-08: no fp32 weight changes by it",
        ),
        ({"even_from": 1}, "even_from", "backbone_lr_ratio is 1, so all rates are even"),
        (
            {"even_from": 3, "backbone_lr_ratio": 0.1},
            "even_from",
            "there are 3 epochs, so rates never become even",
        ),
        ({"thawed_lr_ratio": 0.5}, "thawed_lr_ratio", "frozen_epochs is null, so nothing thaws"),
        (
            {"frozen_share": 0.5, "frozen_epochs": 3},
            "frozen_epochs",
            "there are 3 epochs, so nothing thaws",
        ),
        (
            {"frozen_share": 1.0, "backbone_lr_ratio": 0.1},
            "backbone_lr_ratio",
            "the whole backbone is frozen",
        ),
        ({"tf32": True}, "tf32", "a CPU has no TF32"),
    ],
)
def test_a_knob_that_cannot_act_is_named_with_the_reason(
    changes: dict[str, Any], name: str, reason: str
) -> None:
    assert reasons(**changes) == {f"no effect of {name}": reason}


def test_knobs_that_act_are_not_named() -> None:
    assert reasons(optimizer="sgd", momentum=0.5, lr=1e-4, weight_decay=2e-5) == {}
    assert reasons(optimizer="adamw", lr=1e-3, weight_decay=0.05) == {}
    assert reasons(frozen_share=1.0, frozen_epochs=1, backbone_lr_ratio=0.1, thawed_lr_ratio=0.5) == {}


def test_a_retry_in_fp32_needs_another_precision() -> None:
    reason = {"no effect of fp32_retry": "the precision is fp32 from the start"}
    assert reasons(replace(ENV, precision="fp32"), fp32_retry=True) == reason
    assert reasons(replace(ENV, precision="auto"), fp32_retry=True) == reason
    assert reasons(fp32_retry=True) == {}


def test_the_row_says_it(tmp_path: Path) -> None:
    env = replace(ENV, cache_dir=tmp_path)
    notes = start(Hparams(optimizer="adamw", momentum=0.5), Budget(epochs=1), env).notes()
    assert notes["no effect of momentum"] == "adamw has none"
