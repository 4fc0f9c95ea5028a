"""Images and the objects in them, whatever file they were described in."""

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
        image: Its name in the data.
        size_px: Width and height of the image as it is on disk, in which the boxes are.
        boxes_px: Left, top, right, bottom: (n, 4), fp64, so that scores are those of the file's numbers; at
            most a pixel beyond the image.
        labels: Classes, counted from 0: (n,), int64.
        is_crowd: Whether a box is of a group (COCO) or difficult (VOC): not trained on, and whatever is
            detected there is no mistake: (n,), bool.
        area_px: Of the outline where that is known, else of the box: (n,), fp64. COCO's small is
            under 32 x 32, large over 96 x 96.
    """

    image: str
    size_px: tuple[float, float]
    boxes_px: Tensor
    labels: Tensor
    is_crowd: Tensor
    area_px: Tensor

    @property
    def scale_px(self) -> Tensor:
        """What shares of width and height are multiplied by: (4,)."""
        return torch.tensor([*self.size_px, *self.size_px], dtype=torch.float64)

    @property
    def is_trained(self) -> Tensor:
        """Which are learnt: all but crowds: (n,), bool."""
        return ~self.is_crowd

    def trained(self) -> tuple[Tensor, Tensor]:
        """Corners as shares of width and height, in [0, 1]: (m, 4), fp32; and labels (m,)."""
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
    """From plain numbers; boxes as left, top, right, bottom."""
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
        paths: The files; empty for images that are made.
        parts: "train", "val" or "test" of each image, as the source brings them.
        category_ids: The source's own ids of the classes, which may have gaps or be words.
        notes: What is not taken as it stands, by topic.
        left_out: What the source has that is not used.
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

        Images without objects are a class of their own.
        """
        counts = Counter(label for objects in self.objects for label in set(objects.labels.tolist()))
        rarest = [
            min(objects.labels.tolist(), key=lambda label: (counts[label], label), default=len(counts))
            for objects in self.objects
        ]
        return torch.tensor(rarest, dtype=torch.int64)

    def described(self) -> dict[str, str]:
        """What is not taken as it stands or not trained on, and how categories are counted; by topic."""
        notes = dict(self.notes)
        if num_crowds := sum(int(objects.is_crowd.sum()) for objects in self.objects):
            notes["crowds"] = f"{num_crowds} crowds or difficult objects are not trained on, nor are mistakes"
        if self.category_ids and self.category_ids != tuple(range(len(self.category_ids))):
            first, last = self.category_ids[0], self.category_ids[-1]
            notes["categories"] = f"{len(self.category_ids)} classes; ids {first} to {last} in the data"
        return notes

    def row_notes(self) -> dict[str, str]:
        """What a row should say of them: the same, and what is left out."""
        left_out = {"left_out": "; ".join(map(str, self.left_out))} if self.left_out else {}
        return {**self.described(), **left_out}
