"""Entries of annotation files as read, before checks against each other and the images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trainables.engine.images.folder_names import Part

Corners = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class ObjectEntry:
    """One object.

    Attributes:
        where: File and annotation, for messages.
        category: Key of its category.
        corners_px: Left, top, right, bottom: finite, otherwise as in the file.
        area_px: Area in the file; None if it is missing or not a positive number.
    """

    where: str
    category: str
    corners_px: Corners
    is_crowd: bool = False
    area_px: float | None = None


@dataclass(frozen=True, slots=True)
class ImageEntry:
    """One image in one part.

    Attributes:
        where: File and image, for messages.
        name: Name of the image in the data.
        size_px: Width and height recorded in the file; None if missing or not positive numbers.
    """

    where: str
    name: str
    path: Path
    part: Part
    size_px: tuple[float, float] | None
    objects: tuple[ObjectEntry, ...]


@dataclass(frozen=True, slots=True)
class Category:
    """A class: `key` is its id as text (in VOC, its name), `number` the id as in the data."""

    key: str
    number: int | str
    name: str
