"""Training examples mixed with each other, with randomness that depends on the epoch and the batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torchvision.transforms import v2

from trainables.core.contract import Budget
from trainables.engine.examples import TrainEpoch
from trainables.engine.images.batches import Batch, Batches
from trainables.engine.images.data import DataSplits
from trainables.engine.seeds import derived_seed


class Mixing:
    """mixup (Zhang et al. 2018) and CutMix (Yun et al. 2019), by torchvision.

    With both, each batch gets one of them, with equal probability.

    Args:
        mixup: Alpha of the Beta distribution that mixing weights are drawn from; 0 is none.
        cutmix: The same for CutMix.
        seed: The trial's seed.
    """

    def __init__(self, num_classes: int, *, mixup: float, cutmix: float, seed: int) -> None:
        kinds = ((v2.MixUp, mixup), (v2.CutMix, cutmix))
        wanted = [kind(alpha=alpha, num_classes=num_classes) for kind, alpha in kinds if alpha]
        self.is_wanted = bool(wanted)
        self._mix = v2.RandomChoice(wanted) if wanted else v2.Identity()
        self._seed = seed

    def mixed(self, batch: Batch, *, epoch: int, number: int) -> Batch:
        """The batch, each example mixed with another of it; labels become soft ones (batch, classes).

        Args:
            number: Tells the batches of an epoch apart.
        """
        with torch.random.fork_rng(devices=[]):  # torchvision draws from the global generator
            torch.default_generator.manual_seed(derived_seed("mix", self._seed, epoch, number))
            images, labels = self._mix(batch.images, batch.labels)
        return Batch(images.contiguous(memory_format=torch.channels_last), labels)


class MixedBatches:
    """Batches whose training examples are mixed; scored examples stay as they are."""

    def __init__(self, batches: Batches, mixing: Mixing) -> None:
        self._batches, self._mixing = batches, mixing

    @property
    def data(self) -> DataSplits:
        return self._batches.data

    def epoch(self, budget: Budget, epoch: int) -> MixedEpoch:
        return MixedEpoch(self._batches.epoch(budget, epoch), self._mixing, epoch)

    def validation(self, budget: Budget) -> Iterator[Batch]:
        return self._batches.validation(budget)

    def test(self) -> Iterator[Batch]:
        return self._batches.test()


class MixedEpoch:
    """A `TrainEpoch` whose batches are mixed.

    Attributes:
        is_mixed: Always true: an example depends on the others of its batch, which is made as a whole.
    """

    is_mixed = True

    def __init__(self, epoch: TrainEpoch[Batch], mixing: Mixing, number: int) -> None:
        self._epoch, self._mixing, self._number = epoch, mixing, number

    def steps(self, num_examples: int, *, drop_single: bool) -> Sequence[Tensor]:
        return self._epoch.steps(num_examples, drop_single=drop_single)

    def batch(self, indices: Tensor) -> Batch:
        first = int(indices[0])  # no two batches of an epoch share an index
        return self._mixing.mixed(self._epoch.batch(indices), epoch=self._number, number=first)
