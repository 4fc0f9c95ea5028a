"""Images of any size as a data source: decoded once per node into the cache, if it has room."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from trainables.core.contract import DataError
from trainables.core.progress import ProgressWriter
from trainables.engine.cache_folder import CacheFile, CacheFolder
from trainables.engine.cache_lock import CacheUnavailable
from trainables.engine.images.decoding import Decoded, ImageReader, decode_all
from trainables.engine.images.pixels import Pixels, ResizedPixels, StoredPixels, StreamedPixels
from trainables.engine.images.resolution import resized_set, shape_px
from trainables.engine.images.source import RESOLUTIONS_KEPT, ImageSource

_RESIZED_AT_ONCE = 1024
_NO_RESOLUTION = "these images have no resolution of their own; give validation a resolution in pixels"
_FEW = 8  # images for statistics that no training uses
_log = logging.getLogger(__name__)


def decoded_source(
    reader: ImageReader,
    labels: Tensor,
    *,
    parts: np.ndarray,
    class_names: Sequence[str],
    cache: CacheFolder,
    name: str | Callable[[], str],
    top: int | None,
    num_threads: int,
) -> ImageSource:
    """A source of images, which are all decoded at `top` now unless the cache has them.

    Smaller images are made from those: 20 times as fast as decoding, and as close to it as one way of
    decoding is to another. So a ladder's next resolution need not be prepared ahead. If the cache has
    no room or cannot lock files, or another process decodes without making progress, images are decoded
    whenever they are needed, to the same values.

    Args:
        name: The images' name in the cache, which identifies their content; that may need all files read.
        top: Resolution in pixels of the top rung's images.
        num_threads: Number of decoding threads if the cache has no room.

    Raises:
        DataError: No resolution is given, or over 1 % of the images cannot be read.
    """
    if top is None:
        raise DataError(_NO_RESOLUTION)
    if cache.is_bypassed:
        return _undecoded(reader, labels, parts, class_names, num_threads)
    whole_name = (name if isinstance(name, str) else name()) + reader.framing.suffix
    store = _ImageStore(reader, cache, whole_name, num_threads)
    largest, is_readable, notes = store.decoded(top)
    return ImageSource(
        labels=labels.long(),
        parts=np.where(is_readable, parts, "unreadable"),
        class_names=tuple(class_names),
        channels=3,
        own_resolution=None,
        pixels=store.at_any_resolution(largest, top),
        notes=notes,
        picture=reader.opened,
    )


def _undecoded(
    reader: ImageReader, labels: Tensor, parts: np.ndarray, class_names: Sequence[str], num_threads: int
) -> ImageSource:
    """A source whose images are decoded one by one on demand, and assumed to be readable."""
    return ImageSource(
        labels=labels.long(),
        parts=parts,
        class_names=tuple(class_names),
        channels=3,
        own_resolution=None,
        pixels=lru_cache(RESOLUTIONS_KEPT)(
            lambda resolution: StreamedPixels(reader, resolution, num_threads=num_threads, reads_ahead=False)
        ),
        num_for_statistics=_FEW,
        picture=reader.opened,
    )


@dataclass(frozen=True)
class _ImageStore:
    """Provides the decoded pixels of a set of images, from the cache or from its files again."""

    reader: ImageReader
    cache: CacheFolder
    name: str
    num_threads: int

    def decoded(self, resolution: int) -> tuple[Pixels, np.ndarray, dict[str, str]]:
        """Pixels at `resolution`, which images can be read, and a note if the cache does not have them."""
        shape = shape_px(resolution, self.reader.aspect_ratio)
        try:
            file, decoded = self._decoded_file(f"{self.name}-{resolution}px", resolution, kept=shape)
        except CacheUnavailable as reason:
            note = f"images are decoded again each epoch: {reason}"
        else:
            return StoredPixels(_images(decoded.images), held=file), decoded.is_readable, {}
        is_readable = self._readable(resolution)  # the same split as with a cache: every image is read once
        _log.warning("%s: %s", self.name, note)
        streamed = StreamedPixels(self.reader, resolution, num_threads=self.num_threads)
        return streamed, is_readable, {"cache": note}

    def at_any_resolution(self, largest: Pixels, top: int) -> Callable[[int], Pixels]:
        """A cached function from resolution to pixels: below `top` from the largest, above it decoded."""

        @lru_cache(RESOLUTIONS_KEPT)
        def pixels(resolution: int) -> Pixels:
            if resolution == top:
                return largest
            return self.decoded(resolution)[0] if resolution > top else self.resized(largest, top, resolution)

        return pixels

    def _readable(self, resolution: int) -> np.ndarray:
        """Which images can be read: 1 byte each, in the cache or, without one, in this process."""
        try:
            _, checked = self._decoded_file(f"{self.name}-{resolution}px-checked", resolution, kept=(0, 0))
        except CacheUnavailable:
            num_images = self.reader.num_images
            marks = np.zeros(Decoded.num_bytes(num_images, (0, 0)), dtype=np.uint8)
            checked = Decoded.view(marks, num_images, (0, 0))
            deque(self._decode(checked, resolution, flush=_no_flush), maxlen=0)
        return checked.is_readable

    def resized(self, larger: Pixels, larger_resolution: int, resolution: int) -> Pixels:
        """Pixels made from larger ones, and stored if those are and the cache has room."""
        aspect_ratio, interpolation = self.reader.aspect_ratio, self.reader.framing.interpolation
        if not isinstance(larger, StoredPixels):
            return ResizedPixels(larger, resolution, aspect_ratio, interpolation)
        images, shape = larger.images, (len(larger.images), *shape_px(resolution, aspect_ratio), 3)

        def fill(content: np.memmap) -> Iterator[float]:
            smaller = content.reshape(shape)
            for start in range(0, len(images), _RESIZED_AT_ONCE):
                yield start / len(images)
                part = slice(start, start + _RESIZED_AT_ONCE)
                resized = resized_set(images[part], resolution, aspect_ratio, interpolation)
                smaller[part] = resized.permute(0, 2, 3, 1).numpy()

        try:
            file = self.cache.file(
                f"{self.name}-{resolution}px-of-{larger_resolution}px", int(np.prod(shape)), fill
            )
        except CacheUnavailable as reason:
            _log.warning("%s: each batch is resized to %d px again: %s", self.name, resolution, reason)
            return ResizedPixels(larger, resolution, aspect_ratio, interpolation)
        return StoredPixels(_images(file.content.reshape(shape)), held=file)

    def _decoded_file(
        self, name: str, resolution: int, *, kept: tuple[int, int]
    ) -> tuple[CacheFile, Decoded]:
        """The file of the cache with these pixels and marks, decoded now if it is not there."""
        num_images = self.reader.num_images

        def fill(content: np.memmap) -> Iterator[float]:
            decoded = Decoded.view(content, num_images, kept)
            return self._decode(decoded, resolution, flush=content.flush)

        file = self.cache.file(name, Decoded.num_bytes(num_images, kept), fill)
        return file, Decoded.view(file.content, num_images, kept)

    def _decode(self, decoded: Decoded, resolution: int, *, flush: Callable[[], None]) -> Iterator[float]:
        """Decode, reporting progress."""
        num_images, progress = self.reader.num_images, ProgressWriter(self.cache.progress_file)
        progress.begin("decoding", num_images)
        try:
            for fraction in decode_all(self.reader, decoded, resolution, flush=flush):
                progress.step(round(fraction * num_images))
                yield fraction
        finally:
            progress.end()


def _images(pixels: np.ndarray) -> Tensor:
    """(n, height, width, 3) as (n, 3, height, width), sharing memory."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)


def _no_flush() -> None:
    """Do nothing: the marks are only in memory."""
