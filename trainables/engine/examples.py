"""Which examples a trial sees, in which order and at which resolution, whatever they are.

A resolution is the side of images in pixels; for data without pixels it is the length that is read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor

from trainables.core.contract import Budget, TrainingContext
from trainables.engine.protocols import B_co
from trainables.engine.seeds import generator
from trainables.engine.subset import at_most

_SCORED_AT_ONCE = 256  # not the batch size: scores must not depend on a hyperparameter


class Examples(Protocol):
    """Some examples of a data source, numbered from 0."""

    def __len__(self) -> int: ...

    def subset(self, wanted: float | int | None) -> Tensor:
        """Indices of the examples in a fraction, a count, or None for all; see `subset.nested_subset`."""
        ...

    def expect(self, indices: Tensor, resolution: int) -> None:
        """Prepare for these examples, in this order."""
        ...


E = TypeVar("E", bound=Examples)
E_co = TypeVar("E_co", bound=Examples, covariant=True)


class Splits(Protocol[E_co]):
    """The three parts of a run's data, and the resolution at which test examples are scored."""

    @property
    def train(self) -> E_co: ...

    @property
    def val(self) -> E_co: ...

    @property
    def test(self) -> E_co: ...

    @property
    def score_resolution(self) -> int: ...

    def train_resolution(self, wanted: int | None) -> int:
        """Resolution of training examples at a budget's resolution, where None means the data's own."""
        ...


def scored_subset(budget: Budget, context: TrainingContext) -> float | int | None:
    """The subset of validation scored after an epoch at `budget`: the rung's own, else the run's."""
    return context.validation_subset if budget.validation is None else budget.validation


class ExampleChoice(Generic[E]):
    """Chooses the examples of one trial, which depend only on its seeds and budget."""

    def __init__(self, data: Splits[E], context: TrainingContext) -> None:
        self._data, self._context = data, context

    def trained(self, budget: Budget, epoch: int) -> tuple[Tensor, int]:
        """Indices of an epoch's training examples in order, and their resolution."""
        subset = self._data.train.subset(budget.subset)
        resolution = self._data.train_resolution(budget.resolution)
        if self._context.is_overfit:
            return subset, resolution
        order = torch.randperm(
            len(subset), generator=generator("order", seed=self._context.seed, epoch=epoch)
        )
        self._data.train.expect(subset[order], resolution)
        return subset[order], resolution

    def scored(self, budget: Budget) -> Scored[E]:
        """Examples scored after an epoch at `budget`: validation, or training if it is meant to overfit."""
        if self._context.is_overfit:
            train = self._data.train
            return Scored(train, train.subset(budget.subset), self._data.train_resolution(budget.resolution))
        is_rungs = self._context.validation_resolution == "rung"
        return Scored(
            self._data.val,
            self._data.val.subset(at_most(scored_subset(budget, self._context), len(self._data.val))),
            self._data.train_resolution(budget.resolution) if is_rungs else self._data.score_resolution,
        )

    def tested(self) -> Scored[E]:
        """All test examples, at the top rung's resolution."""
        return Scored(self._data.test, torch.arange(len(self._data.test)), self._data.score_resolution)


@dataclass(frozen=True, eq=False)
class Scored(Generic[E]):
    """Examples to score, by index, at a resolution."""

    examples: E
    chosen: Tensor
    resolution: int

    def parts(self, size: int = _SCORED_AT_ONCE) -> Sequence[Tensor]:
        """Prepare for these examples and return their indices in parts to score at once."""
        self.examples.expect(self.chosen, self.resolution)
        return list(self.chosen.split(size))


@dataclass(frozen=True, eq=False)
class TrainEpoch(Generic[B_co]):
    """The examples of one epoch, in order.

    Args:
        made: Makes the batch of the given examples, augmented; the same on every call.
    """

    order: Tensor
    made: Callable[[Tensor], B_co]

    def steps(self, num_examples: int, *, drop_single: bool) -> list[Tensor]:
        """Indices of the examples of each optimiser step; the last step may be smaller.

        Args:
            drop_single: Leave out a last step of one example, which BatchNorm cannot train on.
        """
        steps = list(self.order.split(num_examples))
        if drop_single and len(steps) > 1 and len(steps[-1]) == 1:
            steps.pop()
        return steps

    def batch(self, indices: Tensor) -> B_co:
        return self.made(indices)
