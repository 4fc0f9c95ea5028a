"""Data sources of images with boxes."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from trainables.core.data_source import AnyPath, DataSource, FolderPath

_DEPTH = 2  # of folders below the one given: train/annotations/boxes.json
_MAX_FOLDERS = 100  # looked at in each
_NOTES = {"notes.json"}  # which Label Studio adds to YOLO's files


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

    @classmethod
    def may_read(cls, path: Path) -> bool:
        """Whether a file has the ending, or a folder such files and none of Parquet or Arrow."""
        if path.is_file():
            return super().may_read(path)
        endings = _endings_below(path, _DEPTH)
        return ".json" in endings and not endings & {".parquet", ".arrow"}


@dataclass(frozen=True, kw_only=True)
class Voc(DataSource):
    """Boxes in Pascal VOC's XML, one file for each image."""

    voc: FolderPath

    @classmethod
    def may_read(cls, path: Path) -> bool:
        return ".xml" in _endings_below(path, _DEPTH)


@dataclass(frozen=True, kw_only=True)
class Yolo(DataSource):
    """Boxes in YOLO's text files, with a data.yaml: that file or its folder."""

    endings: ClassVar[tuple[str, ...]] = (".yaml", ".yml")
    yolo: AnyPath

    @classmethod
    def may_read(cls, path: Path) -> bool:
        """Whether a file has the ending, or a folder such a file, or a list of classes in its place."""
        if path.is_file():
            return super().may_read(path)
        return bool(_endings_below(path, 0) & {*cls.endings}) or (path / "classes.txt").is_file()


def _endings_below(folder: Path, depth: int) -> set[str]:
    """The endings of all files in a folder and in those below it, hidden ones and notes aside."""
    found, folders = set[str](), list[Path]()
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith(".") and entry.name not in _NOTES:
                if entry.is_dir():  # scandir knows: no call for each image
                    folders.append(Path(entry))
                else:
                    found.add(Path(entry.name).suffix.lower())
    for inner in folders[:_MAX_FOLDERS] if depth else ():
        found |= _endings_below(inner, depth - 1)
    return found


BOX_SOURCES = (Shapes, Coco, Voc, Yolo)
