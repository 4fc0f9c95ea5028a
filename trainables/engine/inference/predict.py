"""Predicting on images on disk, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from trainables.core.model_folder import Kind, UnusableModel
from trainables.engine.images.decoding import num_cores
from trainables.engine.images.reading import upright_size
from trainables.engine.inference.answers import Row, answer_columns, answers
from trainables.engine.inference.files import find_images
from trainables.engine.inference.model import LoadedModel, precision_on
from trainables.engine.memory import MicroBatch

# As many as the test scored at once: on a CPU, the last digits of results depend on the batch.
_AT_ONCE: dict[Kind, int] = {"classification": 256, "features": 256, "detection": 32, "quality": 8}
_SURE = 0.5


@dataclass
class Predictions:
    """A model's predictions on some images.

    Attributes:
        columns: The columns of `rows`, `image` first.
        rows: One for each image in the order they were named, or one for each box; an image without boxes has
            a row with empty cells.
        unreadable: Images that cannot be read, with the reason; they have no row.
        num_others: Number of files in named folders whose endings are not those of images.
        notes: Remarks on how they were computed.
    """

    columns: tuple[str, ...] = ()
    rows: list[Row] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)
    num_others: int = 0
    num_images: int = 0
    notes: tuple[str, ...] = ()


def predict(
    model: LoadedModel,
    images: Sequence[str | Path],
    *,
    device: str = "cpu",
    batch_size: int | None = None,
    threshold: float = _SURE,
    precision: str | None = None,
) -> Predictions:
    """Predict with `model` on images: files, folders and patterns such as "photos/*.jpg".

    Args:
        batch_size: Images at a time; None means as many as the test scored at once.
        threshold: A detector's boxes with a lower score are left out.
        precision: "fp32", "bf16" or "fp16"; None means that of the test, so that scores equal the test's.

    Raises:
        NoImages: Something that was named does not exist, or there is no image; a ValueError.
        UnusableModel: The device or number format is not available, or the model's outputs are not finite.
    """
    found = find_images(images)
    target = _device(device)
    chosen, note = (precision, "") if precision else precision_on(target, model.card)
    model.module.to(target)
    said = Predictions(
        unreadable={str(folder): "the folder cannot be read" for folder in found.closed_folders},
        num_others=found.num_others,
        num_images=len(found.paths) + len(found.closed_folders),
        notes=(note,) if note else (),
    )
    said.columns = ("image", *answer_columns(model.card))
    memory = MicroBatch()
    for paths, pixels in _decoded(
        model, found.paths, batch_size or _AT_ONCE[model.card.kind], said.unreadable
    ):
        outputs = memory.run_with_smaller_batches(
            lambda size, all_pixels=pixels: _asked(model, all_pixels, size, target, chosen),  # type: ignore[misc]
            num_examples=len(paths),
            where="predicting",
        )
        _add(said, model, paths, outputs, threshold)
    return said


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UnusableModel(
            f"device {name}: {' '.join(str(error).split())[:200]}; write cpu or cuda"
        ) from error
    return device


def _decoded(
    model: LoadedModel, paths: Sequence[Path], size: int, unreadable: dict[str, str]
) -> Iterator[tuple[list[Path], list[np.ndarray]]]:
    """Batches of images that can be read, decoded by threads while the previous batch is computed."""
    parts = [paths[start : start + size] for start in range(0, len(paths), size)]
    with ThreadPoolExecutor(num_cores(), thread_name_prefix="decode") as pool:

        def submit(part: Sequence[Path]) -> list[Future[np.ndarray]]:
            return [pool.submit(model.transform.pixels, path) for path in part]

        coming = submit(parts[0])
        for number, part in enumerate(parts):
            current, coming = coming, submit(parts[number + 1]) if number + 1 < len(parts) else []
            readable: list[Path] = []
            pixels = []
            for path, future in zip(part, current, strict=True):
                try:
                    pixels.append(future.result())
                    readable.append(path)
                except OSError as error:
                    unreadable[str(path)] = str(error).removeprefix(f"{path}: ")
            if readable:
                yield readable, pixels


def _asked(
    model: LoadedModel, pixels: Sequence[np.ndarray], size: int, device: torch.device, precision: str
) -> list[Tensor | dict[str, Tensor]]:
    """The module's outputs for images, `size` at a time, on the CPU."""
    parts = [pixels[start : start + size] for start in range(0, len(pixels), size)]
    outputs = [
        model.ask(model.transform.scaled(part), device, precision, extents=model.transform.extents(part))
        for part in parts
    ]
    return [
        {name: value.cpu() for name, value in each.items()} if isinstance(each, dict) else each.cpu()
        for each in outputs
    ]


def _add(
    said: Predictions,
    model: LoadedModel,
    paths: Sequence[Path],
    outputs: Sequence[Tensor | dict[str, Tensor]],
    threshold: float,
) -> None:
    """Add the rows of a batch to the predictions."""
    card = model.card
    start = 0
    for part in outputs:
        values = part["scores"] if isinstance(part, dict) else part
        if not bool(values.isfinite().all()):
            raise UnusableModel(
                f"{model.folder} returns values that are not finite: its weights have diverged"
            )
        if card.kind == "features":
            said.columns = ("image", *answer_columns(card, values.shape[-1]))
        named = paths[start : start + len(values)]
        start += len(values)
        sizes = [upright_size(path) for path in named] if card.kind == "detection" else [(0, 0)] * len(named)
        for path, rows in zip(named, answers(card, part, sizes, threshold=threshold), strict=True):
            empty: list[Row] = [dict.fromkeys(said.columns[1:])]
            said.rows += [{"image": str(path), **row} for row in rows or empty]
