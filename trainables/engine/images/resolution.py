"""Resizing to a wanted resolution, square or of another shape, for tensors and Pillow images alike."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

_IMAGES_AT_ONCE = 1024


def shape_px(resolution: int, aspect_ratio: float) -> tuple[int, int]:
    """Height and width of images of this resolution, which is their height."""
    return resolution, max(1, round(resolution * aspect_ratio))


@dataclass(frozen=True)
class Framing:
    """Which part of an image becomes a square image, and how it is resized.

    Pretrained weights expect the framing of their training: 224 px of the 256 that the shorter side was
    resized to are a crop of 0.875. Random weights expect none and get the whole middle.

    Attributes:
        crop: Fraction of the shorter side that is kept, in the middle.
        interpolation: The method's name in Pillow and torchvision, in lower case.
        is_squashed: Stretch the whole image to a square first, so that only `crop` cuts anything off its
            longer side.
    """

    crop: float = 1.0
    interpolation: str = "bilinear"
    is_squashed: bool = False

    @property
    def suffix(self) -> str:
        """Distinguishes images with this framing from others in the cache; empty for the whole middle."""
        if self == Framing():
            return ""
        return f"-{self.interpolation}-{self.crop:g}{'-squashed' if self.is_squashed else ''}"

    def __str__(self) -> str:
        part = "the whole image, stretched" if self.is_squashed else "the middle square"
        cropped = "" if self.crop == 1 else f", {self.crop:.1%} of its side"
        return f"{part}{cropped}, {self.interpolation}"


WHOLE_MIDDLE = Framing()


def squared_image(image: Image.Image, resolution: int, framing: Framing = WHOLE_MIDDLE) -> Image.Image:
    """The middle of an image, by default as large as its shorter side allows, resized with antialiasing."""
    sides = image.size if framing.is_squashed else (min(image.size),) * 2
    kept = [framing.crop * side for side in sides]
    left, top = ((length - side) / 2 for length, side in zip(image.size, kept, strict=True))
    box = (left, top, left + kept[0], top + kept[1])
    method = Image.Resampling[framing.interpolation.upper()]
    return image.resize((resolution, resolution), method, box=box)


def squared(images: Tensor, resolution: int, interpolation: str = "bilinear") -> Tensor:
    """Resize the shorter side to `resolution` pixels with antialiasing, and crop the centre."""
    method = InterpolationMode(interpolation)
    resized = functional.resize(images, [resolution], method, antialias=True)
    cropped: Tensor = functional.center_crop(resized, [resolution, resolution])
    return cropped


def resized_set(
    images: Tensor,
    resolution: int | None,
    aspect_ratio: float = 1.0,
    interpolation: str = "bilinear",
) -> Tensor:
    """Resize a whole set: (n, channels, any, any) to (n, channels, height, width), uint8.

    Returns the set itself if nothing has to change.

    Args:
        aspect_ratio: Width over height. Squares are cut out of the middle; for other ratios, which the set
            already has, images are stretched.
    """
    if resolution is None or images.shape[-2:] == shape_px(resolution, aspect_ratio):
        return images
    parts = images.split(_IMAGES_AT_ONCE)
    if aspect_ratio == 1:
        return torch.cat([squared(part, resolution, interpolation) for part in parts])
    size = list(shape_px(resolution, aspect_ratio))
    return torch.cat([functional.resize(part, size, antialias=True) for part in parts])
