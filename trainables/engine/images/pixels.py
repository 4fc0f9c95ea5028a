"""All images of a source at one resolution: in memory, on the device, or decoded as they are needed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from trainables.engine.images.decoding import ImageReader
from trainables.engine.images.resolution import resized_set

_DEVICE_FRACTION = 0.25  # of the memory that is free there; the rest is for models and other trials
_READ_AHEAD = 512  # images; 77 MB at 224 px
_GIB = 2**30


class Pixels(Protocol):
    """Images by their row: (batch, channels, height, width), uint8, channels last in memory."""

    def pick(self, rows: Tensor) -> Tensor:
        """Return the images of `rows`, a tensor on the CPU, on the device that stores them."""
        ...

    def expect(self, rows: Tensor) -> None:
        """Prepare for these rows, in this order, instead of those expected before."""
        ...

    def on(self, device: torch.device) -> Pixels:
        """The same images on `device`, if they fit."""
        ...


class StoredPixels:
    """Images in an array: memory, a mapped file, or the memory of a device.

    Args:
        images: (n, channels, height, width), uint8, channels last in memory.
        held: An object that must live as long, such as the open file.
    """

    def __init__(self, images: Tensor, *, held: Any = None) -> None:
        self.images = images
        self._held = held
        self._copies: dict[torch.device, StoredPixels] = {}

    def pick(self, rows: Tensor) -> Tensor:
        pixels = self.images.permute(0, 2, 3, 1)
        chosen = pixels.index_select(0, rows.to(pixels.device))  # 26 times as fast as pixels[rows]
        return chosen.permute(0, 3, 1, 2)

    def expect(self, rows: Tensor) -> None:
        """Do nothing: the images are there."""

    def on(self, device: torch.device) -> StoredPixels:
        if device.type != "cuda":
            return self
        if device not in self._copies:
            num_free, _ = torch.cuda.mem_get_info(device)
            # Copied once for all trials of a process: an epoch then moves only row numbers to the GPU.
            fits = self.images.nbytes <= _DEVICE_FRACTION * num_free
            self._copies[device] = self._copy(device) if fits else self
        return self._copies[device]

    def where(self) -> str:
        """Where the images are, in words, with their size."""
        return f"{self.images.nbytes / _GIB:.3g} GiB in the memory of {self.images.device}"

    def _copy(self, device: torch.device) -> StoredPixels:
        return StoredPixels(self.images.to(device))


class ResizedPixels:
    """Images made from larger ones whenever they are picked."""

    def __init__(
        self,
        larger: Pixels,
        resolution: int,
        aspect_ratio: float = 1.0,
        interpolation: str = "bilinear",
    ) -> None:
        self._larger, self._shape = larger, (resolution, aspect_ratio, interpolation)

    def pick(self, rows: Tensor) -> Tensor:
        images = resized_set(self._larger.pick(rows), *self._shape)
        return images.contiguous(memory_format=torch.channels_last)

    def expect(self, rows: Tensor) -> None:
        self._larger.expect(rows)

    def on(self, device: torch.device) -> ResizedPixels:
        return ResizedPixels(self._larger.on(device), *self._shape)


class StreamedPixels:
    """Images decoded from their files whenever they are picked, by threads that read ahead.

    This is not torch's DataLoader, which would fork a process with threads of Ray and torch for each epoch.
    Decoding runs outside Python's lock, and anything random happens later, on whole batches.
    """

    def __init__(
        self, reader: ImageReader, resolution: int, *, num_threads: int, reads_ahead: bool = True
    ) -> None:
        self._reader, self._resolution, self._reads_ahead = reader, resolution, reads_ahead
        self._pool = ThreadPoolExecutor(max(1, num_threads), thread_name_prefix="decode")
        self._coming: dict[int, Future[np.ndarray]] = {}
        self._expected: Iterator[int] = iter(())

    def pick(self, rows: Tensor) -> Tensor:
        images = [
            self._coming.pop(row) if row in self._coming else self._decode(row) for row in rows.tolist()
        ]
        self._read_ahead()
        stacked = np.stack([image.result() for image in images])  # (batch, height, width, 3)
        return torch.from_numpy(stacked).permute(0, 3, 1, 2)

    def expect(self, rows: Tensor) -> None:
        for image in self._coming.values():
            image.cancel()
        self._coming.clear()
        self._expected = iter(rows.tolist())
        self._read_ahead()

    def on(self, device: torch.device) -> StreamedPixels:
        return self

    def _read_ahead(self) -> None:
        """Keep up to 512 images decoding, in the order in which they are expected."""
        if not self._reads_ahead:
            return
        for row in itertools.islice(self._expected, max(0, _READ_AHEAD - len(self._coming))):
            self._coming[row] = self._decode(row)

    def _decode(self, row: int) -> Future[np.ndarray]:
        """Have a thread decode one image."""
        return self._pool.submit(self._reader.resized, row, self._resolution)
