"""Detectors of two libraries behind one call: from images and targets to loss and detections."""

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
from trainables.engine.step import in_fp32


def detected(model: nn.Module, batch: DetectionBatch) -> Any:
    """What a detector says of a batch: `loss`, and `detections` of each image unless it trains.

    Detections are `boxes` as left, top, right, bottom in shares of the sides, `scores` and `labels`.
    """
    return model(batch.images, batch.targets)


def loss_of(outputs: Any, batch: DetectionBatch) -> Tensor:
    """The mean loss over a batch, of all decoder layers."""
    loss: Tensor = outputs["loss"]
    return loss


class TransformersDetector(nn.Module):
    """A detector of the DETR kind.

    Matching and losses are computed in fp32 whatever the model is computed in: in half precision
    the costs of matching overflow to NaN.
    """

    def __init__(self, detector: Any) -> None:
        super().__init__()
        self.detector = detector
        config = detector.config
        self._stride = max(getattr(config, "feat_strides", [1]))
        detector.loss_function = partial(_full_precision, detector.loss_function)
        if config.model_type == "detr":
            self._found = partial(DetrImageProcessor().post_process_object_detection, threshold=-1.0)
        else:
            self._found = partial(RTDetrImageProcessor().post_process_object_detection, threshold=-1.0)

    def forward(self, images: Tensor, targets: Sequence[Target]) -> dict[str, Any]:
        """Images (batch, 3, side, side), scaled as the model wants them.

        Raises:
            ValueError: The side is no multiple of the coarsest feature map's stride.
        """
        side = images.shape[-1]
        if side % self._stride:
            raise ValueError(f"the resolution must be a multiple of {self._stride} px here, got {side}")
        outputs = self.detector(images, labels=list(targets))
        if self.training:
            return {"loss": outputs.loss}
        with torch.autocast(images.device.type, enabled=False):
            raw = SimpleNamespace(logits=outputs.logits.float(), pred_boxes=outputs.pred_boxes.float())
            return {"loss": outputs.loss, "detections": self._found(raw)}


def _full_precision(loss: Callable[..., Any], logits: Tensor, *others: Any, **named: Any) -> Any:
    """A loss of transformers' computed in fp32, whatever autocast is on."""
    with torch.autocast(logits.device.type, enabled=False):
        return loss(in_fp32(logits), *map(in_fp32, others), **in_fp32(named))


class TorchvisionDetector(nn.Module):
    """A detector of torchvision.

    Held-out losses cost a second forward pass, as torchvision gives either losses or detections. What it
    samples for a loss is the same whenever one image is scored.
    """

    def __init__(self, detector: Any) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, images: Tensor, targets: Sequence[Target]) -> dict[str, Any]:
        """Images (batch, 3, side, side), in [0, 1]."""
        side = images.shape[-1]
        self.detector.transform.fixed_size = (side, side)  # they have their size: it shall not resize them
        truths = [
            {
                "boxes": box_convert(target["boxes"], "cxcywh", "xyxy") * side,
                "labels": target["class_labels"] + 1,  # 0 is the background
            }
            for target in targets
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
        return {"loss": loss, "detections": found}


def _sum(losses: dict[str, Tensor]) -> Tensor:
    """The sum of the losses that torchvision gives by name, in fp32."""
    return torch.stack([loss.float() for loss in losses.values()]).sum()


@contextmanager
def _asked_for_losses(detector: nn.Module, device: torch.device) -> Iterator[None]:
    """A detector in evaluation gives losses, without statistics or dropout of training."""
    asked = [m for m in detector.modules() if not isinstance(m, _BatchNorm | nn.Dropout)]
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(0)
        for module in asked:
            module.training = True  # not train(): that would reach down to the norms
        try:
            yield
        finally:
            for module in asked:
                module.training = False
