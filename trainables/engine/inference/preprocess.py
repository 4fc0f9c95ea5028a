"""From image files to the tensors that a model takes: the pixels that training's test set was scored on."""

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
from trainables.engine.images.reading import read_image, upright_rgb, upright_size
from trainables.engine.images.resolution import WHOLE_MIDDLE, Framing, resized_set, shape_px


class Preprocess:
    """A model's transform: call it with a image, and get what the model takes of it.

    Both steps are training's own code, so that the pixels are the same to the bit: a file is decoded at the
    top rung's resolution (a JPEG at its half, quarter or eighth where that is enough), and made smaller from
    there where the model takes another one.
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
            OSError: The file cannot be read as a image.
        """
        if isinstance(image, Image.Image):
            upright = upright_rgb(image)
            return self.scaled([self._own(self._decoded(lambda px: upright), upright.size)])[0]
        return self.scaled([self.pixels(Path(image))])[0]

    def pixels(self, path: Path) -> np.ndarray:
        """A file as it is decoded: (height, width, 3), uint8; in its own proportions where they are kept.

        Raises:
            OSError: It is cut short or no image at all; with its path.
        """
        decoded = self._decoded(lambda px: read_image(path, px, lambda: self._scales))
        if not self.images.keeps_aspect:
            return decoded
        if 0 in (size := upright_size(path)):
            raise OSError(f"{path}: its width and height cannot be read, and the model keeps proportions")
        return self._own(decoded, size)

    def scaled(self, pixels: Sequence[np.ndarray]) -> Tensor:
        """Decoded images as the model takes them: (batch, channels, height, width), float."""
        if self.images.keeps_aspect:  # scaled before they are filled up, as in training
            images = [torch.from_numpy(each).permute(2, 0, 1)[None].float() for each in pixels]
            return on_canvas([self._scaling.scaled(each)[0] for each in images])[0]
        stacked = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)
        if self.images.channels == 1:
            stacked = _grey(stacked)
        resized = resized_set(stacked, self.images.height, self._aspect_ratio, self._framing.interpolation)
        return self._scaling.scaled(resized.float())

    def extents(self, pixels: Sequence[np.ndarray]) -> Tensor | None:
        """Shares of the canvas's height and width that each of these takes, (batch, 2); None is all."""
        if not self.images.keeps_aspect:
            return None
        return on_canvas([torch.empty(1, *each.shape[:2]) for each in pixels])[1]

    def _own(self, decoded: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """A decoded square of an image of this width and height as it is seen, where proportions are kept."""
        if not self.images.keeps_aspect:
            return decoded
        square = torch.tensor(decoded).permute(2, 0, 1)[None]  # copied: Pillow's pixels are not writable
        seen = resized_set(square, self.images.height, self._aspect_ratio, self._framing.interpolation)[0]
        shrunk: np.ndarray = resized_to(seen, own_shape(size, self.images.height)).permute(1, 2, 0).numpy()
        return shrunk

    def _decoded(self, opened: Callable[[int], Image.Image]) -> np.ndarray:
        """An image that `opened` decodes for a resolution, at the size that training decodes at."""
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
    """What a model that was trained on `data` is given of a image.

    Args:
        top: The resolution that files were decoded at.
        height: Of the images; None is the resolution that tests are scored at.
        framing: Of images of any size; those that come as arrays are taken whole.
        keeps_aspect: They are shrunk to their own proportions after that.
    """
    source, height = data.test.source, height or data.score_resolution
    if source.own_resolution is not None and not framing.is_squashed:
        framing = WHOLE_MIDDLE
    # Images from memory start from their own size. Those of files are decoded at the top rung's resolution,
    # or at a larger one that the model insists on: `decoded_source` has no larger pixels to make it of.
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
    """Scales of the training data; a image of a kind that it had none of has no scale.

    By its own range every image would be as bright as any other: what training never saw.
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
