"""Sizes of the images that a detector sees, and the place of their boxes on a canvas."""

from __future__ import annotations

import torch
from torch import Tensor

from trainables.engine.images.canvas import STRIDE_PX
from trainables.engine.seeds import derived_seed

_SQUARES = (0.75, 1.25)  # of the resolution: 480 to 800 px of 640 (Zhao et al. 2024)
_SHRUNK = (480 / 800, 1.0)  # 480 to 800 px of 800 (Carion et al. 2020)


def drawn_side(resolution: int, *, keep_aspect: bool, seed: int, epoch: int, number: int) -> int:
    """Draw the resolution of one training batch, a multiple of 32 px if there is one within the range.

    Args:
        number: Distinguishes the batches of an epoch.
    """
    low, high = _SHRUNK if keep_aspect else _SQUARES
    steps = range(-(-round(low * resolution) // STRIDE_PX), round(high * resolution) // STRIDE_PX + 1)
    sides = [STRIDE_PX * step for step in steps if step > 0] or [resolution]
    random = torch.Generator().manual_seed(derived_seed("scale", seed, epoch, number))
    return sides[int(torch.randint(len(sides), (1,), generator=random))]


def corner_scale(extents: Tensor) -> Tensor:
    """Factors from fractions of an image's width and height to fractions of the canvas: (batch, 4).

    Args:
        extents: Fractions of height and width that images cover: (batch, 2).
    """
    return extents.flip(1).repeat(1, 2)
