"""Loading a model from its folder: its module, the transform of its images, and its description."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trainables.core.contract import Trainable, UnknownTrainable, WeightsError
from trainables.core.load import load_trainable, trainable_names
from trainables.core.model_folder import WEIGHTS_FILE, ModelCard, UnusableModel, model_folder, read_card
from trainables.core.suggest import suggest
from trainables.engine.inference.preprocess import Preprocess
from trainables.engine.inference.weights import read_weights
from trainables.engine.step import in_fp32

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A trained model, ready to predict.

    Attributes:
        module: Maps images (batch, channels, height, width), float, to logits (batch, classes) of a
            classifier, `boxes` (batch, found, 4) and `scores` (batch, found, classes) of a detector,
            qualities (batch,), or features (batch, n) of length 1. In evaluation mode, on the CPU, in fp32.
        transform: Maps an image (a path or a Pillow image) to one image of such a batch.
        card: The contents of model.json: classes, metric, the training that it comes from.
        folder: The folder that it was read from.
    """

    module: nn.Module
    transform: Preprocess
    card: ModelCard
    folder: Path

    def ask(
        self, images: Tensor, device: torch.device, precision: str, *, extents: Tensor | None = None
    ) -> Any:
        """Outputs of the module in fp32, computed as in its test: in `precision`, the whole batch at once.

        Args:
            extents: How much of the canvas each image takes, see `Preprocess.extents`; None means all.
        """
        given = [images.to(device)] if extents is None else [images.to(device), extents.to(device)]
        with torch.inference_mode(), autocast(device, precision):
            return in_fp32(self.module(*given))


def load_model(path: str | Path, *, trainable: str | Path | None = None) -> LoadedModel:
    """Load the model that a promoted training or `train.py --out` saved. Nothing in its folder is executed.

    Args:
        path: The folder `model/`, or the training's folder with `model/` in it.
        trainable: The Python file of a trainable of your own; without it only models of the families that
            come with the program are loaded.

    Raises:
        UnusableModel: There is no model, it is damaged, or its trainable must be named; a ValueError.
    """
    folder = model_folder(Path(path).expanduser())
    card = read_card(folder)
    family = _family(card, trainable, folder)
    if family.rebuild is None:
        raise UnusableModel(
            f"{card.trainable} builds no models outside of its training (its TRAINABLE has no rebuild)"
        )
    weights = read_weights(folder / WEIGHTS_FILE, card.weights_sha256)
    try:
        module: nn.Module = family.rebuild(card, weights)
    except UnusableModel as error:
        raise UnusableModel(f"{folder}: {error}") from error
    except (KeyError, TypeError, ValueError, RuntimeError, WeightsError) as error:
        reason = f"{type(error).__name__}: {error}" if isinstance(error, KeyError) else str(error)
        raise UnusableModel(f"{folder}: {card.model} cannot be built from model.json: {reason}") from error
    return LoadedModel(module.eval(), Preprocess(card.images), card, folder)


def autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """Context in which a module computes in this number format."""
    dtype = _DTYPES[precision]
    return torch.autocast(device.type, dtype, enabled=dtype is not torch.float32)


def precision_on(device: torch.device, card: ModelCard) -> tuple[str, str]:
    """The number format that the model's test was computed in, or the nearest that `device` has, and a note.

    The note is empty if it is the test's own format.
    """
    if card.precision not in _DTYPES:
        raise UnusableModel(f"precision must be one of {', '.join(_DTYPES)}, got {card.precision!r}")
    if card.precision == "fp16" and device.type != "cuda":
        return (
            "fp32",
            f"the test was computed in fp16, which {device.type} does not have: scores may differ in the 3rd "
            "digit",
        )
    return card.precision, ""


def _family(card: ModelCard, own_file: str | Path | None, folder: Path) -> Trainable:
    """The trainable that builds the model: one of this program by name, or the user's own file."""
    if own_file is not None:
        path = Path(own_file).expanduser()
        try:
            return load_trainable(str(path))
        except UnknownTrainable as error:
            raise UnusableModel(str(error)) from error
    names = trainable_names()
    if card.trainable in names:
        return load_trainable(card.trainable)
    if card.trainable.endswith(".py"):
        raise UnusableModel(
            f"{folder} is of a trainable of your own, {card.trainable}: name its file with --trainable (or "
            "load_model(..., trainable=FILE)); its code is run then, so name one that you trust"
        )
    raise UnusableModel(
        f"{folder} is of the trainable {card.trainable!r}, which is not here{suggest(card.trainable, names)}"
    )
