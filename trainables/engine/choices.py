"""Names that a space may give to the engine. No torch here: spaces are checked without it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

ScheduleName = Literal["cosine", "step", "plateau", "one_cycle", "none"]
AugmentName = Literal["none", "light", "strong"]

OWN_MODELS = ("resnet20", "mnist_cnn")  # classifiers that no library has
AUGMENT_STRENGTHS: dict[AugmentName, float] = {"none": 0.0, "light": 0.5, "strong": 1.0}


def is_augment(value: Any) -> bool:
    """Whether a value is a strength of augmentation or the name of one."""
    return value in AUGMENT_STRENGTHS if isinstance(value, str) else 0 <= value <= 1


def is_weights(value: str) -> bool:
    """Whether a value says which weights to start from."""
    kind, _, path = value.partition(":")
    return value in ("none", "hub") or (kind == "file" and Path(path).expanduser().is_absolute())
