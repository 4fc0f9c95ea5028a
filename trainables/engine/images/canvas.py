"""Images in their own proportions: recovered from stretched squares, and put on one canvas.

Stored images are stretched to squares. Shrinking one side again restores their own proportions and loses
nothing: the longer side has all the pixels that were asked for.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.transforms.v2 import functional as image_functional

STRIDE_PX = 32  # of the coarsest maps of DETR, RT-DETR and D-FINE; sides are multiples of it
_SHORTER = 800 / 1333  # of the longer side, at most: Carion et al. 2020


def own_shape(size: tuple[float, float], resolution: int) -> tuple[int, int]:
    """Height and width in px of an image of this width and height, in its own proportions.

    The longer side is at most the resolution, the shorter one at most six tenths of it (800 of 1,333).
    """
    width, height = size
    scale = min(resolution / max(size), _SHORTER * resolution / min(size))
    return max(1, round(height * scale)), max(1, round(width * scale))


def on_canvas(images: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Put images (3, any, any) into the upper left of canvases of one size, padded with zeros.

    Returns:
        (batch, 3, height, width), sides multiples of 32 px, channels last; and the fractions of height and
        width that each image takes, (batch, 2).
    """
    sides = torch.tensor([image.shape[1:] for image in images])
    height, width = ((side + STRIDE_PX - 1) // STRIDE_PX * STRIDE_PX for side in sides.amax(0).tolist())
    padded = [
        functional.pad(image, (0, width - image.shape[2], 0, height - image.shape[1])) for image in images
    ]
    canvas = torch.stack(padded).contiguous(memory_format=torch.channels_last)
    return canvas, sides / torch.tensor([height, width])


def resized_to(image: Tensor, shape: tuple[int, int]) -> Tensor:
    """Resize an image (3, any, any) to this height and width, with antialiasing."""
    if tuple(image.shape[1:]) == shape:
        return image
    resized: Tensor = image_functional.resize(image, list(shape), antialias=True)
    return resized
