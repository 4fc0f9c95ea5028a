"""Data sources of images with boxes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from trainables.core.data_source import AnyPath, DataSource, FolderPath


@dataclass(frozen=True, kw_only=True)
class Shapes(DataSource):
    """480 images of 64 px with discs, squares and triangles on noise, made by the program."""

    name: Literal["shapes"] = "shapes"


@dataclass(frozen=True, kw_only=True)
class Coco(DataSource):
    """Boxes in COCO's JSON: a folder with a file per part, or one file that the program splits."""

    endings: ClassVar[tuple[str, ...]] = (".json",)
    coco: AnyPath
    images: FolderPath | None = None


@dataclass(frozen=True, kw_only=True)
class Voc(DataSource):
    """Boxes in Pascal VOC's XML, one file for each image."""

    voc: FolderPath


@dataclass(frozen=True, kw_only=True)
class Yolo(DataSource):
    """Boxes in YOLO's text files, with a data.yaml: that file or its folder."""

    endings: ClassVar[tuple[str, ...]] = (".yaml", ".yml")
    yolo: AnyPath


BOX_SOURCES = (Shapes, Coco, Voc, Yolo)
