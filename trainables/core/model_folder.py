"""Trained models as folders that outlive their run: `model.json` describes a model, `model.safetensors` has
its weights.

Nothing in the folder is code, and reading it runs none: safetensors are numbers with a JSON header, and a
trainable's name is looked up among the built-in ones. A user's own trainable must be named when the model is
loaded; the folder alone cannot cause its file to be executed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from trainables.core.files import replacing
from trainables.core.suggest import suggest_path

FORMAT = 1
WEIGHTS_FILE, CARD_FILE = "model.safetensors", "model.json"
_MAX_CARD_BYTES = 64 * 2**20  # a class name of 1,000 characters for each of 21,000 classes takes 21 MB
_LISTED = 5

Kind = Literal["classification", "detection", "quality", "features"]
WeightsFormat = Literal["fp32", "fp16"]
INTERPOLATIONS = ("bilinear", "bicubic", "lanczos", "nearest")


class UnusableModel(ValueError):
    """A folder holds no usable model; the message says why, and what to do."""


@dataclass(frozen=True, kw_only=True)
class ImageInput:
    """How an image is prepared for a model.

    Attributes:
        channels: 1 (grey) or 3 (red, green and blue).
        height: Height of the images in pixels; `width` likewise.
        mean: Mean of each channel, for values in [0, 1]; `mean` and `std` scale images to mean 0 and
            standard deviation 1.
        decoded_px: Height at which images are decoded before they are resized to `height`: training decodes
            once, at the top rung's resolution, and here pixels go through the same two steps.
        crop: Fraction of the shorter side that is kept, in the middle.
        is_squashed: Whether the whole image is first stretched to the shape, so that only `crop` cuts off
            any of its longer side.
        keeps_aspect: Whether an image keeps its proportions: it is shrunk until its longer side is at most
            `height` px and its shorter one six tenths of that, and placed in the upper left of a canvas of
            zeros whose sides are multiples of 32 px. The module is told which part of the canvas it covers.
        interpolation: Pillow's name of the interpolation, in lower case; resizing is antialiased.
        deep_ranges: For images of more than 8 bits, by kind, the smallest and largest value in the training
            data, which were mapped to 0 and 255.
    """

    channels: int
    height: int
    width: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    decoded_px: int
    crop: float = 1.0
    is_squashed: bool = False
    keeps_aspect: bool = False
    interpolation: str = "bilinear"
    deep_ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def problems(self) -> list[str]:
        """Describe every value that makes no sense."""
        problems = []
        for name in ("height", "width", "decoded_px"):
            if not _is_count(getattr(self, name)):
                problems.append(f"images.{name} must be a number of pixels, got {getattr(self, name)!r}")
        if self.channels not in (1, 3):
            problems.append(f"images.channels must be 1 or 3, got {self.channels!r}")
        for name in ("mean", "std"):
            values = getattr(self, name)
            if len(values) != self.channels or not all(map(_is_number, values)):
                problems.append(f"images.{name} must be {self.channels} numbers, got {list(values)!r}")
        if any(_is_number(value) and value <= 0 for value in self.std):
            problems.append(f"images.std must be above 0, got {list(self.std)!r}")
        if not (_is_number(self.crop) and 0 < self.crop <= 1):
            problems.append(f"images.crop must be above 0 and at most 1, got {self.crop!r}")
        if self.interpolation not in INTERPOLATIONS:
            problems.append(
                f"images.interpolation must be one of {', '.join(INTERPOLATIONS)}, got {self.interpolation!r}"
            )
        return problems


@dataclass(frozen=True, kw_only=True)
class PortableModel:
    """A trained model that can be used without its training, as `Training.portable_model()` returns it.

    Attributes:
        kind: What the model predicts for an image: a score for each class, boxes, a quality, or features.
        model: Its name, as in the hyperparameter.
        build: Plain data from which `Trainable.rebuild` builds the empty module.
        weights: Tensors by name, on any device; a reader takes them from the folder.
        classes: Names of the classes, in the order of the output; empty if the output is a number or
            features.
        precision: The number format in which the test was computed: "fp32", "bf16" or "fp16".
        initial_weights: The weights that training started from: `weights` as in the hyperparameter, and
            `licence` if it is known.
    """

    kind: Kind
    model: str
    build: Mapping[str, Any]
    images: ImageInput
    weights: Mapping[str, Any] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    precision: str = "fp32"
    initial_weights: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """The content of model.json.

    Attributes:
        trainable: The family that builds the model, or the name of the user's own file.
        training: Origin of the model: run, trial, seed, epoch, hyperparameters and data, as its checkpoints
            state.
        metric: The declared metric; `value` is its value on validation after the last epoch, `test` has all
            test scores.
        weights_sha256: SHA-256 of model.safetensors, which holds `num_values` numbers in `weights_format`.
        versions: Versions of the packages that made it.
    """

    trainable: str
    kind: Kind
    model: str
    build: Mapping[str, Any]
    images: ImageInput
    classes: tuple[str, ...] = ()
    precision: str = "fp32"
    metric: str = ""
    value: float | None = None
    test: Mapping[str, float] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    initial_weights: Mapping[str, str | None] = field(default_factory=dict)
    weights_sha256: str = ""
    weights_format: WeightsFormat = "fp32"
    num_values: int | None = None
    versions: Mapping[str, str] = field(default_factory=dict)

    def to_text(self) -> str:
        """Return the text of model.json."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=2, ensure_ascii=False) + "\n"


def model_folder(path: Path) -> Path:
    """Return the folder of a model: `path` itself, `model/` in it as a training leaves it, or its parent.

    Raises:
        UnusableModel: There is none; the message names models below `path`, if there are any.
    """
    for folder in (path, path / "model"):
        if (folder / CARD_FILE).is_file():
            return folder
    if path.name in (CARD_FILE, WEIGHTS_FILE) and (path.parent / CARD_FILE).is_file():
        return path.parent
    if not path.exists():
        raise UnusableModel(f"there is no {path}{suggest_path(path)}")
    below = sorted(path.rglob(f"model/{CARD_FILE}")) if path.is_dir() else []
    if below:
        listed = ", ".join(str(card.parent) for card in below[:_LISTED])
        more = f" and {len(below) - _LISTED} more" if len(below) > _LISTED else ""
        raise UnusableModel(f"{path} has no {CARD_FILE}; models below it: {listed}{more}")
    raise UnusableModel(
        f"{path} has no {CARD_FILE}; a model is the folder model/ that a promoted training or train.py --out "
        "left"
    )


def read_card(folder: Path) -> ModelCard:
    """Read and check model.json.

    Raises:
        UnusableModel: It cannot be read, or has values that make no sense, all listed in one message.
    """
    path = folder / CARD_FILE
    try:
        if path.stat().st_size > _MAX_CARD_BYTES:
            raise UnusableModel(f"{path} is larger than 64 MiB: it is not a {CARD_FILE} of jouletune's")
        content = json.loads(path.read_text(encoding="utf-8-sig"))  # an editor may have left a BOM
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, UnusableModel):
            raise
        raise UnusableModel(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = content.get("format") if isinstance(content, dict) else type(content).__name__
        raise UnusableModel(
            f"{path} is of format {found!r}, this version reads {FORMAT}; export the model again"
        )
    try:
        card = _card_of(content)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UnusableModel(f"{path} is incomplete or has other fields than a model's: {error}") from error
    if problems := _problems_of(card):
        raise UnusableModel(f"{path}: {'; '.join(problems)}")
    return card


def write_model(
    folder: Path,
    model: PortableModel,
    write_weights: Callable[[Path, Mapping[str, Any], WeightsFormat], tuple[str, int]],
    *,
    weights_format: WeightsFormat = "fp32",
    **facts: Any,
) -> ModelCard:
    """Write a model's two files, weights first, so that a folder with model.json is complete.

    Args:
        write_weights: Writes a file of weights, and returns its SHA-256 and how many numbers it has.
        facts: Fields of `ModelCard` that the model itself does not know, but its training does.

    Raises:
        OSError: The disk is full or not writable. The weights of a previous model there may no longer match
            its digest, which an error reports when that model is read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / WEIGHTS_FILE) as scratch:
        digest, num_values = write_weights(scratch, model.weights, weights_format)
    own = {part.name for part in fields(ModelCard)}
    known = {part.name: getattr(model, part.name) for part in fields(model) if part.name in own}
    card = ModelCard(
        **known, **facts, weights_sha256=digest, weights_format=weights_format, num_values=num_values
    )
    with replacing(folder / CARD_FILE) as scratch:
        scratch.write_text(card.to_text(), encoding="utf-8")
    return card


def _card_of(content: Mapping[str, Any]) -> ModelCard:
    """Build the card from parsed JSON, whose lists become tuples; unknown fields are an error."""
    values = {name: value for name, value in content.items() if name != "format"}
    images = dict(values.pop("images"))
    for name in ("mean", "std"):
        images[name] = tuple(images[name])
    ranges = images.get("deep_ranges", {})
    images["deep_ranges"] = {kind: (float(low), float(high)) for kind, (low, high) in ranges.items()}
    return ModelCard(
        **{**values, "images": ImageInput(**images), "classes": tuple(values.get("classes", ()))}
    )


def _problems_of(card: ModelCard) -> list[str]:
    problems = card.images.problems()
    if card.kind not in get_args(Kind):
        problems.append(f"kind must be one of {', '.join(get_args(Kind))}, got {card.kind!r}")
    problems += [
        f"{name} must be text, got {getattr(card, name)!r}"
        for name in ("trainable", "model", "weights_sha256", "precision")
        if not isinstance(getattr(card, name), str)
    ]
    problems += [
        f"{name} must be a mapping, got {getattr(card, name)!r}"
        for name in ("build", "training", "test")
        if not isinstance(getattr(card, name), dict)
    ]
    if not all(isinstance(name, str) for name in card.classes):
        problems.append("classes must be text")
    if card.kind in ("classification", "detection") and not card.classes:
        problems.append(f"a model of {card.kind} needs classes")
    return problems


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= 2**15


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
