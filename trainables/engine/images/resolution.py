"""Images of a wanted resolution, square or of another shape, from tensors and from Pillow images alike."""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional

_IMAGES_AT_ONCE = 1024


def shape_px(resolution: int, aspect_ratio: float) -> tuple[int, int]:
    """Height and width of images of this resolution, which is their height."""
    return resolution, max(1, round(resolution * aspect_ratio))


def squared_image(image: Image.Image, resolution: int) -> Image.Image:
    """The middle of an image, as large as its shorter side allows, resized with antialiasing."""
    shorter = min(image.size)
    left, top = ((length - shorter) / 2 for length in image.size)
    box = (left, top, left + shorter, top + shorter)
    return image.resize((resolution, resolution), Image.Resampling.BILINEAR, box=box)


def squared(images: Tensor, resolution: int) -> Tensor:
    """Resize the shorter side to `resolution` pixels with antialiasing, and crop the centre."""
    resized = functional.resize(images, [resolution], antialias=True)
    cropped: Tensor = functional.center_crop(resized, [resolution, resolution])
    return cropped


def resized_set(images: Tensor, resolution: int | None, aspect_ratio: float = 1.0) -> Tensor:
    """A whole set at another side: (n, channels, any, any) to (n, channels, height, width), uint8.

    Returns the set itself where nothing has to change.

    Args:
        aspect_ratio: Width over height. Squares are cut out of the middle; to other shapes, which sets
            have already, images are stretched.
    """
    if resolution is None or images.shape[-2:] == shape_px(resolution, aspect_ratio):
        return images
    parts = images.split(_IMAGES_AT_ONCE)
    if aspect_ratio == 1:
        return torch.cat([squared(part, resolution) for part in parts])
    size = list(shape_px(resolution, aspect_ratio))
    return torch.cat([functional.resize(part, size, antialias=True) for part in parts])
