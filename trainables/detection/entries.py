"""Entries of annotation files as read, before they are checked against each other and the images."""

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
        corners_px: Left, top, right, bottom: finite, and otherwise as they are in the file.
        area_px: As the file has it; None where it has none that is a positive number.
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
        name: What the data calls it.
        size_px: Width and height that the file records; None where it has none that are positive numbers.
    """

    where: str
    name: str
    path: Path
    part: Part
    size_px: tuple[float, float] | None
    objects: tuple[ObjectEntry, ...]


@dataclass(frozen=True, slots=True)
class Category:
    """A class: `key` is its id as text (in VOC its name), `number` the id as the data has it."""

    key: str
    number: int | str
    name: str
