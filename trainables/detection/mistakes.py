"""What a detector misses, and where it is mistaken: the worst images of a test set, with their boxes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from PIL import Image, ImageDraw
from torch import Tensor
from torchvision.ops import box_area, box_convert, box_iou

from trainables.core.optional import Table
from trainables.detection.annotations import Objects
from trainables.engine.images.pictures import Picture, numbered_pngs

MIN_SCORE = 0.5  # of a box that counts, as `jouletune predict` shows them by default
_MIN_IOU = 0.5  # of a box that finds an object, as in VOC and in COCO's map_50
_MAX_IMAGES = 12
_IMAGE_PX = 320  # of the longer side; as a PNG up to 250 KiB
# Three colours that are told apart with any colour vision (Okabe and Ito 2008), each between black edges.
_FOUND, _MISSED, _FALSE = (86, 180, 233), (240, 228, 66), (213, 94, 0)
_COLUMNS = ("image", "num_objects", "num_missed", "num_false", "missed", "false")

Detections = Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class JudgedImage:
    """One test image, its objects and what the detector made of it.

    Attributes:
        place: Its number in the test set, from 0.
        is_found: Whether a box found each object: (n,), bool.
        false_boxes_px: Boxes of no object, left, top, right and bottom, in pixels of the file: (m, 4), fp64.
        false_labels: Their classes: (m,), int64.
    """

    place: int
    objects: Objects
    is_found: Tensor
    false_boxes_px: Tensor
    false_labels: Tensor

    @property
    def is_missed(self) -> Tensor:
        """Which objects were missed; a crowd or a difficult object never is: (n,), bool."""
        return ~self.is_found & ~self.objects.is_crowd

    @property
    def num_mistakes(self) -> int:
        """The number of missed objects and of false boxes."""
        return int(self.is_missed.sum()) + len(self.false_labels)


def judged(place: int, found: Detections, objects: Objects) -> JudgedImage:
    """Match boxes with objects: the most confident box first, each object once, only those of its class.

    A box mostly inside a crowd of its class is neither right nor wrong, as for COCO's scores.

    Args:
        found: `boxes` as left, top, width and height in pixels of the file, `scores`, falling, and `labels`.
    """
    is_sure = found["scores"] >= MIN_SCORE
    boxes_px = box_convert(found["boxes"][is_sure], "xywh", "xyxy")
    labels = found["labels"][is_sure]
    is_same = labels[:, None] == objects.labels[None, :]
    overlap = box_iou(boxes_px, objects.boxes_px) * is_same
    in_crowds = (_share_inside(boxes_px, objects.boxes_px) * is_same)[:, objects.is_crowd]
    is_found = torch.zeros(len(objects.labels), dtype=torch.bool)
    is_false = torch.zeros(len(labels), dtype=torch.bool)
    for box in range(len(labels)):
        free = overlap[box].masked_fill(is_found | objects.is_crowd, 0.0)
        if len(free) and free.max() >= _MIN_IOU:
            is_found[free.argmax()] = True
        else:
            is_false[box] = not (in_crowds[box] >= _MIN_IOU).any()
    return JudgedImage(place, objects, is_found, boxes_px[is_false], labels[is_false])


def _share_inside(boxes: Tensor, others: Tensor) -> Tensor:
    """The share of each box's area that lies in each of the others: (n, m)."""
    top_left = torch.maximum(boxes[:, None, :2], others[None, :, :2])
    bottom_right = torch.minimum(boxes[:, None, 2:], others[None, :, 2:])
    inside = (bottom_right - top_left).clamp(min=0).prod(2)
    areas: Tensor = box_area(boxes).clamp(min=torch.finfo(boxes.dtype).tiny)
    return inside / areas[:, None]


class DetectionMistakes:
    """The images of a test set on which a detector errs, most mistakes first; fed image by image, in order.

    Args:
        picture: As `numbered_pngs` takes it, with images in any proportions.
    """

    def __init__(self, class_names: Sequence[str], picture: Picture | None = None) -> None:
        self._names = class_names
        self._picture = picture
        self._num_seen = 0
        self._wrong: list[JudgedImage] = []
        self._worst: list[JudgedImage] = []

    def update(self, found: Detections, objects: Objects) -> None:
        """Add an image with its detections, as `judged` takes them."""
        image = judged(self._num_seen, found, objects)
        self._num_seen += 1
        if image.num_mistakes:
            self._wrong.append(image)

    def table(self) -> Table:
        """Return the table that results/README.md explains, and reset."""
        wrong = sorted(self._wrong, key=lambda image: (-image.num_mistakes, image.place))
        self._worst, self._wrong, self._num_seen = wrong[:_MAX_IMAGES], [], 0
        return Table(columns=_COLUMNS, rows=[self._row(image) for image in wrong])

    def images(self) -> Mapping[str, bytes]:
        """PNGs of the first rows of the last table with their boxes: at most 12, of 320 px."""
        worst = self._worst
        return numbered_pngs(
            self._picture,
            [image.place for image in worst],
            _IMAGE_PX,
            draw=lambda number, picture: _drawn(picture, worst[number]),
        )

    def _row(self, image: JudgedImage) -> tuple[str | float, ...]:
        missed = image.objects.labels[image.is_missed]
        return (
            image.objects.image,
            int(image.objects.is_trained.sum()),
            len(missed),
            len(image.false_labels),
            self._counted(missed),
            self._counted(image.false_labels),
        )

    def _counted(self, labels: Tensor) -> str:
        """ "3 RBC, 1 WBC", the most frequent class first; empty for none."""
        counts = Counter(labels.tolist()).most_common()
        return ", ".join(f"{count} {self._names[label]}" for label, count in counts)


def _drawn(picture: Image.Image, image: JudgedImage) -> Image.Image:
    """The picture in its file's proportions, with objects found and missed, and the false boxes over them."""
    width_px, height_px = image.objects.size_px
    scale = _IMAGE_PX / max(width_px, height_px)
    size = max(1, round(width_px * scale)), max(1, round(height_px * scale))
    shown = picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(shown)
    objects = image.objects.boxes_px
    for color, boxes in (
        (_FOUND, objects[image.is_found]),
        (_MISSED, objects[image.is_missed]),
        (_FALSE, image.false_boxes_px),
    ):
        for left, top, right, bottom in (boxes * scale).tolist():
            right, bottom = max(left + 4, right), max(top + 4, bottom)  # what is smaller would not be seen
            draw.rectangle((left, top, right, bottom), outline="black", width=4)
            draw.rectangle((left + 1, top + 1, right - 1, bottom - 1), outline=color, width=2)
    return shown
