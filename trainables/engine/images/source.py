"""The common form of every data source: labelled images, available at any resolution."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from trainables.engine.images.deep import Kind
from trainables.engine.images.files import ImageFiles
from trainables.engine.images.pixels import Pixels, StoredPixels
from trainables.engine.images.resolution import resized_set

RESOLUTIONS_KEPT = 4  # a ladder's resolutions and the validation's


@dataclass(frozen=True, eq=False)
class ImageSource:
    """All images of a data source with their labels.

    Attributes:
        labels: (n,), int64.
        parts: "train", "val", "test" or "unreadable" for each image, as the source defines them; (n,).
        own_resolution: The images' own resolution in pixels, which is their height if they are not square;
            None if they differ.
        pixels: Returns all images at a resolution in pixels. The last few resolutions are kept.
        notes: Automatic choices with their reasons.
        num_for_statistics: Maximum number of images for the mean and deviation.
        name: Returns the name of the image in a row: its file, if there is one.
        identical: Groups of rows whose image files have the same bytes.
        num_val: Number of validation images if the source has no such part; None means 15 % of its training
            part.
        deep_ranges: The smallest and the largest value in files of more than 8 bits, by their kind.
        picture: Returns the image in a row, whole as in its file, its shorter side at least the given pixels
            if the file has them; None if images are not in files.
    """

    labels: Tensor
    parts: np.ndarray
    class_names: tuple[str, ...]
    channels: int
    own_resolution: int | None
    pixels: Callable[[int], Pixels]
    notes: Mapping[str, str] = field(default_factory=dict)
    name: Callable[[int], str] = str
    num_for_statistics: int = 2000
    identical: Sequence[Sequence[int]] = ()
    num_val: int | None = None
    deep_ranges: Mapping[Kind, tuple[float, float]] = field(default_factory=dict)
    picture: Callable[[int, int], Image.Image] | None = None


def with_files(source: ImageSource, files: ImageFiles, known: Path) -> ImageSource:
    """Add what is known of its files to a source: names, copies, and notes on what is left out or unusual.

    Args:
        known: Folder where surveys are kept, see `ImageFiles.survey`.
    """
    survey = files.survey(known)
    found = {
        "left_out": [str(left).removeprefix("left out, ") for left in files.left_out],
        "folder": files.remarks,
        "pixels": survey.notes(),
    }
    notes = {name: "; ".join(lines) for name, lines in found.items() if lines}
    return replace(
        source,
        name=files.name,
        identical=survey.identical(),
        notes={**source.notes, **notes},
        deep_ranges=survey.scales.ranges,
    )


def in_memory_source(
    images: Tensor,
    labels: Tensor,
    *,
    parts: np.ndarray | None = None,
    class_names: Sequence[str],
    aspect_ratio: float = 1.0,
) -> ImageSource:
    """A source of decoded images in memory: (n, channels, height, width), uint8.

    Args:
        aspect_ratio: Width over height of the images made from them; see `resized_set`.
    """
    height, width = images.shape[-2:]

    @lru_cache(RESOLUTIONS_KEPT)
    def pixels(resolution: int) -> Pixels:
        return StoredPixels(
            resized_set(images, resolution, aspect_ratio).contiguous(memory_format=torch.channels_last)
        )

    return ImageSource(
        labels=labels.long(),
        parts=np.full(len(labels), "train") if parts is None else parts,
        class_names=tuple(class_names),
        channels=images.shape[1],
        own_resolution=min(height, round(width / aspect_ratio)),
        pixels=pixels,
    )
