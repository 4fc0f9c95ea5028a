"""Square images of a wanted side, from tensors and from Pillow images alike."""

from __future__ import annotations

from typing import TypeVar

import torch
from PIL.Image import Image
from torch import Tensor
from torchvision.transforms.v2 import functional

_Picture = TypeVar("_Picture", Tensor, Image)
_IMAGES_AT_ONCE = 4096  # resizing works in float32: 4,096 images of 3 x 224 x 224 px are 2.3 GiB


def squared(picture: _Picture, side: int) -> _Picture:
    """Resize the shorter side to `side` pixels with antialiasing, and crop the centre."""
    resized = functional.resize(picture, [side], antialias=True)
    cropped: _Picture = functional.center_crop(resized, [side, side])
    return cropped


def resized_set(images: Tensor, side: int | None) -> Tensor:
    """A whole set at another side: (n, channels, any, any) to (n, channels, side, side), uint8.

    Returns the set itself where nothing has to change.
    """
    if side is None or images.shape[-2:] == (side, side):
        return images
    return torch.cat([squared(part, side) for part in images.split(_IMAGES_AT_ONCE)])
