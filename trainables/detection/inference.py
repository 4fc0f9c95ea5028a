"""Detectors without their training: from images to boxes and scores of their classes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision.ops import FrozenBatchNorm2d, box_convert
from transformers import AutoConfig, AutoModelForObjectDetection

from trainables.core.contract import TrainingContext
from trainables.core.model_folder import ModelCard, PortableModel
from trainables.detection import Hparams
from trainables.detection.models import FAMILIES, Detector, thaw_norms
from trainables.detection.names import TORCHVISION, check_torchvision_name
from trainables.detection.networks import mask_of
from trainables.detection.scaling import corner_scale
from trainables.detection.sources import DetectionData
from trainables.engine.images.resolution import Framing
from trainables.engine.inference.preprocess import image_input
from trainables.engine.inference.weights import load_exactly

SQUASHED = Framing(is_squashed=True)
_AUTO: Any = AutoModelForObjectDetection
_STEPS = "num_batches_tracked"  # a buffer that a frozen BatchNorm lacks
# Names of code to run or weights to fetch, which a configuration from a hub may contain; rebuilding a model
# ignores them.
_NOT_READ = ("auto_map", "custom_pipelines", "use_pretrained_backbone", "transformers_version")


class QueryDetector(nn.Module):
    """A detector of the DETR kind: each query is a box with a score for each class."""

    def __init__(self, detector: Any) -> None:
        super().__init__()
        self.detector = detector
        self._has_nothing = detector.config.model_type == "detr"  # DETR's last class is "no object"

    def forward(self, images: Tensor, extents: Tensor | None = None) -> dict[str, Tensor]:
        """From (batch, 3, height, width) to `boxes` (batch, queries, 4), `scores` (batch, queries, classes).

        Boxes are left, top, right and bottom in fractions of the image's sides. For DETR, only the likeliest
        class of a query has a score, as its authors count.

        Args:
            extents: Fractions of height and width that each image covers, (batch, 2); None means all.
        """
        masked = {"pixel_mask": mask_of(images, extents)} if extents is not None and self._has_nothing else {}
        outputs = self.detector(images, **masked)
        logits, boxes = outputs.logits.float(), outputs.pred_boxes.float()
        if self._has_nothing:
            scores = functional.softmax(logits, dim=-1)[..., :-1]
            scores = torch.where(
                scores == scores.amax(dim=-1, keepdim=True), scores, torch.zeros_like(scores)
            )
        else:
            scores = logits.sigmoid()
        boxes = box_convert(boxes, "cxcywh", "xyxy")
        # With a mask, they are already fractions of the image, as in training.
        return {"boxes": boxes if masked else _of_image(boxes, extents), "scores": scores}


class AnchorDetector(nn.Module):
    """A torchvision detector, padded to the largest number of boxes found in an image of the batch."""

    no_onnx_reason = "torchvision's detectors choose their boxes image by image, which torch cannot export"

    def __init__(self, detector: Any, num_classes: int) -> None:
        super().__init__()
        self.detector, self._num_classes = detector, num_classes

    def forward(self, images: Tensor, extents: Tensor | None = None) -> dict[str, Tensor]:
        """See `QueryDetector.forward`; images with fewer boxes are padded with boxes and scores of 0."""
        height, width = images.shape[2:]
        self.detector.transform.fixed_size = (width, height)  # prevents resizing: images have their size
        side = torch.tensor([width, height, width, height], device=images.device)
        found = self.detector(list(images))
        most = max(len(each["scores"]) for each in found)
        boxes = torch.stack(
            [functional.pad(each["boxes"] / side, (0, 0, 0, most - len(each["boxes"]))) for each in found]
        )
        scores = torch.stack(
            [functional.pad(self._by_class(each), (0, 0, 0, most - len(each["scores"]))) for each in found]
        )
        return {"boxes": _of_image(boxes, extents), "scores": scores}

    def _by_class(self, found: Mapping[str, Tensor]) -> Tensor:
        """The score of each box at its class, (found, classes); torchvision's class 0 is the background."""
        return functional.one_hot(found["labels"] - 1, self._num_classes) * found["scores"][:, None]


def _of_image(boxes: Tensor, extents: Tensor | None) -> Tensor:
    """Convert boxes (batch, n, 4) from fractions of a canvas to fractions of the image on it."""
    return boxes if extents is None else (boxes / corner_scale(extents)[:, None]).clamp(0, 1)


def portable(
    hparams: Hparams, data: DetectionData, detector: Detector, context: TrainingContext
) -> PortableModel:
    """Describe a detector, without its weights, as a portable model."""
    inner: Any = detector.model.detector
    is_of_torchvision = hparams.model.startswith(TORCHVISION)
    config = None if is_of_torchvision else json.loads(inner.config.to_json_string(use_diff=False))
    return PortableModel(
        kind="detection",
        model=hparams.model,
        # The whole configuration, so that reading a model needs neither the file nor the hub it came from.
        build={"config": config},
        images=image_input(
            data.splits,
            detector.statistics,
            top=context.resolution,
            framing=SQUASHED,
            keeps_aspect=hparams.resize == "keep_aspect",
        ),
        classes=tuple(data.annotations.class_names),
        initial_weights={"weights": hparams.weights, "licence": None},
    )


def rebuild(card: ModelCard, weights: Mapping[str, Tensor]) -> nn.Module:
    """Rebuild the detector that a card describes.

    Raises:
        ValueError: There is no such detector here.
        UnusableModel: The weights belong to a detector that is built differently.
    """
    inner = {name.removeprefix("detector."): value for name, value in weights.items()}
    if card.model.startswith(TORCHVISION):
        return _of_torchvision(card, inner)
    settings = {name: value for name, value in card.build["config"].items() if name not in _NOT_READ}
    kind = settings.pop("model_type", None)
    if kind not in FAMILIES:
        raise ValueError(f"it is of the kind {kind!r}; supported are {', '.join(FAMILIES)}")
    config = AutoConfig.for_model(kind, **settings)
    if config.num_labels != len(card.classes):
        raise ValueError(f"it finds {config.num_labels} classes, and {len(card.classes)} are named")
    detector = _AUTO.from_config(config)
    thaw_norms(detector, lambda name: f"{name}.{_STEPS}" in inner)
    load_exactly(detector, inner)
    return QueryDetector(detector)


def _of_torchvision(card: ModelCard, inner: Mapping[str, Tensor]) -> nn.Module:
    """Rebuild a torchvision detector; norms that were frozen in its training have no count of steps."""
    name, num_classes = card.model.removeprefix(TORCHVISION), len(card.classes)
    check_torchvision_name(name)
    detector: Any = torchvision.models.get_model(
        name, weights=None, weights_backbone=None, num_classes=num_classes + 1
    )
    for place, norm in list(detector.named_modules()):
        if isinstance(norm, _BatchNorm) and f"{place}.{_STEPS}" not in inner:
            detector.set_submodule(place, FrozenBatchNorm2d(norm.num_features, norm.eps))
    load_exactly(detector, inner)
    return AnchorDetector(detector, num_classes)
