"""Names that a space may give to the engine. No torch here: spaces are checked without it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

ScheduleName = Literal["cosine", "linear", "step", "exponential", "plateau", "one_cycle", "none"]
AugmentName = Literal["none", "crop", "light", "strong"]
BatchSize = int | Literal["auto"]

OWN_MODELS = ("resnet20", "mnist_cnn")  # classifiers that no library has
AUGMENT_STRENGTHS: dict[AugmentName, float] = {"none": 0.0, "crop": 0.0, "light": 0.5, "strong": 1.0}
AUGMENT_RULE = "none, crop, light, strong or in [0, 1]"


def is_augment(value: Any) -> bool:
    """Whether a value is an augmentation strength or the name of one."""
    return value in AUGMENT_STRENGTHS if isinstance(value, str) else 0 <= value <= 1


def is_weights(value: str) -> bool:
    """Whether a value says which weights to start from."""
    kind, _, path = value.partition(":")
    return value in ("none", "hub") or (kind == "file" and Path(path).expanduser().is_absolute())


def milestones(text: str, epochs: float) -> list[float]:
    """The epochs at which a step schedule falls: "82, 123", or fractions of `epochs` such as "0.5, 0.75".

    Fractions hold at every budget, so that a training of 16 epochs and one of 160 fall alike.

    Args:
        text: Increasing numbers above 0, separated by commas; those below 1 are fractions.

    Raises:
        ValueError: The text is anything else.
    """
    try:
        numbers = [float(word) for word in text.split(",")]
    except ValueError as error:
        raise ValueError(f"milestones must be numbers with commas between them, got {text!r}") from error
    found = [in_epochs(number, epochs) for number in numbers]
    if not all(number > 0 for number in numbers) or sorted({*found}) != found:
        raise ValueError(f"milestones must rise from above 0, got {text!r}")
    return found


def in_epochs(number: float, epochs: float) -> float:
    """Convert a position in a training to epochs: below 1 it is a fraction of all of them."""
    return number * epochs if number < 1 else number
