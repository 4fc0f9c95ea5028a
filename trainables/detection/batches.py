"""From stored images and their boxes to the batches a detector sees."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torchvision.ops import box_convert

from trainables.core.contract import Budget, TrainingContext
from trainables.detection.annotations import Objects
from trainables.detection.augment import BoxAugment
from trainables.detection.sources import DetectionData
from trainables.engine.examples import ExampleChoice, Scored, TrainEpoch
from trainables.engine.images.batches import Scaling
from trainables.engine.images.data import ImageSet, Statistics

_SCORED_AT_ONCE = 32  # 640 px and 300 queries: 256 at once would need tens of GiB

Target = dict[str, Tensor]


@dataclass(frozen=True)
class DetectionBatch:
    """Images and what is in them.

    Attributes:
        images: (batch, 3, side, side), float, on the device.
        targets: Of each image what is to be learnt: `boxes` (n, 4) as centre, width and height, in
            shares of the sides, and `class_labels` (n,); on the device.
        objects: All objects as they are annotated, for scoring; on the CPU.
    """

    images: Tensor
    targets: Sequence[Target]
    objects: Sequence[Objects]

    def __len__(self) -> int:
        return len(self.images)

    def split(self, size: int) -> list[DetectionBatch]:
        """The same examples in as few even pieces as hold at most `size` each."""
        num_pieces = -(-len(self) // size)
        parts = torch.arange(len(self)).tensor_split(num_pieces)
        spans = [slice(int(part[0]), int(part[-1]) + 1) for part in parts]
        return [DetectionBatch(self.images[s], self.targets[s], self.objects[s]) for s in spans]


class DetectionBatches:
    """The batches of one trial.

    Args:
        statistics: What to scale images by: what the model's weights expect.
    """

    def __init__(
        self, data: DetectionData, context: TrainingContext, *, augment: BoxAugment, statistics: Statistics
    ) -> None:
        self._data = data
        self._augment = None if context.is_overfit else augment
        self._choice = ExampleChoice(data.splits, context)
        self._device = torch.device(context.device)
        self._scaling = Scaling(statistics, self._device)

    def epoch(self, budget: Budget, epoch: int) -> TrainEpoch[DetectionBatch]:
        """The training examples of an epoch; the same for every trial of one seed."""
        order, resolution = self._choice.trained(budget, epoch)
        return TrainEpoch(order, partial(self._training, epoch=epoch, resolution=resolution))

    def validation(self, budget: Budget) -> Iterator[DetectionBatch]:
        """The images that are scored after an epoch at `budget`."""
        return self._scored(self._choice.scored(budget))

    def test(self) -> Iterator[DetectionBatch]:
        """All test images, at the top rung's resolution."""
        return self._scored(self._choice.tested())

    def _training(self, indices: Tensor, *, epoch: int, resolution: int) -> DetectionBatch:
        train = self._data.splits.train
        images = train.images(indices, resolution, self._device)
        objects = self._data.objects(train, indices.tolist())
        truths = [item.trained() for item in objects]
        if self._augment is None:
            return self._batch(images, truths, objects)
        changed = [
            self._augment(image, *truth, epoch=epoch, number=number)
            for image, truth, number in zip(images, truths, indices.tolist(), strict=True)
        ]
        images = torch.stack([image for image, _, _ in changed])
        return self._batch(images, [(boxes, labels) for _, boxes, labels in changed], objects)

    def _scored(self, scored: Scored[ImageSet]) -> Iterator[DetectionBatch]:
        for indices in scored.parts(_SCORED_AT_ONCE):
            objects = self._data.objects(scored.examples, indices.tolist())
            images = scored.examples.images(indices, scored.resolution, self._device)
            yield self._batch(images, [item.trained() for item in objects], objects)

    def _batch(
        self, images: Tensor, truths: Sequence[tuple[Tensor, Tensor]], objects: Sequence[Objects]
    ) -> DetectionBatch:
        targets = [
            {
                "boxes": box_convert(boxes, "xyxy", "cxcywh").to(self._device),
                "class_labels": labels.to(self._device),
            }
            for boxes, labels in truths
        ]
        return DetectionBatch(self._scaling.scaled(images.float()), targets, objects)
