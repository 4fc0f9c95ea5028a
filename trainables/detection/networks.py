"""Detectors of two libraries behind one interface: from images and targets to loss and detections."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision.ops import box_convert
from transformers import DetrImageProcessor, RTDetrImageProcessor

from trainables.detection.batches import DetectionBatch, Target
from trainables.detection.scaling import corner_scale
from trainables.engine.step import in_fp32


def detected(model: nn.Module, batch: DetectionBatch) -> Any:
    """Return a detector's `loss` for a batch and, except in training, the `detections` in each image.

    Detections are `boxes` as left, top, right, bottom in fractions of the sides, `scores` and `labels`.
    """
    return model(batch.images, batch.targets, batch.extents)


def loss_of(outputs: Any, batch: DetectionBatch) -> Tensor:
    """The mean loss over a batch, summed over all decoder layers."""
    loss: Tensor = outputs["loss"]
    return loss


class TransformersDetector(nn.Module):
    """A detector of the DETR kind.

    Matching and losses are computed in fp32, whatever the model's precision: in half precision the matching
    costs overflow to NaN.
    """

    def __init__(self, detector: Any) -> None:
        super().__init__()
        self.detector = detector
        config = detector.config
        self._strides: Sequence[int] = getattr(config, "feat_strides", [1])
        detector.loss_function = partial(_full_precision, detector.loss_function)
        # DETR's boxes are fractions of the image that its mask shows, the others' of the whole canvas.
        self._has_mask = config.model_type == "detr"
        if self._has_mask:
            self._found = partial(DetrImageProcessor().post_process_object_detection, threshold=-1.0)
        else:
            self._found = partial(RTDetrImageProcessor().post_process_object_detection, threshold=-1.0)

    def forward(
        self, images: Tensor, targets: Sequence[Target], extents: Tensor | None = None
    ) -> dict[str, Any]:
        """Detect in images (batch, 3, height, width), scaled as the model expects.

        Args:
            extents: Fractions of height and width that each image covers, (batch, 2); None means all.

        Raises:
            ValueError: A side is not a multiple of the coarsest feature map's stride, or images have fewer
                locations than the model has queries.
        """
        self._check_sides(*images.shape[2:])
        if extents is not None and self._has_mask:
            outputs = self.detector(images, pixel_mask=mask_of(images, extents), labels=list(targets))
        else:
            outputs = self.detector(images, labels=_on_canvas(targets, extents))
        if self.training:
            return {"loss": outputs.loss}
        with torch.autocast(images.device.type, enabled=False):
            raw = SimpleNamespace(logits=outputs.logits.float(), pred_boxes=outputs.pred_boxes.float())
            found = self._found(raw)
        return {"loss": outputs.loss, "detections": found if self._has_mask else _in_images(found, extents)}

    def _check_sides(self, height: int, width: int) -> None:
        wrong = [side for side in (height, width) if side % max(self._strides)]
        if wrong:
            raise ValueError(
                f"the resolution must be a multiple of {max(self._strides)} px here, got {wrong[0]}"
            )
        # RT-DETR and D-FINE start each query from one of the best locations; DETR's queries are learnt.
        num_places = sum((height // stride) * (width // stride) for stride in self._strides)
        if not self._has_mask and num_places < self.detector.config.num_queries:
            raise ValueError(
                f"images of {height} x {width} px have {num_places} places for the model's "
                f"{self.detector.config.num_queries} queries; give the lowest rung 192 px or more, such as "
                "--budget-size 320"
            )


def mask_of(images: Tensor, extents: Tensor) -> Tensor:
    """1 for pixels of an image, 0 for padding: (batch, height, width), int64."""
    rows, columns = (
        torch.arange(side, device=images.device) < (share * side).round()[:, None]
        for side, share in zip(images.shape[2:], extents.unbind(1), strict=True)
    )
    return (rows[:, :, None] & columns[:, None, :]).long()


def _on_canvas(targets: Sequence[Target], extents: Tensor | None) -> list[Target]:
    """Convert targets' boxes from fractions of the image to fractions of the canvas around it."""
    if extents is None:
        return list(targets)
    scales = corner_scale(extents)
    return [
        {**target, "boxes": target["boxes"] * scale} for target, scale in zip(targets, scales, strict=True)
    ]


def _in_images(found: Sequence[dict[str, Tensor]], extents: Tensor | None) -> list[dict[str, Tensor]]:
    """Convert detections' boxes from fractions of the canvas to fractions of the image on it."""
    if extents is None:
        return list(found)
    scales = corner_scale(extents)
    return [
        {**item, "boxes": (item["boxes"] / scale).clamp(0, 1)}
        for item, scale in zip(found, scales, strict=True)
    ]


def _full_precision(loss: Callable[..., Any], logits: Tensor, *others: Any, **named: Any) -> Any:
    """Compute one of transformers' losses in fp32, whatever autocast is active."""
    with torch.autocast(logits.device.type, enabled=False):
        return loss(in_fp32(logits), *map(in_fp32, others), **in_fp32(named))


class TorchvisionDetector(nn.Module):
    """A torchvision detector.

    Validation and test losses cost a second forward pass, as torchvision returns either losses or detections.
    Its sampling for a loss is seeded, so that a batch is scored alike each time.
    """

    def __init__(self, detector: Any) -> None:
        super().__init__()
        self.detector = detector

    def forward(
        self, images: Tensor, targets: Sequence[Target], extents: Tensor | None = None
    ) -> dict[str, Any]:
        """Detect in images (batch, 3, height, width), in [0, 1]; see `TransformersDetector.forward`."""
        height, width = images.shape[2:]
        self.detector.transform.fixed_size = (width, height)  # prevents resizing: images have their size
        side = torch.tensor([width, height, width, height], device=images.device)
        truths = [
            {
                "boxes": box_convert(target["boxes"], "cxcywh", "xyxy") * side,
                "labels": target["class_labels"] + 1,  # 0 is the background
            }
            for target in _on_canvas(targets, extents)
        ]
        separate = list(images)
        if self.training:
            return {"loss": _sum(self.detector(separate, truths))}
        with _asked_for_losses(self.detector, images.device):
            loss = _sum(self.detector(separate, truths))
        found = [
            {"boxes": item["boxes"] / side, "scores": item["scores"], "labels": item["labels"] - 1}
            for item in self.detector(separate)
        ]
        return {"loss": loss, "detections": _in_images(found, extents)}


def _sum(losses: dict[str, Tensor]) -> Tensor:
    """The sum of torchvision's named losses, in fp32."""
    return torch.stack([loss.float() for loss in losses.values()]).sum()


@contextmanager
def _asked_for_losses(detector: nn.Module, device: torch.device) -> Iterator[None]:
    """Make a detector in evaluation return losses, without training's statistics or dropout."""
    asked = [m for m in detector.modules() if not isinstance(m, _BatchNorm | nn.Dropout)]
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(0)
        for module in asked:
            module.training = True  # not train(), which would also change the norms inside
        try:
            yield
        finally:
            for module in asked:
                module.training = False
