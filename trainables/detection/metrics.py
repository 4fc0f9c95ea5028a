"""COCO's scores for a detector over a whole set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import MeanMetric
from torchmetrics.detection import MeanAveragePrecision

from trainables.core.optional import Table
from trainables.detection.annotations import Annotations, Objects
from trainables.detection.batches import DetectionBatch
from trainables.detection.mistakes import DetectionMistakes
from trainables.engine.images.pictures import Picture

MOST_DETECTIONS = 100  # per image, the most confident; COCO's AP counts no more of any class
_SCORES = ("map", "map_50", "map_75", "map_small", "map_medium", "map_large", "mar_100")
_MIN_LISTED = 0.05  # lowest score of a detection in the table

Detections = Mapping[str, Tensor]


class DetectionMetrics:
    """AP as COCO computes it (map is the mean over IoU 0.50 to 0.95 and classes), and loss.

    Equal to pycocotools' on the same detections. A size that no object has gets no score. Boxes are
    scored in pixels of the images on disk, so sizes do not depend on the resolution.
    """

    def __init__(self) -> None:
        self._precision = coco_precision()
        self._loss = MeanMetric()
        self._num_images = 0

    def update(self, outputs: Mapping[str, Any], batch: DetectionBatch) -> None:
        """Add a batch with its `detections` and `loss`."""
        self._precision.update(*compared(outputs["detections"], batch.objects))
        self._loss.update(outputs["loss"].cpu(), weight=len(batch))
        self._num_images += len(batch)

    def compute(self) -> dict[str, float]:
        """Return the scores over all batches since the last call as plain floats, and reset."""
        scores = self._precision.compute()
        values = {name: float(scores[name]) for name in _SCORES if scores[name] >= 0}  # -1 is undefined
        values["loss"] = float(self._loss.compute())
        values["num_examples"] = float(self._num_images)
        self._num_images = 0
        self._precision.reset()
        self._loss.reset()
        return values


class DetectionDetails:
    """Scores per class and the individual detections, with the data's own category ids, and the mistakes.

    Args:
        picture: As `DetectionMistakes` takes it.
    """

    def __init__(self, annotations: Annotations, picture: Picture | None = None) -> None:
        self._names, self._ids = annotations.class_names, annotations.category_ids
        self._precision = coco_precision(has_classes=True)
        self._num_objects = torch.zeros(len(self._names), dtype=torch.int64)
        self._found: list[tuple[str | float | None, ...]] = []
        self._mistakes = DetectionMistakes(self._names, picture)

    def update(self, outputs: Mapping[str, Any], batch: DetectionBatch) -> None:
        found, truths = compared(outputs["detections"], batch.objects)
        self._precision.update(found, truths)
        for objects, item in zip(batch.objects, found, strict=True):
            labels = objects.labels[~objects.is_crowd]
            self._num_objects += torch.bincount(labels, minlength=len(self._names))
            self._found += self._rows(objects, item)
            self._mistakes.update(item, objects)

    def tables(self) -> Mapping[str, Table]:
        """Return the tables that results/README.md explains, and reset; none if no batch was added."""
        if not self._precision.groundtruth_labels:
            return {}
        scores = self._precision.compute()
        seen = scores["classes"].reshape(-1).tolist()
        own = zip(*(scores[name].reshape(-1).tolist() for name in _CLASS_SCORES), strict=True)
        by_class = dict(zip(seen, own, strict=True))
        rows = [
            (name, self._ids[label], num, *map(_known, by_class.get(label, (-1.0, -1.0))))
            for label, (name, num) in enumerate(zip(self._names, self._num_objects.tolist(), strict=True))
        ]
        found = Table(columns=_FOUND_COLUMNS, rows=tuple(self._found))
        self._precision.reset()
        self._num_objects.zero_()
        self._found = []
        columns = ("label", "category_id", "num_objects", "ap", "ar_100")
        return {
            "average_precision": Table(columns=columns, rows=rows),
            "detections": found,
            "mistakes": self._mistakes.table(),
        }

    def images(self) -> Mapping[str, bytes]:
        """Images of the first rows of the last `mistakes`, with their boxes."""
        return self._mistakes.images()

    def _rows(self, objects: Objects, found: Detections) -> list[tuple[str | float | None, ...]]:
        kept = found["scores"] >= _MIN_LISTED
        columns = (found[name][kept].tolist() for name in ("labels", "boxes", "scores"))
        return [
            (objects.image, self._ids[label], *map(float, box), score)
            for label, box, score in zip(*columns, strict=True)
        ]


_CLASS_SCORES = ("map_per_class", "mar_100_per_class")
_FOUND_COLUMNS = ("image", "category_id", "left_px", "top_px", "width_px", "height_px", "score")


def coco_precision(*, has_classes: bool = False) -> MeanAveragePrecision:
    """COCO's average precision, for boxes as left, top, width, height.

    torchmetrics' own thresholds are fp32, in which 0.1 exceeds 0.1: recalls of exactly a tenth then miss it,
    and map is up to 0.0008 below pycocotools'.
    """
    return MeanAveragePrecision(
        box_format="xywh",
        iou_thresholds=np.linspace(0.5, 0.95, 10).tolist(),
        rec_thresholds=np.linspace(0.0, 1.0, 101).tolist(),
        class_metrics=has_classes,
        max_detection_thresholds=[1, 10, MOST_DETECTIONS],
        backend="faster_coco_eval",
    )


def compared(
    detections: Sequence[Detections], objects: Sequence[Objects]
) -> tuple[list[dict[str, Tensor]], list[dict[str, Tensor]]]:
    """Return the most confident detections and the truth for torchmetrics, on the CPU, in image pixels."""
    found = [_in_pixels(item, truth) for item, truth in zip(detections, objects, strict=True)]
    truths = [
        {
            "boxes": _as_coco(item.boxes_px),
            "labels": item.labels,
            "iscrowd": item.is_crowd.long(),
            "area": item.area_px,
        }
        for item in objects
    ]
    return found, truths


def _in_pixels(found: Detections, truth: Objects) -> dict[str, Tensor]:
    """The most confident detections of one image in torchmetrics' format, in pixels of its file."""
    scores, chosen = found["scores"].cpu().sort(descending=True, stable=True)
    chosen = chosen[:MOST_DETECTIONS]
    boxes_px = found["boxes"].cpu()[chosen].double() * truth.scale_px
    return {
        "boxes": _as_coco(boxes_px),
        "scores": scores[:MOST_DETECTIONS],
        "labels": found["labels"].cpu()[chosen],
    }


def _as_coco(corners_px: Tensor) -> Tensor:
    """Corners (n, 4) as left, top, width and height."""
    return torch.cat([corners_px[:, :2], corners_px[:, 2:] - corners_px[:, :2]], dim=1)


def _known(value: float) -> float | None:
    """Convert COCO's -1, for a class without objects, to None."""
    return None if value < 0 else value
