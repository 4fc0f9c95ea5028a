"""From a model's outputs for images to rows of a table: one for each image, or for each box in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from trainables.core.model_folder import ModelCard, UnusableModel

Row = dict[str, str | float | None]

MOST_BOXES = 100  # of an image, by score, as COCO counts
_BOX_COLUMNS = ("label", "score", "left_px", "top_px", "width_px", "height_px")


def answer_columns(card: ModelCard, num_features: int | None = None) -> tuple[str, ...]:
    """The columns of a model's answers, after `image`.

    Args:
        num_features: Number of features, for a model that outputs features.
    """
    match card.kind:
        case "classification":
            return ("predicted", "score", *(f"p_{name}" for name in card.classes))
        case "detection":
            return _BOX_COLUMNS
        case "quality":
            return ("score",)
        case "features":
            return tuple(f"f{number}" for number in range(num_features or 0))


def answers(
    card: ModelCard, outputs: Any, sizes_px: Sequence[tuple[int, int]], *, threshold: float
) -> list[list[Row]]:
    """The rows of each image of a batch, in order.

    Args:
        outputs: The module's outputs, in fp32.
        sizes_px: Width and height of each image's file, upright: boxes are in its pixels.
        threshold: Boxes with a lower score are left out.

    Raises:
        UnusableModel: The outputs are not of the model's kind.
    """
    if not _is_of_kind(card, outputs):
        raise UnusableModel(f"{card.model} does not give the outputs of {card.kind}, which model.json names")
    match card.kind:
        case "classification":
            return [[row] for row in _of_classes(card, outputs)]
        case "detection":
            return [
                _boxes(card, boxes, scores, size, threshold)
                for boxes, scores, size in zip(outputs["boxes"], outputs["scores"], sizes_px, strict=True)
            ]
        case "quality":
            return [[{"score": value}] for value in outputs.tolist()]
        case "features":
            return [[{f"f{number}": value for number, value in enumerate(row)}] for row in outputs.tolist()]


def _is_of_kind(card: ModelCard, outputs: Any) -> bool:
    match card.kind:
        case "classification":
            return isinstance(outputs, Tensor) and outputs.ndim == 2 and outputs.shape[1] == len(card.classes)
        case "detection":
            return isinstance(outputs, Mapping)
        case "quality":
            return isinstance(outputs, Tensor) and outputs.ndim == 1
        case "features":
            return isinstance(outputs, Tensor) and outputs.ndim == 2


def surest_boxes(boxes: Tensor, scores: Tensor, most: int = MOST_BOXES) -> tuple[Tensor, Tensor, Tensor]:
    """The highest-scoring pairs of a box and a class, best first: boxes (n, 4), scores (n,), classes (n,).

    There are at most as many pairs as boxes, as the authors of RT-DETR count.

    Args:
        boxes: (found, 4).
        scores: (found, classes); 0 for a class that a box has no score for.
    """
    found, chosen = scores.flatten().sort(descending=True, stable=True)
    chosen = chosen[: min(most, len(boxes), int((found > 0).sum()))]
    num_classes = scores.shape[1]
    return boxes[chosen // num_classes], scores.flatten()[chosen], chosen % num_classes


def _of_classes(card: ModelCard, logits: Tensor) -> list[Row]:
    shares = logits.softmax(1)
    score, predicted = shares.max(1)
    return [
        {
            "predicted": card.classes[number],
            "score": sure,
            **{f"p_{name}": share for name, share in zip(card.classes, row, strict=True)},
        }
        for number, sure, row in zip(predicted.tolist(), score.tolist(), shares.tolist(), strict=True)
    ]


def _boxes(
    card: ModelCard, boxes: Tensor, scores: Tensor, size_px: tuple[int, int], threshold: float
) -> list[Row]:
    """The boxes of one image, in the pixels of its file."""
    chosen, sure, labels = surest_boxes(boxes.cpu(), scores.cpu())
    scale = torch.tensor([*size_px, *size_px], dtype=torch.float64)
    columns: Mapping[str, list[Any]] = {
        "label": labels.tolist(),
        "score": sure.tolist(),
        "box": (chosen.double() * scale).tolist(),
    }
    rows: list[Row] = []
    for label, score, (left, top, right, bottom) in zip(*columns.values(), strict=True):
        if score >= threshold:
            values = (card.classes[label], score, left, top, right - left, bottom - top)
            rows.append(dict(zip(_BOX_COLUMNS, values, strict=True)))
    return rows
