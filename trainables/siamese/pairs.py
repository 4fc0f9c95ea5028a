"""Pairs of labelled images, half of them of one class and half of two."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from trainables.core.contract import Budget, DataError, TrainingContext
from trainables.engine.examples import ExampleChoice, Scored, TrainEpoch
from trainables.engine.images.batches import Batch, Batches
from trainables.engine.images.data import ImageSet
from trainables.engine.seeds import generator

_DRAWS = 2  # whether the partner is of the same class, and which it is
_SCORED = 0  # epoch number of held-out pairs, so that all trials and epochs are scored on the same ones


@dataclass(frozen=True)
class PairBatch:
    """Two batches of float images (pairs, channels, side, side), and whether each pair is of one class."""

    first: Tensor
    second: Tensor
    is_same: Tensor

    def __len__(self) -> int:
        return len(self.is_same)

    def split(self, size: int) -> list[PairBatch]:
        """The same pairs in the fewest even pieces of at most `size`."""
        num_pieces = -(-len(self) // size)
        parts = (part.tensor_split(num_pieces) for part in (self.first, self.second, self.is_same))
        return [PairBatch(*piece) for piece in zip(*parts, strict=True)]


class PairBatches:
    """The batches of one trial: each image with a partner from the images within its budget.

    Partners of training images depend on (seed, epoch, image), those of held-out ones on the run's seed.
    """

    def __init__(self, batches: Batches, context: TrainingContext) -> None:
        self._batches, self._context = batches, context
        self._choice = ExampleChoice(batches.data, context)

    def epoch(self, budget: Budget, epoch: int) -> TrainEpoch[PairBatch]:
        """The training pairs of an epoch; when overfitting they are always the same."""
        images = self._batches.epoch(budget, epoch)
        seed, number = (
            (self._context.data_seed, _SCORED) if self._context.is_overfit else (self._context.seed, epoch)
        )
        labels = self._batches.data.train.labels
        partner = torch.empty_like(labels)
        partner[images.order] = _partnered(images.order, labels, seed=seed, epoch=number)
        return TrainEpoch(
            images.order, lambda indices: _paired(images.batch(indices), images.batch(partner[indices]))
        )

    def validation(self, budget: Budget) -> Iterator[PairBatch]:
        return self._scored(self._choice.scored(budget))

    def test(self) -> Iterator[PairBatch]:
        return self._scored(self._choice.tested())

    def _scored(self, scored: Scored[ImageSet]) -> Iterator[PairBatch]:
        seed = self._context.data_seed
        partners = _partnered(scored.chosen, scored.examples.labels, seed=seed, epoch=_SCORED)
        both = (self._batches.scored(part) for part in (scored, replace(scored, chosen=partners)))
        yield from map(_paired, *both)


def partners(labels: Tensor, draws: Tensor) -> Tensor:
    """The index of each example's partner, which is of its class where the first draw is below one half.

    No example is its own partner: the only one of its class gets one of another class.

    Args:
        draws: (n, 2), in [0, 1).

    Raises:
        DataError: All are of one class, so there is nothing to distinguish.
    """
    order = labels.argsort(stable=True)
    _, own, sizes = labels.unique(return_inverse=True, return_counts=True)
    if len(sizes) < 2:
        raise DataError(f"pairs need images of two classes, got {len(labels)} of one")
    size = sizes[own]
    start = (sizes.cumsum(0) - sizes)[own]  # where the class starts in sorted order
    rank = order.argsort() - start
    wants_same = (draws[:, 0] < 0.5) & (size > 1)
    num_choices = torch.where(wants_same, size - 1, len(labels) - size)
    step = (draws[:, 1] * num_choices).long().clamp(max=num_choices - 1)
    same = start + (rank + 1 + step) % size
    other = (start + size + step) % len(labels)
    return order[torch.where(wants_same, same, other)]


def _partnered(chosen: Tensor, labels: Tensor, *, seed: int, epoch: int) -> Tensor:
    """The partner of each image in `chosen`, from `chosen`; `labels` are those of the whole set."""
    random = generator("pair", seed=seed, epoch=epoch)
    draws = torch.rand(len(labels), _DRAWS, generator=random, dtype=torch.float64)
    return chosen[partners(labels[chosen], draws[chosen])]


def _paired(first: Batch, second: Batch) -> PairBatch:
    return PairBatch(first.images, second.images, (first.labels == second.labels).float())
