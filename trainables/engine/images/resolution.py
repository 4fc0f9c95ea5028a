"""Images of a wanted side, square or of another shape, from tensors and from Pillow images alike."""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional

_IMAGES_AT_ONCE = 1024


def shape_px(side: int, width_share: float) -> tuple[int, int]:
    """Height and width of images of this side, which is their height."""
    return side, max(1, round(side * width_share))


def squared_picture(picture: Image.Image, side: int) -> Image.Image:
    """The middle of a picture, as large as its shorter side allows, resized with antialiasing."""
    shorter = min(picture.size)
    left, top = ((length - shorter) / 2 for length in picture.size)
    box = (left, top, left + shorter, top + shorter)
    return picture.resize((side, side), Image.Resampling.BILINEAR, box=box)


def squared(images: Tensor, side: int) -> Tensor:
    """Resize the shorter side to `side` pixels with antialiasing, and crop the centre."""
    resized = functional.resize(images, [side], antialias=True)
    cropped: Tensor = functional.center_crop(resized, [side, side])
    return cropped


def resized_set(images: Tensor, side: int | None, width_share: float = 1.0) -> Tensor:
    """A whole set at another side: (n, channels, any, any) to (n, channels, side, width), uint8.

    Returns the set itself where nothing has to change.

    Args:
        width_share: Width over height. Squares are cut out of the middle; to other shapes, which sets
            have already, images are stretched.
    """
    if side is None or images.shape[-2:] == shape_px(side, width_share):
        return images
    parts = images.split(_IMAGES_AT_ONCE)
    if width_share == 1:
        return torch.cat([squared(part, side) for part in parts])
    size = list(shape_px(side, width_share))
    return torch.cat([functional.resize(part, size, antialias=True) for part in parts])
