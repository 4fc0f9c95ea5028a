"""Decoding images of any size to one size, in parallel, and resuming after a kill."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from PIL import Image

from trainables.core.contract import DataError
from trainables.engine.images.resolution import WHOLE_MIDDLE, Framing, shape_px, squared_image

_AT_ONCE = 256  # images between two writes to disk; a kill costs no more
_MAX_UNREADABLE_FRACTION = 0.01
_LISTED = 100
_NOT_YET, _READABLE, _UNREADABLE = 0, 1, 2
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImageReader:
    """Reads images by index.

    Attributes:
        opened: Decodes an image for a resolution in pixels, upright and in RGB; its shorter side may be
            reduced to twice that. Any exception means that the image cannot be read.
        aspect_ratio: Width over height of the results. Squares are cut out of the middle; images are
            stretched to other shapes.
        framing: How squares are cut and resized.
    """

    num_images: int
    opened: Callable[[int, int], Image.Image]
    aspect_ratio: float = 1.0
    framing: Framing = WHOLE_MIDDLE

    def resized(self, index: int, resolution: int) -> np.ndarray:
        """One image as (resolution, width, 3), uint8.

        Raises:
            OSError: The image cannot be read.
        """
        try:
            image = self.opened(index, resolution)
            if self.aspect_ratio == 1:
                return np.asarray(squared_image(image, resolution, self.framing))
            height, width = shape_px(resolution, self.aspect_ratio)
            return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
        except MemoryError:
            raise
        except Exception as error:  # Pillow's decoders raise anything for broken files
            raise OSError(str(error)) from error


@dataclass(frozen=True, eq=False)
class Decoded:
    """Views of a block of bytes that holds the results of decoding.

    Attributes:
        images: (n, height, width, 3), uint8; black for an image that cannot be read. With a height of 0
            no pixels are kept.
        marks: (n,), 0 for an image that is not decoded yet, 1 if it can be read, 2 if not.
    """

    images: np.ndarray
    marks: np.ndarray

    @classmethod
    def num_bytes(cls, num_images: int, shape: tuple[int, int]) -> int:
        height, width = shape
        return num_images * (height * width * 3 + 1)

    @classmethod
    def view(cls, content: np.ndarray, num_images: int, shape: tuple[int, int]) -> Decoded:
        images = content[:-num_images].reshape(num_images, *shape, 3)
        return cls(images=images, marks=content[-num_images:])

    @property
    def is_readable(self) -> np.ndarray:
        """Which images can be read, (n,), bool."""
        return np.asarray(self.marks == _READABLE)


def decode_all(
    reader: ImageReader, decoded: Decoded, resolution: int, *, flush: Callable[[], None]
) -> Iterator[float]:
    """Decode what `decoded` does not have yet, with a thread per core; yields the fraction done.

    Processes are no faster than threads on few cores, as Pillow decodes outside Python's lock.

    Args:
        resolution: Resolution in pixels, even if `decoded` keeps none.
        flush: Writes pixels to disk; they are marked only after that, so that a mark can be trusted.

    Raises:
        DataError: More than 1 % of the images cannot be read.
    """

    def mark(index: int) -> int:
        try:
            image = reader.resized(index, resolution)
        except OSError:
            return _UNREADABLE
        if decoded.images.shape[1]:
            decoded.images[index] = image
        return _READABLE

    left = np.flatnonzero(decoded.marks == _NOT_YET)
    num_done = reader.num_images - len(left)
    with ThreadPoolExecutor(num_cores()) as pool:
        for start in range(0, len(left), _AT_ONCE):
            part = left[start : start + _AT_ONCE]
            marks: list[int] = []
            for one in pool.map(mark, part.tolist()):
                yield (num_done + len(marks)) / reader.num_images
                marks.append(one)
            flush()
            decoded.marks[part] = marks
            num_done += len(part)
    _check_unreadable(reader, np.flatnonzero(decoded.marks == _UNREADABLE).tolist(), resolution)


def num_cores() -> int:
    """Cores that this process may run on, whatever the trial's share: the other trials wait for it."""
    return len(os.sched_getaffinity(0))


def _check_unreadable(reader: ImageReader, unreadable: Sequence[int], resolution: int) -> None:
    if not unreadable:
        return
    reasons = [_unreadable_reason(reader, index, resolution) for index in unreadable[:_LISTED]]
    count = f"{len(unreadable)} of {reader.num_images} images cannot be read"
    if len(unreadable) > _MAX_UNREADABLE_FRACTION * reader.num_images:
        listed = "; ".join(reasons[:5]) + ("; ..." if len(unreadable) > 5 else "")
        raise DataError(f"{count}, over 1 %; fix or remove them: {listed}")
    _log.warning("%s and are left out: %s", count, "; ".join(reasons))


def _unreadable_reason(reader: ImageReader, index: int, resolution: int) -> str:
    try:
        reader.resized(index, resolution)
    except OSError as error:
        return str(error)
    return f"image {index}: it could not be read before, and can be now"
