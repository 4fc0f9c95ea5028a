"""From stored images of persons to the batches that a network sees, with several images per person."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from trainables.core.contract import Budget, TrainingContext
from trainables.engine.examples import ExampleChoice, Scored, TrainEpoch
from trainables.engine.images.batches import Batch, Batches
from trainables.engine.images.data import ImageSet
from trainables.engine.seeds import generator
from trainables.person_reid.data import PersonData


@dataclass(frozen=True)
class PersonBatch:
    """Images (batch, 3, height, width) on the device, with their labels, (batch,) each.

    Attributes:
        labels: Number of each person.
        is_query: Whether the image is a query when scored; `is_gallery`, whether it is in the gallery.
    """

    images: Tensor
    labels: Tensor
    cameras: Tensor
    is_query: Tensor
    is_gallery: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def split(self, size: int) -> list[PersonBatch]:
        """The same images in the fewest even pieces of at most `size`."""
        num_pieces = -(-len(self) // size)
        parts = (getattr(self, field.name).tensor_split(num_pieces) for field in fields(self))
        return [PersonBatch(*piece) for piece in zip(*parts, strict=True)]


class PersonBatches:
    """The batches of one trial.

    Args:
        per_identity: Images of a person that follow each other in training; None means any order.
    """

    def __init__(
        self, batches: Batches, data: PersonData, context: TrainingContext, *, per_identity: int | None
    ) -> None:
        self._batches, self._data, self._context = batches, data, context
        self._choice = ExampleChoice(data.splits, context)
        self._per_identity = per_identity

    def epoch(self, budget: Budget, epoch: int) -> TrainEpoch[PersonBatch]:
        """The training images of an epoch; the same for every trial of one seed."""
        images, train, order = self._batches.epoch(budget, epoch), self._data.splits.train, None
        if self._per_identity and not self._context.is_overfit:
            random = generator("identity", seed=self._context.seed, epoch=epoch)
            order = grouped(images.order, train.labels, self._per_identity, random)
        return TrainEpoch(
            images.order if order is None else order,
            lambda indices: self._known(train, indices, images.batch(indices)),
        )

    def validation(self, budget: Budget) -> Iterator[PersonBatch]:
        """The images scored after an epoch at `budget`."""
        return self._scored(self._choice.scored(budget))

    def test(self) -> Iterator[PersonBatch]:
        """All test images, at the top rung's resolution."""
        return self._scored(self._choice.tested())

    def _scored(self, scored: Scored[ImageSet]) -> Iterator[PersonBatch]:
        for indices, batch in zip(scored.parts(), self._batches.scored(scored), strict=True):
            yield self._known(scored.examples, indices, batch)

    def _known(self, images: ImageSet, indices: Tensor, batch: Batch) -> PersonBatch:
        rows = images.rows[indices]
        known = (self._data.cameras, self._data.is_query, self._data.is_gallery)
        return PersonBatch(batch.images, batch.labels, *(of[rows].to(batch.labels.device) for of in known))


def grouped(order: Tensor, labels: Tensor, per_identity: int, random: torch.Generator) -> Tensor:
    """As many images as in `order`, arranged so that batches have P persons with K images each.

    Each round takes the next K images of every person, with the persons in a new order; a person who runs out
    of images starts over. So persons with few images are seen as often as those with many. In a batch that
    spans two rounds a person may occur twice. (Hermans, Beyer and Leibe 2017, "In Defense of the Triplet Loss
    for Person Re-Identification".)

    Args:
        order: Indices of images, shuffled, (n,).
        labels: Labels of the whole set.
        per_identity: K.
    """
    by_identity = order[labels[order].argsort(stable=True)]
    sizes = labels[order].unique(return_counts=True)[1]
    starts = sizes.cumsum(0) - sizes
    rounds = []
    for number in range(-(-len(order) // (per_identity * len(sizes)))):
        chosen = torch.randperm(len(sizes), generator=random)
        places = torch.arange(number * per_identity, (number + 1) * per_identity) % sizes[chosen, None]
        rounds.append(by_identity[starts[chosen, None] + places].flatten())
    return torch.cat(rounds)[: len(order)]
