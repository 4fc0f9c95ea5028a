"""Generated images of coloured shapes on noise: data for trying out a detector anywhere."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from trainables.detection.annotations import Annotations, Objects, objects_of

SIDE_PX = 64
_NUM_IMAGES = 480
_SEED = 0
_MAX_OBJECTS = 3
_EMPTY_EVERY = 12  # images without objects, as most data sets have some
_NAMES = ("disc", "square", "triangle")


def shapes() -> tuple[Tensor, Annotations]:
    """Generate 480 images with one to three discs, squares and triangles; every 12th has none.

    Images are (n, 3, 64, 64), uint8, and always the same. Shapes are 14 to 32 px large, in bright colours on
    dark noise; a later shape may cover part of another.
    """
    random = np.random.default_rng(_SEED)
    images = random.integers(0, 80, (_NUM_IMAGES, SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
    objects = tuple(_drawn(random, image, number) for number, image in enumerate(images))
    annotations = Annotations(
        objects=objects,
        parts=("train",) * _NUM_IMAGES,
        class_names=_NAMES,
        category_ids=tuple(range(len(_NAMES))),
    )
    return torch.from_numpy(images).permute(0, 3, 1, 2), annotations


def _drawn(random: np.random.Generator, image: np.ndarray, number: int) -> Objects:
    num_objects = 0 if number % _EMPTY_EVERY == 0 else int(random.integers(1, _MAX_OBJECTS + 1))
    boxes, labels = [], []
    for _ in range(num_objects):
        label, side = int(random.integers(len(_NAMES))), int(random.integers(14, 33))
        left, top = (int(random.integers(0, SIDE_PX - side + 1)) for _ in range(2))
        region = image[top : top + side, left : left + side]
        region[_mask(_NAMES[label], side)] = random.integers(120, 256, 3)
        boxes.append((left, top, left + side, top + side))
        labels.append(label)
    return objects_of(f"shapes-{number:03d}", (SIDE_PX, SIDE_PX), boxes, labels)


def _mask(name: str, side: int) -> np.ndarray:
    """The pixels of its box that a shape covers: (side, side), bool; it touches all four edges."""
    rows, columns = np.mgrid[:side, :side] + 0.5
    if name == "square":
        return np.ones((side, side), dtype=bool)
    if name == "disc":
        return np.asarray((rows - side / 2) ** 2 + (columns - side / 2) ** 2 <= (side / 2) ** 2)
    return np.asarray(np.abs(columns - side / 2) <= rows / 2 + 0.5)
