"""From image files to a model's input: the same pixels that training would score a test image on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from trainables.core.model_folder import ImageInput
from trainables.engine.images.batches import Scaling
from trainables.engine.images.canvas import on_canvas, own_shape, resized_to
from trainables.engine.images.data import DataSplits, Statistics
from trainables.engine.images.decoding import ImageReader
from trainables.engine.images.deep import DeepImage, Scales
from trainables.engine.images.reading import read_image, upright_opened, upright_size
from trainables.engine.images.resolution import WHOLE_MIDDLE, Framing, resized_set, shape_px


class Preprocess:
    """A model's transform: call it with an image to get the model's input.

    Both steps are training's own code, so that the pixels are the same bit for bit: a file is decoded at the
    top rung's resolution (a JPEG at half, a quarter or an eighth of its size if that is enough), and made
    smaller from there if the model takes another resolution.
    """

    def __init__(self, images: ImageInput) -> None:
        self.images = images
        self._aspect_ratio = images.width / images.height
        self._framing = Framing(images.crop, images.interpolation, images.is_squashed)
        self._scaling = Scaling(Statistics(images.mean, images.std), torch.device("cpu"))
        ranges: dict[Any, tuple[float, float]] = dict(images.deep_ranges)  # kinds, as JSON has them
        self._scales = _KnownScales(ranges)

    def __call__(self, image: Image.Image | str | Path) -> Tensor:
        """One image as (channels, height, width), float.

        Raises:
            OSError: The file cannot be read as an image.
        """
        if isinstance(image, Image.Image):
            upright = upright_opened(image, self._scales)
            return self.scaled([self._own(self._decoded(lambda px: upright), upright.size)])[0]
        return self.scaled([self.pixels(Path(image))])[0]

    def pixels(self, path: Path) -> np.ndarray:
        """Decode a file: (height, width, 3), uint8; in its own proportions if the model keeps them.

        Raises:
            OSError: The file is truncated or no image at all; the message has its path.
        """
        decoded = self._decoded(lambda px: read_image(path, px, lambda: self._scales))
        if not self.images.keeps_aspect:
            return decoded
        if 0 in (size := upright_size(path)):
            raise OSError(f"{path}: its width and height cannot be read, and the model keeps proportions")
        return self._own(decoded, size)

    def scaled(self, pixels: Sequence[np.ndarray]) -> Tensor:
        """Turn decoded images into the model's input: (batch, channels, height, width), float."""
        if self.images.keeps_aspect:  # scaled before they are padded, as in training
            images = [torch.from_numpy(each).permute(2, 0, 1)[None].float() for each in pixels]
            return on_canvas([self._scaling.scaled(each)[0] for each in images])[0]
        stacked = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)
        if self.images.channels == 1:
            stacked = _grey(stacked)
        resized = resized_set(stacked, self.images.height, self._aspect_ratio, self._framing.interpolation)
        return self._scaling.scaled(resized.float())

    def extents(self, pixels: Sequence[np.ndarray]) -> Tensor | None:
        """Fractions of the canvas's height and width that each image takes, (batch, 2); None means all."""
        if not self.images.keeps_aspect:
            return None
        return on_canvas([torch.empty(1, *each.shape[:2]) for each in pixels])[1]

    def _own(self, decoded: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Shrink a decoded square back to its image's own proportions, if the model keeps them."""
        if not self.images.keeps_aspect:
            return decoded
        square = torch.tensor(decoded).permute(2, 0, 1)[None]  # copied: Pillow's pixels are not writable
        seen = resized_set(square, self.images.height, self._aspect_ratio, self._framing.interpolation)[0]
        shrunk: np.ndarray = resized_to(seen, own_shape(size, self.images.height)).permute(1, 2, 0).numpy()
        return shrunk

    def _decoded(self, opened: Callable[[int], Image.Image]) -> np.ndarray:
        """An image that `opened` decodes for a resolution, at the size at which training decodes."""
        reader = ImageReader(1, lambda index, px: opened(px), self._aspect_ratio, self._framing)
        return reader.resized(0, self.images.decoded_px)


def image_input(
    data: DataSplits,
    statistics: Statistics,
    *,
    top: int | None,
    height: int | None = None,
    aspect_ratio: float = 1.0,
    framing: Framing = WHOLE_MIDDLE,
    keeps_aspect: bool = False,
) -> ImageInput:
    """Describe the images that a model trained on `data` takes.

    Args:
        top: The resolution at which files were decoded.
        height: Height of the images; None means the resolution at which tests are scored.
        framing: Framing of images of any size; images from arrays are taken whole.
        keeps_aspect: Shrink them to their own proportions afterwards.
    """
    source, height = data.test.source, height or data.score_resolution
    if source.own_resolution is not None and not framing.is_squashed:
        framing = WHOLE_MIDDLE
    # Images in memory start from their own size. Files are decoded at the top rung's resolution, or at a
    # larger one if the model requires it: `decoded_source` has no larger pixels to make that from.
    decoded_px = source.own_resolution or max(top or height, height)
    return ImageInput(
        channels=data.channels,
        height=height,
        width=shape_px(height, aspect_ratio)[1],
        mean=statistics.mean,
        std=statistics.std,
        decoded_px=decoded_px,
        crop=framing.crop,
        is_squashed=framing.is_squashed,
        keeps_aspect=keeps_aspect,
        interpolation=framing.interpolation,
        deep_ranges={str(kind): span for kind, span in source.deep_ranges.items()},
    )


class _KnownScales(Scales):
    """Scales of the training data; an image of a kind that was not among them has no scale.

    Scaled by its own range, every image would be as bright as any other, which training never saw.
    """

    def scaled(self, image: DeepImage) -> Image.Image:
        if image.declared_max is None and image.kind not in self.ranges:
            raise OSError(
                f"its pixels are {image.kind} values, and the training data had none: their scale is unknown"
            )
        return super().scaled(image)


def _grey(images: Tensor) -> Tensor:
    """(n, 3, height, width) as (n, 1, height, width), by the luma of Pillow's mode L."""
    red, green, blue = images.to(torch.int64).unbind(1)
    return ((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16).to(torch.uint8)[:, None]
