"""Images and the objects in them, independent of the file format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from trainables.core.data_summary import LeftOut


@dataclass(frozen=True, eq=False)
class Objects:
    """The annotated objects of one image.

    Attributes:
        image: Name of the image in the data.
        size_px: Width and height of the image on disk, to which the boxes refer.
        boxes_px: Left, top, right, bottom: (n, 4), fp64, so that scores are exact for the file's numbers; at
            most a pixel beyond the image.
        labels: Classes, counted from 0: (n,), int64.
        is_crowd: Whether a box is a group (COCO) or difficult (VOC): it is not trained on, and a detection
            there is no mistake: (n,), bool.
        area_px: Area of the outline if known, else of the box: (n,), fp64. COCO calls objects under 32 x 32
            small and over 96 x 96 large.
    """

    image: str
    size_px: tuple[float, float]
    boxes_px: Tensor
    labels: Tensor
    is_crowd: Tensor
    area_px: Tensor

    @property
    def scale_px(self) -> Tensor:
        """Factors from fractions of width and height to pixels, for the coordinates of a box: (4,)."""
        return torch.tensor([*self.size_px, *self.size_px], dtype=torch.float64)

    @property
    def is_trained(self) -> Tensor:
        """Which objects are trained on, all but crowds: (n,), bool."""
        return ~self.is_crowd

    def trained(self) -> tuple[Tensor, Tensor]:
        """The corners of trained objects as fractions of the sides, in [0, 1]: (m, 4), fp32; labels (m,)."""
        kept = self.is_trained
        return (self.boxes_px[kept] / self.scale_px).clamp(0, 1).float(), self.labels[kept]


def objects_of(
    image: str,
    size_px: tuple[float, float],
    boxes_px: Sequence[Sequence[float]],
    labels: Sequence[int],
    *,
    is_crowd: Sequence[bool] | None = None,
    area_px: Sequence[float] | None = None,
) -> Objects:
    """Build objects from plain numbers, boxes as left, top, right, bottom."""
    boxes = torch.tensor(boxes_px, dtype=torch.float64).reshape(-1, 4)
    sides = boxes[:, 2:] - boxes[:, :2]
    return Objects(
        image=image,
        size_px=size_px,
        boxes_px=boxes,
        labels=torch.tensor(labels, dtype=torch.int64),
        is_crowd=torch.tensor(is_crowd or [False] * len(labels), dtype=torch.bool),
        area_px=sides.prod(1) if area_px is None else torch.tensor(area_px, dtype=torch.float64),
    )


@dataclass(frozen=True, eq=False)
class Annotations:
    """All images of a source.

    Attributes:
        paths: The images' files; empty for generated images.
        parts: "train", "val" or "test" for each image, as in the source.
        category_ids: The source's own ids of the classes, which may have gaps or be words.
        notes: Changes made to the source's data, by topic.
        left_out: Items of the source that are not used.
    """

    objects: tuple[Objects, ...]
    parts: tuple[str, ...]
    class_names: tuple[str, ...]
    category_ids: tuple[int | str, ...]
    paths: tuple[Path, ...] = ()
    notes: Mapping[str, str] = field(default_factory=dict)
    left_out: tuple[LeftOut, ...] = ()

    def balance(self) -> Tensor:
        """The rarest class of each image, by which splits and subsets are balanced: (n,), int64.

        Images without objects form a separate class.
        """
        counts = Counter(label for objects in self.objects for label in set(objects.labels.tolist()))
        rarest = [
            min(objects.labels.tolist(), key=lambda label: (counts[label], label), default=len(counts))
            for objects in self.objects
        ]
        return torch.tensor(rarest, dtype=torch.int64)

    def described(self) -> dict[str, str]:
        """Notes by topic: what was changed or is not trained on, and how categories are numbered."""
        notes = dict(self.notes)
        if num_crowds := sum(int(objects.is_crowd.sum()) for objects in self.objects):
            notes["crowds"] = f"{num_crowds} crowds or difficult objects are not trained on, nor are mistakes"
        if self.category_ids and self.category_ids != tuple(range(len(self.category_ids))):
            first, last = self.category_ids[0], self.category_ids[-1]
            notes["categories"] = f"{len(self.category_ids)} classes; ids {first} to {last} in the data"
        return notes

    def row_notes(self) -> dict[str, str]:
        """Notes for a trial's row: those of `described`, and what is left out."""
        left_out = {"left_out": "; ".join(map(str, self.left_out))} if self.left_out else {}
        return {**self.described(), **left_out}
