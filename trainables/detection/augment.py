"""Augmentation of images together with their boxes, with randomness that depends on the example alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2._utils import query_size

from trainables.detection.names import BoxAugmentName
from trainables.engine.seeds import derived_seed

_LEAST_PART = 384 / 600
_MIN_PX = 1.0  # boxes cut to less are dropped, as in RT-DETR's recipe


class _RandomPart(v2.Transform):  # type: ignore[misc]
    """Crops a random part of an image, 64 to 100 % of each side: DETR's 384 to 600 px of 600."""

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw the part from torch's global generator."""
        height, width = query_size(flat_inputs)
        shares = _LEAST_PART + (1 - _LEAST_PART) * torch.rand(2)
        sides = [
            max(1, round(float(share) * side)) for share, side in zip(shares, (height, width), strict=True)
        ]
        room = [side - part for side, part in zip((height, width), sides, strict=True)]
        top, left = (int(torch.randint(most + 1, (1,))) for most in room)
        return {"top": top, "left": left, "height": sides[0], "width": sides[1]}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Crop an image, or boxes to match; return labels unchanged."""
        return self._call_kernel(v2.functional.crop, inpt, **params)


class BoxAugment:
    """Augments training examples, one per call.

    Args:
        strength: "none"; "light" changes colour and contrast; "strong" is RT-DETR's own recipe (Zhao et al.
            2024, "DETRs Beat YOLOs on Real-time Object Detection"), which adds zooming out, and cropping as
            in SSD; "crop" is DETR's (Carion et al. 2020): half of the images are cropped at random.
        flip: Whether to mirror half of the images, with any strength. Wrong for text and traffic signs.
        seed: The trial's seed.
    """

    def __init__(self, strength: BoxAugmentName, *, flip: bool, seed: int) -> None:
        self._strength, self._flip, self._seed = strength, flip, seed

    def __call__(
        self, image: Tensor, boxes: Tensor, labels: Tensor, *, epoch: int, number: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Augment an image (3, side, side), uint8, its boxes as fractions of the sides, and their labels.

        With "crop", the returned image may be smaller; boxes are fractions of its sides.

        Random draws depend on seed, epoch and number alone, not on batch, subset or device.
        """
        side = image.shape[-1]
        sample = {
            "image": tv_tensors.Image(image),
            "boxes": tv_tensors.BoundingBoxes(boxes * side, format="XYXY", canvas_size=(side, side)),
            "labels": labels,
        }
        # Forked, so that a trial's dropout is the same with and without augmentation.
        with torch.random.fork_rng(devices=[]):  # v2 draws from the CPU's global generator
            torch.default_generator.manual_seed(derived_seed("augment", self._seed, epoch, number))
            changed = self._transform(side)(sample)
        height, width = changed["image"].shape[1:]
        return (
            changed["image"].as_subclass(Tensor),
            changed["boxes"].as_subclass(Tensor) / torch.tensor([width, height, width, height]),
            changed["labels"],
        )

    def _transform(self, side: int) -> Callable[[Any], Any]:
        """Compose the steps for `strength` and `flip`, for images of `side` pixels."""
        steps: list[Any] = [v2.RandomHorizontalFlip()] if self._flip else []
        if self._strength == "crop":
            steps.append(v2.RandomApply([_RandomPart()], p=0.5))
        elif self._strength != "none":
            steps.append(v2.RandomPhotometricDistort())
        if self._strength == "strong":
            crop = v2.RandomApply([v2.RandomIoUCrop()], p=0.8)
            steps += [v2.RandomZoomOut(), crop, v2.Resize((side, side), antialias=True)]
        steps.append(v2.SanitizeBoundingBoxes(min_size=_MIN_PX))
        transform: Callable[[Any], Any] = v2.Compose(steps)
        return transform
