"""Augmentation of whole batches, with randomness that belongs to the example, not to the batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.transforms import v2

from trainables.engine.choices import AUGMENT_STRENGTHS, AugmentName
from trainables.engine.images.shifting import black_outside, shifted
from trainables.engine.seeds import generator

_NUM_OPERATIONS = 2
_NUM_MAGNITUDES = 31  # torchvision's, 0 to 30

_MAX_SHIFT = 0.25  # of the resolution; light is then 4 px of 32, as much as the crop of He et al. 2016
PAD_4_OF_32 = 1 / 8  # of the height: the crop of He et al. 2016 for CIFAR-10
_MAX_JITTER = 0.4  # of brightness and of contrast
_ERASED = (0.02, 0.4)  # of an image's area
_DRAWS = 5  # shift down, shift right, flip, brightness, contrast


@dataclass(frozen=True)
class Light:
    """Image i becomes factor[i] times itself plus offset[i], both (batch, 1); values may leave its range."""

    factor: Tensor
    offset: Tensor

    @classmethod
    def unchanged(cls, device: torch.device) -> Light:
        return cls(torch.ones(1, 1, device=device), torch.zeros(1, 1, device=device))


@dataclass(frozen=True)
class Augment:
    """Random shifts with reflected borders, brightness and contrast, and mirroring if asked for.

    With `padding` it is the plain recipe of many papers instead: pad with black, crop at random, mirror.

    Args:
        strength: 0 means none, 0.5 light, 1 strong.
        flip: Mirror half of the images. Right for photographs; wrong for digits and text.
        rand_augment: Strength of RandAugment, which comes first; 0 means none.
        padding: Black pixels added on each side, as a fraction of the height, before a window of the
            image's size is placed at random.
        random_erasing: Fraction of images in which a rectangle is blanked in the end (Zhong et al. 2020).
    """

    strength: float
    flip: bool = False
    rand_augment: float = 0.0
    padding: float = 0.0
    random_erasing: float = 0.0

    @classmethod
    def named(
        cls,
        strength: AugmentName | float,
        *,
        flip: bool,
        rand_augment: float = 0.0,
        padding: float = PAD_4_OF_32,
        random_erasing: float = 0.0,
    ) -> Augment:
        """From a strength or its name: none, crop, light or strong.

        Args:
            padding: Padding of "crop", as a fraction of the height.
        """
        number = AUGMENT_STRENGTHS[strength] if isinstance(strength, str) else strength
        return cls(number, flip, rand_augment, padding if strength == "crop" else 0.0, random_erasing)

    def draws(self, num_examples: int, *, seed: int, epoch: int) -> Tensor:
        """The random numbers of an epoch, one row per training example: (n, 5), in [0, 1).

        Row i depends on seed, epoch and i alone: not on batch, subset or number of workers.
        """
        return torch.rand(num_examples, _DRAWS, generator=generator("augment", seed=seed, epoch=epoch))

    def moved(self, images: Tensor, draws: Tensor) -> Tensor:
        """Shift and mirror uint8 images: (batch, channels, height, width), channels last."""
        if self.rand_augment:
            images = rand_augmented(images, draws, self.rand_augment)
        if not (self.strength or self.flip or self.padding):
            return images
        height, width = images.shape[2:]
        if self.padding:  # as many pixels in both directions, as papers pad
            reaches = (round(self.padding * height),) * 2
        else:
            reaches = (round(self.strength * _MAX_SHIFT * height), round(self.strength * _MAX_SHIFT * width))
        down, right = (
            _offsets(side, draws[:, number], reach)
            for number, (side, reach) in enumerate(zip((height, width), reaches, strict=True))
        )
        is_mirrored = self.flip & (draws[:, 2] < 0.5)
        moved = shifted(images, down, right, is_mirrored)
        return black_outside(moved, down, right, is_mirrored) if self.padding else moved

    def light(self, images: Tensor, draws: Tensor) -> Light:
        """How brightness and contrast change float images, for `Scaling`, which applies both in one step.

        Args:
            images: (batch, channels, height, width), channels last in memory.
        """
        if not self.strength:
            return Light.unchanged(images.device)
        factors = 1 + (2 * draws[:, 3:] - 1) * self.strength * _MAX_JITTER
        brightness, contrast = factors[:, :1], factors[:, 1:]  # (batch, 1)
        mean = images.permute(0, 2, 3, 1).flatten(1).mean(dim=1, keepdim=True)
        return Light(contrast * brightness, mean * (1 - contrast) * brightness)

    def erased(self, images: Tensor, draws: Tensor) -> Tensor:
        """Scaled float images, some with a rectangle of the mean: 2 to 40 % of an image, of any shape."""
        if not self.random_erasing:
            return images
        erase = v2.RandomErasing(self.random_erasing, scale=_ERASED, ratio=(0.3, 3.3), value=0)
        seeds = draws[:, 1].contiguous().view(torch.int32).tolist()
        changed = []
        with torch.random.fork_rng(devices=[]):  # torchvision draws from the global generator
            for image, seed in zip(images, seeds, strict=True):
                torch.default_generator.manual_seed(seed)
                changed.append(erase(image))
        return torch.stack(changed).contiguous(memory_format=torch.channels_last)


def _offsets(side: int, draws: Tensor, reach: int) -> Tensor:
    """Offsets in whole pixels from -reach to reach, all equally likely; reach is below `side`."""
    reach = min(reach, side - 1)
    return (draws * (2 * reach + 1)).long() - reach


def rand_augmented(images: Tensor, draws: Tensor, strength: float) -> Tensor:
    """Two random operations on each image (Cubuk et al. 2020, "RandAugment").

    It works image by image, as each has operations of its own: 0.4 ms for one of 28 px, 2.7 ms for
    3 x 224 x 224 px, on one core.

    Args:
        images: (batch, channels, height, width), uint8.
        draws: Random numbers of each example, (batch, any); the bits of the first seed its operations.
        strength: In (0, 1], as a fraction of torchvision's largest magnitude.
    """
    magnitude = round(strength * (_NUM_MAGNITUDES - 1))
    augment = v2.RandAugment(_NUM_OPERATIONS, magnitude, _NUM_MAGNITUDES)
    seeds = draws[:, 0].contiguous().view(torch.int32).tolist()
    changed = []
    with torch.random.fork_rng(devices=[]):  # torchvision draws from the global generator
        for image, seed in zip(images, seeds, strict=True):
            torch.default_generator.manual_seed(seed)
            changed.append(augment(image))
    return torch.stack(changed).contiguous(memory_format=torch.channels_last)
