"""Which boxes are used unchanged, and which are cut, left out or refused: the same rules for every source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from trainables.detection.annotations import Annotations, Objects, objects_of
from trainables.detection.entries import Category, Corners, ImageEntry, ObjectEntry
from trainables.engine.findings import Findings

_TOLERANCE_PX = 1.0  # tools count pixels from 0 or from 1, and round
_MAX_UNFIT_FRACTION = 0.1  # of all boxes; more are not slips but another unit or order of numbers
_MIN_BEYOND_FRACTION = 1 / 3  # of all boxes; over half if right and bottom were read as width and height
_MAX_FRACTION = 2.0  # left + width, if both are fractions
_MIN_SIDE_PX = 16  # smallest image in which boxes in pixels can be distinguished from fractions

Size = tuple[float, float]


def annotations_of(
    entries: Sequence[ImageEntry], categories: Sequence[Category], findings: Findings
) -> Annotations:
    """Build annotations from entries whose sizes are known, and add what is changed to `findings`.

    A box that is listed twice is used once. A box without area or outside its image is left out. A box that
    extends more than a pixel beyond its image is cut at the edge. Problems are: over 10 % of boxes without
    area in their image, fractions in place of pixels, and corners where COCO has width and height.
    """
    index = {category.key: number for number, category in enumerate(categories)}
    is_refused = _refuse_other_units(entries, findings)
    kept = entries if is_refused else [replace(entry, objects=_kept(entry, findings)) for entry in entries]
    return Annotations(
        objects=tuple(_objects(entry, index) for entry in kept),
        parts=tuple(entry.part for entry in kept),
        class_names=tuple(category.name for category in categories),
        category_ids=tuple(category.number for category in categories),
        paths=tuple(entry.path for entry in kept),
    )


def _kept(entry: ImageEntry, findings: Findings) -> tuple[ObjectEntry, ...]:
    """The objects of an image that are trained on or scored, each once and cut to the image."""
    kept: dict[tuple[str, Corners, bool], ObjectEntry] = {}
    size_px = _size(entry)
    for item in entry.objects:
        identity = (item.category, item.corners_px, item.is_crowd)
        if identity in kept:
            findings.leave_out("box that is listed twice", item.where)
        elif not _has_area(item.corners_px):
            findings.leave_out("box without area", item.where)
        elif not _has_area(_cut(item.corners_px, size_px)):
            findings.leave_out("box outside its image", item.where)
        elif _beyond_px(item.corners_px, size_px) > _TOLERANCE_PX:
            findings.add_note(
                "boxes", "boxes that reach beyond their image and are cut at its edge", item.where
            )
            kept[identity] = replace(item, corners_px=_cut(item.corners_px, size_px))
        else:
            kept[identity] = item
    return tuple(kept.values())


def _refuse_other_units(entries: Sequence[ImageEntry], findings: Findings) -> bool:
    boxes = [(item.corners_px, _size(entry)) for entry in entries for item in entry.objects]
    if not boxes:
        return False
    num_empty = sum(not _has_area(_cut(corners, size_px)) for corners, size_px in boxes)
    num_beyond = sum(_beyond_px(corners, size_px) > _TOLERANCE_PX for corners, size_px in boxes)
    if all(_may_be_fractions(corners, size_px) for corners, size_px in boxes):
        findings.add_problem(
            f"all {len(boxes)} boxes lie between 0 and 1, as shares of the sides: give them in pixels"
        )
    elif num_beyond > _MIN_BEYOND_FRACTION * len(boxes) and all(
        _fits_as_corners(corners, size_px) for corners, size_px in boxes
    ):
        findings.add_problem(
            f"{num_beyond} of {len(boxes)} boxes reach beyond their images, and none would as "
            "left, top, right, bottom: a bbox of COCO is left, top, width, height"
        )
    elif num_empty > _MAX_UNFIT_FRACTION * len(boxes):
        unfit = [
            item.where
            for e in entries
            for item in e.objects
            if not _has_area(_cut(item.corners_px, _size(e)))
        ]
        for where in unfit:
            findings.add_problem(f"box without area in its image, over 10 % of {len(boxes)}", where)
    else:
        return False
    return True


def _size(entry: ImageEntry) -> Size:
    assert entry.size_px is not None, f"{entry.where} has no size yet"
    return entry.size_px


def _has_area(corners: Corners) -> bool:
    left, top, right, bottom = corners
    return left < right and top < bottom


def _cut(corners: Corners, size_px: Size) -> Corners:
    left, top, right, bottom = corners
    width, height = size_px
    return (
        min(max(left, 0), width),
        min(max(top, 0), height),
        max(min(right, width), 0),
        max(min(bottom, height), 0),
    )


def _beyond_px(corners: Corners, size_px: Size) -> float:
    """How far a box extends beyond its image."""
    left, top, right, bottom = corners
    return max(-left, -top, right - size_px[0], bottom - size_px[1], 0.0)


def _may_be_fractions(corners: Corners, size_px: Size) -> bool:
    return min(corners) >= 0 and max(corners) <= _MAX_FRACTION and min(size_px) >= _MIN_SIDE_PX


def _fits_as_corners(corners: Corners, size_px: Size) -> bool:
    """Whether left, top and the numbers read as width and height are the corners of a box in the image."""
    left, top, right, bottom = corners
    read = (left, top, right - left, bottom - top)
    return _has_area(read) and _beyond_px(read, size_px) <= _TOLERANCE_PX


def _objects(entry: ImageEntry, index: dict[str, int]) -> Objects:
    boxes = [item.corners_px for item in entry.objects]
    return objects_of(
        entry.name,
        _size(entry),
        boxes,
        [index[item.category] for item in entry.objects],
        is_crowd=[item.is_crowd for item in entry.objects],
        area_px=[_area(item) for item in entry.objects],
    )


def _area(item: ObjectEntry) -> float:
    left, top, right, bottom = item.corners_px
    return (right - left) * (bottom - top) if item.area_px is None else item.area_px
