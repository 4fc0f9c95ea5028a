"""Which examples a trial sees, in which order and at which resolution; not what they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic

import torch
from torch import Tensor

from trainables.contract import Budget, Env
from trainables.engine.data import DataSplits, ImageSet
from trainables.engine.parts import B_co
from trainables.engine.seeds import generator

_SCORED_AT_ONCE = 256  # not the batch size: scores must not depend on a hyperparameter


class ExampleChoice:
    """The choices of one trial, which depend on its seeds and budget alone."""

    def __init__(self, data: DataSplits, env: Env) -> None:
        self._data, self._env = data, env

    def trained(self, budget: Budget, epoch: int) -> tuple[Tensor, int]:
        """Numbers of an epoch's training images in their order, and their side in pixels."""
        subset = self._data.train.subset(budget.subset)
        resolution = self._data.train_resolution(budget.resolution)
        if self._env.is_overfit:
            return subset, resolution
        order = torch.randperm(len(subset), generator=generator("order", seed=self._env.seed, epoch=epoch))
        self._data.train.expect(subset[order], resolution)
        return subset[order], resolution

    def scored(self, budget: Budget) -> Scored:
        """What is scored after an epoch at `budget`: of validation, unless it is to overfit."""
        if self._env.is_overfit:
            train = self._data.train
            return Scored(train, train.subset(budget.subset), self._data.train_resolution(budget.resolution))
        is_rungs = self._env.validation_resolution == "rung"
        return Scored(
            self._data.val,
            self._data.val.subset(self._env.validation_subset),
            self._data.train_resolution(budget.resolution) if is_rungs else self._data.score_resolution,
        )

    def tested(self) -> Scored:
        """All test images, at the top rung's resolution."""
        return Scored(self._data.test, torch.arange(len(self._data.test)), self._data.score_resolution)


@dataclass(frozen=True, eq=False)
class Scored:
    """Images to score, by number, at a side in pixels."""

    images: ImageSet
    chosen: Tensor
    resolution: int

    def parts(self, size: int = _SCORED_AT_ONCE) -> Sequence[Tensor]:
        """Their numbers in parts to be scored at once, which are prepared for."""
        self.images.expect(self.chosen, self.resolution)
        return list(self.chosen.split(size))


@dataclass(frozen=True, eq=False)
class TrainEpoch(Generic[B_co]):
    """The examples of one epoch, in their order.

    Args:
        made: Makes the batch of these examples, augmented; the same whenever it is asked for again.
    """

    order: Tensor
    made: Callable[[Tensor], B_co]

    def steps(self, num_examples: int, *, drop_single: bool) -> list[Tensor]:
        """The numbers of the examples of each optimiser step; the last step may be smaller.

        Args:
            drop_single: Leave out a last step of one example, which BatchNorm cannot train on.
        """
        steps = list(self.order.split(num_examples))
        if drop_single and len(steps) > 1 and len(steps[-1]) == 1:
            steps.pop()
        return steps

    def batch(self, indices: Tensor) -> B_co:
        return self.made(indices)
