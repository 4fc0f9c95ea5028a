"""What every data source becomes: labelled images that can be had at any resolution."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor

from trainables.contract import DataError
from trainables.engine.image_files import decode_all, readable_path
from trainables.engine.resolution import resized_set

_RESOLUTIONS_KEPT = 4  # a ladder's resolutions and the validation's


@dataclass(frozen=True, eq=False)
class ImageSource:
    """All images of a data source with their labels.

    Attributes:
        labels: (n,), int64.
        parts: "train", "val", "test" or "unreadable" for each image, as the source brings them; (n,).
        own_resolution: Side of the images as they are, in pixels; None where they differ.
        images: All images at a side in pixels: (n, channels, side, side), uint8, channels last in
            memory. The last few resolutions are kept.
    """

    labels: Tensor
    parts: np.ndarray
    class_names: tuple[str, ...]
    channels: int
    own_resolution: int | None
    images: Callable[[int], Tensor]


def in_memory_source(
    images: Tensor, labels: Tensor, *, parts: np.ndarray | None = None, class_names: Sequence[str]
) -> ImageSource:
    """A source of images that lie decoded in memory: (n, channels, height, width), uint8."""

    def resized(side: int) -> Tensor:
        return resized_set(images, side).contiguous(memory_format=torch.channels_last)

    return ImageSource(
        labels=labels.long(),
        parts=np.full(len(labels), "train") if parts is None else parts,
        class_names=tuple(class_names),
        channels=images.shape[1],
        own_resolution=min(images.shape[-2:]),
        images=lru_cache(_RESOLUTIONS_KEPT)(resized),
    )


def decoded_source(
    open_image: Callable[[int], Image],
    labels: Tensor,
    *,
    parts: np.ndarray,
    class_names: Sequence[str],
    cache_stem: Path,
    check_at: int | None,
    num_threads: int,
) -> ImageSource:
    """A source of pictures of any size, decoded once per resolution into files beside `cache_stem`.

    Args:
        open_image: Decodes the picture with an index to RGB.
        check_at: Side at which all are decoded now, to find those that cannot be read.

    Raises:
        DataError: No resolution is given, or over 1 % of the pictures cannot be read.
    """
    if check_at is None:
        raise DataError(
            "these images have no resolution of their own; give validation a resolution in pixels"
        )

    def decoded_path(side: int) -> Path:
        path = cache_stem.with_name(f"{cache_stem.name}-{side}px.npy")
        if not path.is_file():
            decode_all(path, open_image, len(labels), side, num_threads=num_threads)
        return path

    @lru_cache(_RESOLUTIONS_KEPT)
    def images(side: int) -> Tensor:
        array = np.load(decoded_path(side), mmap_mode="c")  # not "r": torch warns of read-only arrays
        return torch.from_numpy(array).permute(0, 3, 1, 2)

    is_readable = np.load(readable_path(decoded_path(check_at)))
    return ImageSource(
        labels=labels.long(),
        parts=np.where(is_readable, parts, "unreadable"),
        class_names=tuple(class_names),
        channels=3,
        own_resolution=None,
        images=images,
    )
