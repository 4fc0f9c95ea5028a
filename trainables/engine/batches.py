"""From stored images to the batches a model sees: order, subset, resolution, augmentation, scaling."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.contract import Budget, Env
from trainables.engine.augment import Augment
from trainables.engine.data import DataSplits, ImageSet, Statistics
from trainables.engine.seeds import generator
from trainables.engine.subset import nested_subset

_SCORED_AT_ONCE = 256  # not the batch size: scores must not depend on a hyperparameter


@dataclass(frozen=True)
class Batch:
    """Float images (batch, channels, side, side) and labels (batch,) on the device."""

    images: Tensor
    labels: Tensor


class Batches:
    """The batches of one trial.

    Args:
        statistics: What to scale images by: those of the data, or of the weights' own data.
    """

    def __init__(
        self,
        data: DataSplits,
        env: Env,
        *,
        augment: Augment,
        statistics: Statistics,
    ) -> None:
        self.data = data
        self._env = env
        self._augment = augment
        self._device = torch.device(env.device)
        self._mean = torch.tensor(statistics.mean, device=self._device).view(-1, 1, 1)
        self._std = torch.tensor(statistics.std, device=self._device).view(-1, 1, 1)

    def epoch(self, budget: Budget, epoch: int) -> TrainEpoch:
        """The training examples of an epoch; the same for every trial of one seed."""
        subset = nested_subset(self.data.train.labels, budget.subset, seed=self._env.data_seed)
        order = torch.randperm(len(subset), generator=generator("order", seed=self._env.seed, epoch=epoch))
        draws = self._augment.draws(len(self.data.train), seed=self._env.seed, epoch=epoch)
        resolution = self.data.train_resolution(budget.resolution)
        return TrainEpoch(self, subset[order], draws, resolution)

    def validation(self, budget: Budget) -> Iterator[Batch]:
        """The validation images that are scored after an epoch at `budget`."""
        labels = self.data.val.labels
        chosen = nested_subset(labels, self._env.validation_subset, seed=self._env.data_seed)
        is_rungs = self._env.validation_resolution == "rung"
        resolution = self.data.train_resolution(budget.resolution) if is_rungs else self.data.score_resolution
        return self._scored(self.data.val, chosen, resolution)

    def test(self) -> Iterator[Batch]:
        """All test images, at the top rung's resolution."""
        return self._scored(self.data.test, torch.arange(len(self.data.test)), self.data.score_resolution)

    def training(self, indices: Tensor, draws: Tensor, resolution: int) -> Batch:
        """Training examples by number, augmented by their rows of `draws`."""
        images = self.data.train.images(indices, resolution).to(self._device)
        draws = draws[indices].to(self._device)
        images = self._augment.lit(self._augment.moved(images, draws).float() / 255, draws)
        return self._batch(images, self.data.train.labels[indices])

    def _scored(self, images: ImageSet, chosen: Tensor, resolution: int) -> Iterator[Batch]:
        for indices in chosen.split(_SCORED_AT_ONCE):
            pixels = images.images(indices, resolution).to(self._device)
            yield self._batch(pixels.float() / 255, images.labels[indices])

    def _batch(self, images: Tensor, labels: Tensor) -> Batch:
        scaled = (images - self._mean) / self._std
        return Batch(scaled.contiguous(memory_format=torch.channels_last), labels.to(self._device))


@dataclass(frozen=True, eq=False)
class TrainEpoch:
    """The examples of one epoch, in their order."""

    batches: Batches
    order: Tensor
    draws: Tensor
    resolution: int

    def steps(self, num_examples: int, *, drop_single: bool) -> list[Tensor]:
        """The numbers of the examples of each optimiser step; the last step may be smaller.

        Args:
            drop_single: Leave out a last step of one example, which BatchNorm cannot train on.
        """
        steps = list(self.order.split(num_examples))
        if drop_single and len(steps) > 1 and len(steps[-1]) == 1:
            steps.pop()
        return steps

    def batch(self, indices: Tensor) -> Batch:
        return self.batches.training(indices, self.draws, self.resolution)
