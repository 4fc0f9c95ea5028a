"""A classifier's predictions for each image of a set, as tables."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from trainables.core.optional import Table
from trainables.engine.images.batches import Batch
from trainables.engine.images.pictures import Picture, numbered_pngs

Cells = Sequence[str | float | None]

_SAID_COLUMNS = ("image", "label", "predicted", "score", "label_score")
_MAX_IMAGES = 24
_IMAGE_PX = 160  # of their longer side; a PNG of it is under 80 KiB


class Predictions:
    """Confusion, the classes' own scores, confused pairs and mistakes; fed batch by batch.

    Args:
        image_name: Returns the name of the image that is fed first (0), second (1) and so on.
        picture: Returns an image by the same number, its longer side at most the given pixels, or None if it
            cannot be shown. Without it there are no images.
    """

    def __init__(
        self,
        class_names: Sequence[str],
        image_name: Callable[[int], str],
        picture: Picture | None = None,
    ) -> None:
        self._names = class_names
        self._image_name = image_name
        self._picture = picture
        self._seen: list[tuple[Tensor, ...]] = []
        self._surest_mistakes = torch.empty(0, dtype=torch.long)

    def update(self, logits: Tensor, batch: Batch) -> None:
        """Add a batch and its logits (batch, classes) in fp32."""
        shares = logits.softmax(1)
        score, predicted = shares.max(1)
        label_score = shares.gather(1, batch.labels[:, None])[:, 0]
        self._seen.append((batch.labels, predicted, score, label_score))

    def tables(self) -> Mapping[str, Table]:
        """Return the tables that results/README.md explains, none if nothing was fed, and reset."""
        if not self._seen:
            return {}
        columns = [torch.cat(parts).cpu() for parts in zip(*self._seen, strict=True)]
        self._seen.clear()
        labels, predicted = columns[:2]
        num_classes = len(self._names)
        matrix = (labels * num_classes + predicted).bincount(minlength=num_classes**2)
        return {
            **confusion_tables(self._names, matrix.reshape(num_classes, num_classes)),
            "mistakes": self._mistakes(*columns),
            "predictions": self._predictions(*columns),
            "examples": self._examples(predicted == labels),
        }

    def images(self) -> Mapping[str, bytes]:
        """PNGs of the first rows of the last `mistakes`: at most 24, of at most 160 px.

        If one cannot be shown there are none, because files and rows are in the same order.
        """
        return numbered_pngs(self._picture, self._surest_mistakes.tolist(), _IMAGE_PX)

    def _predictions(self, labels: Tensor, predicted: Tensor, score: Tensor, label_score: Tensor) -> Table:
        """The prediction for every image, in the order of the set, which the saved model must reproduce."""
        columns = (values.tolist() for values in (labels, predicted, score, label_score))
        return Table(
            columns=_SAID_COLUMNS,
            rows=[
                (self._image_name(place), self._names[label], self._names[said], sure, label_sure)
                for place, (label, said, sure, label_sure) in enumerate(zip(*columns, strict=True))
            ],
        )

    def _examples(self, is_right: Tensor) -> Table:
        """The contribution of each image to the accuracy, which is their mean."""
        rows = [(self._image_name(place), value) for place, value in enumerate(is_right.double().tolist())]
        return Table(columns=("example", "accuracy"), rows=rows)

    def _mistakes(self, labels: Tensor, predicted: Tensor, score: Tensor, label_score: Tensor) -> Table:
        """The wrong predictions, the most confident first."""
        wrong = (predicted != labels).nonzero()[:, 0]
        wrong = wrong[score[wrong].argsort(descending=True, stable=True)]
        self._surest_mistakes = wrong[:_MAX_IMAGES]
        columns = (values[wrong].tolist() for values in (labels, predicted, score, label_score))
        return Table(
            columns=_SAID_COLUMNS,
            rows=[
                (self._image_name(place), self._names[label], self._names[predicted], sure, label_sure)
                for place, label, predicted, sure, label_sure in zip(wrong.tolist(), *columns, strict=True)
            ],
        )


def confusion_tables(names: Sequence[str], matrix: Tensor) -> dict[str, Table]:
    """Tables of how often each label was predicted as each class.

    Args:
        matrix: Numbers of images, (label, predicted), int64.
    """
    num_images = matrix.sum(1, keepdim=True)
    counts, shares = matrix.tolist(), (matrix.double() / num_images).tolist()
    return {
        "confusion": _square(names, counts),
        "confusion_normalised": _square(names, [list(map(_known, row)) for row in shares]),
        "per_class": Table(
            columns=("label", "num_images", "accuracy", "precision", "f1"),
            rows=list(_class_rows(names, matrix)),
        ),
        "confused_pairs": Table(
            columns=("label", "predicted", "num_images", "share"),
            rows=[
                (names[label], names[predicted], counts[label][predicted], shares[label][predicted])
                for label, predicted in _pairs(matrix, num_images)
            ],
        ),
    }


def _class_rows(names: Sequence[str], matrix: Tensor) -> Iterator[Cells]:
    """Each class's number of images, accuracy (recall), precision and F1; None for 0 / 0."""
    right = matrix.diagonal().double()
    num_images, num_predicted = matrix.sum(1), matrix.sum(0)
    scores = (right / num_images, right / num_predicted, 2 * right / (num_images + num_predicted))
    for name, num, *values in zip(names, num_images.tolist(), *(s.tolist() for s in scores), strict=True):
        yield (name, num, *map(_known, values))


def _pairs(matrix: Tensor, num_images: Tensor) -> list[list[int]]:
    """(label, predicted) of every confusion, the most frequent first; among equals, by the larger share."""
    wrong = matrix - matrix.diagonal().diag()
    pairs: list[list[int]] = wrong.nonzero().tolist()
    return sorted(pairs, key=lambda pair: (-int(wrong[*pair]), int(num_images[pair[0]])))


def _square(names: Sequence[str], rows: Sequence[Cells]) -> Table:
    """A matrix as a table, with the label of each row in its first column."""
    named = [(name, *row) for name, row in zip(names, rows, strict=True)]
    return Table(columns=("label", *names), rows=named)


def _known(value: float) -> float | None:
    """None for 0 / 0: a class without images, or one that was never predicted."""
    return None if math.isnan(value) else value
