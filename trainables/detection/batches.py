"""Batches for a detector, from stored images and their boxes."""

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
from trainables.detection.scaling import drawn_side
from trainables.detection.sources import DetectionData
from trainables.engine.examples import ExampleChoice, Scored, TrainEpoch
from trainables.engine.images.batches import Scaling
from trainables.engine.images.canvas import on_canvas, own_shape, resized_to
from trainables.engine.images.data import ImageSet, Statistics

_SCORED_AT_ONCE = 32  # 640 px and 300 queries: 256 at once would need tens of GiB

Target = dict[str, Tensor]


@dataclass(frozen=True)
class DetectionBatch:
    """Images and the objects in them.

    Attributes:
        images: (batch, 3, height, width), float, on the device.
        targets: Training targets of each image: `boxes` (n, 4) as centre, width and height, in fractions of
            the sides, and `class_labels` (n,); on the device.
        objects: All objects as annotated, for scoring; on the CPU.
        extents: Fractions of height and width that each image covers, (batch, 2), the rest being padding;
            None means all. Boxes are in fractions of the image.
    """

    images: Tensor
    targets: Sequence[Target]
    objects: Sequence[Objects]
    extents: Tensor | None = None

    def __len__(self) -> int:
        return len(self.images)

    def split(self, size: int) -> list[DetectionBatch]:
        """Split into as few even pieces as possible of at most `size` examples."""
        num_pieces = -(-len(self) // size)
        parts = torch.arange(len(self)).tensor_split(num_pieces)
        spans = [slice(int(part[0]), int(part[-1]) + 1) for part in parts]
        return [
            DetectionBatch(
                self.images[s],
                self.targets[s],
                self.objects[s],
                None if self.extents is None else self.extents[s],
            )
            for s in spans
        ]


class DetectionBatches:
    """The batches of one trial.

    Args:
        statistics: Mean and deviation by which images are scaled, as the model's weights expect.
        multi_scale: Whether to draw a side for each training batch; see `scaling.drawn_side`.
        keep_aspect: Whether images keep their proportions; see `canvas.own_shape`.
    """

    def __init__(
        self,
        data: DetectionData,
        context: TrainingContext,
        *,
        augment: BoxAugment,
        statistics: Statistics,
        multi_scale: bool = False,
        keep_aspect: bool = False,
    ) -> None:
        self._data = data
        self._seed = context.seed
        self._multi_scale, self._keep_aspect = multi_scale and not context.is_overfit, keep_aspect
        self._augment = None if context.is_overfit else augment
        self._choice = ExampleChoice(data.splits, context)
        self._device = torch.device(context.device)
        self._scaling = Scaling(statistics, self._device)

    def epoch(self, budget: Budget, epoch: int) -> TrainEpoch[DetectionBatch]:
        """The training examples of an epoch; the same for every trial of one seed."""
        order, resolution = self._choice.trained(budget, epoch)
        return TrainEpoch(order, partial(self._training, epoch=epoch, resolution=resolution))

    def validation(self, budget: Budget) -> Iterator[DetectionBatch]:
        """The validation images to score after an epoch at `budget`."""
        return self._scored(self._choice.scored(budget))

    def test(self) -> Iterator[DetectionBatch]:
        """All test images, at the top rung's resolution."""
        return self._scored(self._choice.tested())

    def _training(self, indices: Tensor, *, epoch: int, resolution: int) -> DetectionBatch:
        train = self._data.splits.train
        images = train.images(indices, resolution, self._device)
        objects = self._data.objects(train, indices.tolist())
        truths = [item.trained() for item in objects]
        sizes = [item.size_px for item in objects]
        side = resolution
        if self._multi_scale:
            side = drawn_side(
                resolution,
                keep_aspect=self._keep_aspect,
                seed=self._seed,
                epoch=epoch,
                number=int(indices[0]),
            )
        if self._augment is None:
            return self._batch(list(images), sizes, truths, objects, side)
        changed = [
            self._augment(image, *truth, epoch=epoch, number=number)
            for image, truth, number in zip(images, truths, indices.tolist(), strict=True)
        ]
        # A crop's proportions are those of the part that was kept, not those of its image.
        kept = [
            (width * image.shape[2] / resolution, height * image.shape[1] / resolution)
            for (width, height), (image, _, _) in zip(sizes, changed, strict=True)
        ]
        found = [image for image, _, _ in changed]
        return self._batch(found, kept, [(boxes, labels) for _, boxes, labels in changed], objects, side)

    def _scored(self, scored: Scored[ImageSet]) -> Iterator[DetectionBatch]:
        for indices in scored.parts(_SCORED_AT_ONCE):
            objects = self._data.objects(scored.examples, indices.tolist())
            images = scored.examples.images(indices, scored.resolution, self._device)
            sizes = [item.size_px for item in objects]
            truths = [item.trained() for item in objects]
            yield self._batch(list(images), sizes, truths, objects, scored.resolution)

    def _batch(
        self,
        images: Sequence[Tensor],
        sizes: Sequence[tuple[float, float]],
        truths: Sequence[tuple[Tensor, Tensor]],
        objects: Sequence[Objects],
        side: int,
    ) -> DetectionBatch:
        """Resize images (3, any, any), uint8, to the model's input, and combine them with their targets.

        Args:
            sizes: Width and height of each image in any unit, for its proportions.
        """
        targets = [
            {
                "boxes": box_convert(boxes, "xyxy", "cxcywh").to(self._device),
                "class_labels": labels.to(self._device),
            }
            for boxes, labels in truths
        ]
        shapes = [own_shape(size, side) if self._keep_aspect else (side, side) for size in sizes]
        resized = [resized_to(image, shape) for image, shape in zip(images, shapes, strict=True)]
        if not self._keep_aspect:
            return DetectionBatch(self._scaling.scaled(torch.stack(resized).float()), targets, objects)
        # Scaled before padding, so that padding has the mean colour, as in DETR.
        canvas, extents = on_canvas([self._scaling.scaled(image[None].float())[0] for image in resized])
        return DetectionBatch(canvas, targets, objects, extents.to(self._device))
