"""Patches of rated images: cut at random for training, at fixed places for scoring."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from trainables.core.contract import Budget, TrainingContext
from trainables.engine.examples import ExampleChoice, Scored, TrainEpoch
from trainables.engine.images.batches import Scaling
from trainables.engine.images.data import ImageSet, Statistics
from trainables.engine.seeds import generator
from trainables.image_quality.sources import QualityData

_SCORED_AT_ONCE = 256  # patches
_DRAWS = 3  # down, right, mirrored


@dataclass(frozen=True)
class PatchBatch:
    """Patches of some images, and the images' scores, on the device.

    Attributes:
        patches: (images x patches of each, 3, side, side), float; an image's patches are adjacent.
        scores: (images,), in the units of the data.
    """

    patches: Tensor
    scores: Tensor

    def __len__(self) -> int:
        return len(self.scores)

    def split(self, size: int) -> list[PatchBatch]:
        """The same images in the fewest even pieces of at most `size`."""
        num_pieces = -(-len(self) // size)
        by_image = self.patches.unflatten(0, (len(self), -1))
        pieces = zip(by_image.tensor_split(num_pieces), self.scores.tensor_split(num_pieces), strict=True)
        return [PatchBatch(patches.flatten(0, 1), scores) for patches, scores in pieces]


def scores_of_patches(model: nn.Module, batch: PatchBatch) -> Any:
    """A model's score for each patch, (images, patches), as the engine's loop calls it."""
    return model(batch.patches).view(len(batch), -1)


class PatchBatches:
    """The batches of one trial.

    A training example is one patch, which depends on (seed, epoch, image, number) alone. A scored example is
    an image with its patches, at the same places in every trial and epoch.

    Args:
        statistics: Statistics to scale images by: the data's, or those of the weights' own data.
        num_patches: Patches per training image and epoch.
        grid: Scored patches are at grid x grid places, evenly spread; fewer where they would coincide.
        flip: Mirror half of the training patches.
    """

    def __init__(
        self,
        data: QualityData,
        context: TrainingContext,
        *,
        statistics: Statistics,
        num_patches: int,
        grid: int,
        flip: bool,
    ) -> None:
        self._data, self._context = data, context
        self._choice = ExampleChoice(data.splits, context)
        self._device = torch.device(context.device)
        self._scaling = Scaling(statistics, self._device)
        self._num_patches, self._grid, self._flip = num_patches, grid, flip

    def epoch(self, budget: Budget, epoch: int) -> TrainEpoch[PatchBatch]:
        """The training examples of an epoch; when overfitting they are the scored patches."""
        order, side = self._choice.trained(budget, epoch)
        if self._context.is_overfit:
            train = self._data.splits.train
            return TrainEpoch(order, lambda indices: self._fixed(Scored(train, indices, side)))
        num_patches = self._num_patches
        random = generator("patch", seed=self._context.seed, epoch=epoch)
        draws = torch.rand(len(self._data.splits.train) * num_patches, _DRAWS, generator=random)
        numbers = (order[:, None] * num_patches + torch.arange(num_patches)).flatten()
        if num_patches > 1:
            numbers = numbers[torch.randperm(len(numbers), generator=random)]
            self._data.splits.train.expect(numbers // num_patches, side)
        return TrainEpoch(numbers, partial(self._random, draws=draws, side=side))

    def validation(self, budget: Budget) -> Iterator[PatchBatch]:
        """The patches scored after an epoch at `budget`."""
        return self._scored(self._choice.scored(budget))

    def test(self) -> Iterator[PatchBatch]:
        """Patches of all test images, at the top rung's resolution."""
        return self._scored(self._choice.tested())

    def _random(self, indices: Tensor, *, draws: Tensor, side: int) -> PatchBatch:
        """Training patches by index: each of one image, at a random place, mirrored or not."""
        down, right, mirrored = draws[indices].split(1, dim=1)  # (patches, 1) each
        num_places = self._data.side_px - side + 1
        return self._cut(
            Scored(self._data.splits.train, indices // self._num_patches, side),
            (down * num_places).long(),
            (right * num_places).long(),
            (mirrored < 0.5) & self._flip,
        )

    def _scored(self, scored: Scored[ImageSet]) -> Iterator[PatchBatch]:
        """Images with all their fixed patches, in batches of up to 256 patches."""
        num_patches = len(places(self._data.side_px, scored.resolution, self._grid)) ** 2
        for indices in scored.parts(max(1, _SCORED_AT_ONCE // num_patches)):
            yield self._fixed(Scored(scored.examples, indices, scored.resolution))

    def _fixed(self, scored: Scored[ImageSet]) -> PatchBatch:
        """Images with their patches at the fixed places."""
        along = places(self._data.side_px, scored.resolution, self._grid)
        tops, lefts = torch.cartesian_prod(along, along).unbind(1)
        shape = (len(scored.chosen), len(tops))
        return self._cut(
            scored, tops.expand(shape), lefts.expand(shape), torch.zeros(shape, dtype=torch.bool)
        )

    def _cut(self, scored: Scored[ImageSet], tops: Tensor, lefts: Tensor, is_mirrored: Tensor) -> PatchBatch:
        """Patches cut out of images and scaled, with the images' scores."""
        images = scored.examples.images(scored.chosen, scored.resolution, self._device)
        where = (each.to(self._device) for each in (tops, lefts, is_mirrored))
        patches = cut_patches(images, *where, side=scored.resolution)
        scores = self._data.scores_of(scored.examples, scored.chosen).to(self._device)
        return PatchBatch(self._scaling.scaled(patches.float()), scores)


def places(whole: int, side: int, num: int) -> Tensor:
    """Starts of `num` patches of `side` pixels along `whole` pixels, edge to edge: ascending, int64.

    A single patch is in the middle.
    """
    if num == 1:
        return torch.tensor([(whole - side) // 2])
    starts: Tensor = torch.linspace(0, whole - side, num).round().long().unique()
    return starts


def cut_patches(images: Tensor, tops: Tensor, lefts: Tensor, is_mirrored: Tensor, *, side: int) -> Tensor:
    """Patches of images, gathered pixel by pixel: (batch x patches, channels, side, side), channels last.

    Args:
        images: (batch, channels, height, width), channels last in memory.
        tops: Top of each patch in pixels, (batch, patches), like `lefts` and `is_mirrored`.
    """
    batch, channels, height, width = images.shape
    steps = torch.arange(side, device=images.device)
    columns = lefts[..., None] + torch.where(is_mirrored[..., None], steps.flip(0), steps)
    rows = tops[..., None] + steps + torch.arange(batch, device=images.device)[:, None, None] * height
    numbers = rows[..., :, None] * width + columns[..., None, :]  # (batch, patches, side, side)
    pixels = images.permute(0, 2, 3, 1).reshape(-1, channels)
    patches = pixels.index_select(0, numbers.flatten())
    return patches.view(-1, side, side, channels).permute(0, 3, 1, 2)
