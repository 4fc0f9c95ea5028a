"""Images moved by whole pixels, reflected at their borders, and mirrored."""

from __future__ import annotations

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor


def shifted(images: Tensor, down: Tensor, right: Tensor, is_mirrored: Tensor) -> Tensor:
    """Move a window over each image, then mirror what it shows left to right if `is_mirrored`.

    Args:
        images: (batch, channels, height, width), uint8, channels last in memory; so is the result.
        down: Pixels by which image i's window is moved down, int64, less than the height: (batch,).
        right: The same to the right, less than the width: (batch,).
        is_mirrored: Whether image i is mirrored: (batch,).
    """
    if images.device.type == "cpu":
        return _through_windows(images, down, right, is_mirrored)
    return _by_pixel_numbers(images, down, right, is_mirrored)


def black_outside(images: Tensor, down: Tensor, right: Tensor, is_mirrored: Tensor) -> Tensor:
    """Blacken what `shifted` returned for these arguments where its windows reached beyond the images."""
    height, width = images.shape[2:]
    rows = _is_inside(height, down)
    columns = _is_inside(width, right)
    columns = torch.where(is_mirrored[:, None], columns.flip(1), columns)
    pixels = images.permute(0, 2, 3, 1) * (rows[:, :, None] & columns[:, None, :])[..., None]
    return pixels.permute(0, 3, 1, 2)


def _is_inside(side: int, offsets: Tensor) -> Tensor:
    """Which positions of a window of `side` pixels are within the image: (batch, side), bool."""
    positions = torch.arange(side, device=offsets.device) + offsets[:, None]
    return (positions >= 0) & (positions < side)


def _through_windows(images: Tensor, down: Tensor, right: Tensor, is_mirrored: Tensor) -> Tensor:
    """Copy whole rows: 1.6 ms for 64 images of 3 x 128 x 128 px, where pixels by number take 3.5 ms."""
    pixels = images.permute(0, 2, 3, 1)
    batch, height, width, channels = pixels.shape
    reach = int(right.abs().max())
    before, after = pixels[:, :, 1 : 1 + reach], pixels[:, :, width - 1 - reach : width - 1]
    wide = torch.cat([before.flip(2), pixels, after.flip(2)], dim=2).flatten(2).numpy()
    windows = sliding_window_view(wide, width * channels, axis=2)
    rows = _reflected(height, down).numpy()
    starts = (right[:, None] + reach).numpy() * channels
    moved = windows[np.arange(batch)[:, None], rows, starts].reshape(pixels.shape)
    chosen = np.flatnonzero(is_mirrored.numpy())
    moved[chosen] = _mirrored(torch.from_numpy(moved[chosen])).numpy()
    return torch.from_numpy(moved).permute(0, 3, 1, 2)


def _by_pixel_numbers(images: Tensor, down: Tensor, right: Tensor, is_mirrored: Tensor) -> Tensor:
    """Pick all pixels in one kernel."""
    pixels = images.permute(0, 2, 3, 1)
    batch, height, width, channels = pixels.shape
    columns = _reflected(width, right)
    columns = torch.where(is_mirrored[:, None], columns.flip(1), columns)
    rows = _reflected(height, down) + torch.arange(batch, device=down.device)[:, None] * height
    numbers = (rows[:, :, None] * width + columns[:, None, :]).flatten()
    chosen = pixels.reshape(-1, channels).index_select(0, numbers)
    return chosen.view(pixels.shape).permute(0, 3, 1, 2)


def _reflected(side: int, offsets: Tensor) -> Tensor:
    """The positions that a window of `side` pixels sees at each offset: (batch, side)."""
    positions = (torch.arange(side, device=offsets.device) + offsets[:, None]).abs()
    return side - 1 - (side - 1 - positions).abs()


def _mirrored(pixels: Tensor) -> Tensor:
    """Mirror (batch, height, width, channels); torch flips fast if it sees that channels come last."""
    return pixels.permute(0, 3, 1, 2).flip(3).permute(0, 2, 3, 1)
