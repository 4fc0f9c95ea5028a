"""Photographs blurred, noised and compressed by known amounts: data for trying things out anywhere."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from functools import cache

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from trainables.image_quality.ratings import Ratings

SIDE_PX = 96
_SHORTER_PX = 2 * SIDE_PX  # of a photograph, before a window is cut from each of its four corners
_BEST = 4.0  # score of an undistorted image; each level of distortion takes off one
_SEED = 0
# Those that come with scikit-image; no scans, and none that is already blurred or mostly dark.
_NAMES = (
    "astronaut",
    "brick",
    "camera",
    "chelsea",
    "coffee",
    "coins",
    "grass",
    "gravel",
    "immunohistochemistry",
    "rocket",
    "stereo_motorcycle",
)
_SIGMAS_PX = (1.2, 2.5, 5.0)
_NOISES = (15.0, 35.0, 70.0)  # standard deviations, of 255
_QUALITIES = (20, 8, 3)  # of JPEG


@cache
def photographs() -> tuple[Tensor, Ratings]:
    """440 images, (n, 3, 96, 96), uint8: four windows of 11 photographs, each with 9 distorted versions.

    Scores are 4 for an undistorted window, and 3 to 1 for increasing blur, noise or compression. The images
    are the same every time.
    """
    random = np.random.default_rng(_SEED)
    images, names, scores, references = [], [], [], []
    for photograph in _NAMES:
        for number, window in enumerate(_windows(photograph)):
            for kind, level, image in _versions(window, random):
                images.append(np.asarray(image))
                names.append(f"{photograph}-{number}-{kind}-{level}")
                scores.append(_BEST - level)
                references.append(photograph)
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)  # (n, 3, 96, 96), channels last
    ratings = Ratings(
        images=tuple(names),
        scores=tuple(scores),
        references=tuple(references),
        parts=("train",) * len(names),
    )
    return pixels, ratings


def _windows(name: str) -> list[Image.Image]:
    """The four corners, 96 px each, of a photograph resized to a shorter side of 192 px."""
    # Imported here, as only this source needs it.
    import skimage.data

    made = getattr(skimage.data, name)()
    image = Image.fromarray(made[0] if isinstance(made, tuple) else made).convert("RGB")
    scale = _SHORTER_PX / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)))
    right, bottom = image.width - SIDE_PX, image.height - SIDE_PX
    corners = [(0, 0), (right, 0), (0, bottom), (right, bottom)]
    return [image.crop((left, top, left + SIDE_PX, top + SIDE_PX)) for left, top in corners]


def _versions(window: Image.Image, random: np.random.Generator) -> list[tuple[str, int, Image.Image]]:
    """(distortion, level, image): the window itself, and three levels of each distortion."""
    kinds: Mapping[str, Callable[[int], Image.Image]] = {
        "blur": lambda level: window.filter(ImageFilter.GaussianBlur(_SIGMAS_PX[level])),
        "noise": lambda level: _noised(window, _NOISES[level], random),
        "jpeg": lambda level: _compressed(window, _QUALITIES[level]),
    }
    distorted = [
        (kind, level + 1, make(level)) for kind, make in kinds.items() for level in range(len(_SIGMAS_PX))
    ]
    return [("original", 0, window), *distorted]


def _noised(window: Image.Image, deviation: float, random: np.random.Generator) -> Image.Image:
    """The window with Gaussian noise of this standard deviation, of 255."""
    pixels = np.asarray(window) + random.normal(0, deviation, (SIDE_PX, SIDE_PX, 3))
    return Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8))


def _compressed(window: Image.Image, quality: int) -> Image.Image:
    """The window after JPEG of this quality."""
    file = io.BytesIO()
    window.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")
