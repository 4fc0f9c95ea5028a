"""Augmentation of images together with their boxes, whose randomness belongs to the example."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from trainables.detection.names import BoxAugmentName
from trainables.engine.seeds import derived_seed

_MIN_PX = 1.0  # boxes cut smaller than that are dropped, as in RT-DETR's recipe


class BoxAugment:
    """Changes one training example after another.

    Args:
        strength: "none"; "light" is colour, contrast and mirroring; "strong" is RT-DETR's own recipe
            (Zhao et al. 2024, "DETRs Beat YOLOs on Real-time Object Detection"): with zooming out, and
            cropping as in SSD.
        flip: Mirror half of the images. Wrong for text and traffic signs.
        seed: The trial's.
    """

    def __init__(self, strength: BoxAugmentName, *, flip: bool, seed: int) -> None:
        self._strength, self._flip, self._seed = strength, flip, seed

    def __call__(
        self, image: Tensor, boxes: Tensor, labels: Tensor, *, epoch: int, number: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """An image (3, side, side), uint8, its boxes as shares of the sides, and their labels, changed.

        What is drawn depends on seed, epoch and number alone: not on batch, subset or device.
        """
        side = image.shape[-1]
        sample = {
            "image": tv_tensors.Image(image),
            "boxes": tv_tensors.BoundingBoxes(boxes * side, format="XYXY", canvas_size=(side, side)),
            "labels": labels,
        }
        # Forked, so that a trial's dropout draws the same whether images are augmented or not.
        with torch.random.fork_rng(devices=[]):  # v2 draws from the CPU's global generator
            torch.default_generator.manual_seed(derived_seed("augment", self._seed, epoch, number))
            changed = self._transform(side)(sample)
        return (
            changed["image"].as_subclass(Tensor),
            changed["boxes"].as_subclass(Tensor) / side,
            changed["labels"],
        )

    def _transform(self, side: int) -> Callable[[Any], Any]:
        """The steps that `strength` and `flip` name, for images of `side` pixels."""
        steps: list[Any] = [v2.RandomHorizontalFlip()] if self._flip else []
        if self._strength != "none":
            steps.append(v2.RandomPhotometricDistort())
        if self._strength == "strong":
            crop = v2.RandomApply([v2.RandomIoUCrop()], p=0.8)
            steps += [v2.RandomZoomOut(), crop, v2.Resize((side, side), antialias=True)]
        steps.append(v2.SanitizeBoundingBoxes(min_size=_MIN_PX))
        transform: Callable[[Any], Any] = v2.Compose(steps)
        return transform
