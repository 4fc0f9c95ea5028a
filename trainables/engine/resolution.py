"""Square images of a wanted side, from tensors and from Pillow images alike."""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional

_IMAGES_AT_ONCE = 1024


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


def resized_set(images: Tensor, side: int | None) -> Tensor:
    """A whole set at another side: (n, channels, any, any) to (n, channels, side, side), uint8.

    Returns the set itself where nothing has to change.
    """
    if side is None or images.shape[-2:] == (side, side):
        return images
    return torch.cat([squared(part, side) for part in images.split(_IMAGES_AT_ONCE)])
