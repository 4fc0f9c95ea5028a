"""Networks that describe persons, pooled whole or in stripes, and the loss over what they return."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from pytorch_metric_learning.losses import CircleLoss, TripletMarginLoss
from pytorch_metric_learning.miners import BatchHardMiner
from timm.models.resnet import ResNet
from torch import Tensor, nn
from torch.nn import functional

from trainables.engine.classifiers.models import Classifier, build_classifier
from trainables.person_reid.batches import PersonBatch
from trainables.person_reid.names import backbone_of, is_striped

_NUM_STRIPES = 6
_FEATURES, _STRIPE_FEATURES = 512, 256  # the reference's, per image and per stripe
_CLASSIFIER_STD = 0.001  # prefers no person at the start
_ASPECT_RATIO = 0.5  # width over height of images of persons, whose resolution is their height
_MARGIN = 0.3  # between distances of features of length 1; usual for this task (Luo et al. 2019)
_CIRCLE = {"m": 0.25, "gamma": 128}  # the paper's (Sun et al. 2020), for this task


class PersonNet(nn.Module):
    """Describes each stripe of an image by itself, and guesses the person from each.

    Args:
        backbone: Maps images to (batch, channels, rows, columns) with `forward_features`.
        head: The new part, with random weights.
        flip_test: Whether a scored image is described by the sum of its features and its mirror image's.
    """

    def __init__(self, backbone: nn.Module, head: StripeHead, *, flip_test: bool = False) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.flip_test = flip_test

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """`features` (batch, stripes x features) to search with, and `logits` (batch, stripes, persons)."""
        found = self._described(images)
        if self.training:
            return found
        features = found["features"]
        if self.flip_test:
            features = features + self._described(images.flip(3))["features"]
        # Each stripe has the same weight in a search, however long its features are.
        stripes = features.unflatten(1, (len(self.head.necks), -1))
        return {**found, "features": functional.normalize(stripes.float(), dim=2).flatten(1)}

    def _described(self, images: Tensor) -> dict[str, Tensor]:
        backbone: Any = self.backbone
        found: dict[str, Tensor] = self.head(backbone.forward_features(images))
        return found


class StripeHead(nn.Module):
    """The means of horizontal stripes, each through its own layer to few features and its own classifier."""

    def __init__(
        self, channels: int, num_identities: int, *, num_stripes: int, num_features: int, drop_rate: float
    ) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d((num_stripes, 1))
        self.necks = nn.ModuleList(
            nn.Sequential(nn.Linear(channels, num_features), nn.BatchNorm1d(num_features))
            for _ in range(num_stripes)
        )
        self.drop = nn.Dropout(drop_rate)
        self.classifiers = nn.ModuleList(nn.Linear(num_features, num_identities) for _ in range(num_stripes))
        for classifier in self.classifiers:
            nn.init.normal_(classifier.get_parameter("weight"), std=_CLASSIFIER_STD)
            nn.init.zeros_(classifier.get_parameter("bias"))

    def forward(self, maps: Tensor) -> dict[str, Tensor]:
        stripes = self.pool(maps)[..., 0].unbind(2)  # (batch, channels) each
        features = [neck(stripe) for neck, stripe in zip(self.necks, stripes, strict=True)]
        guesses = [
            classify(self.drop(part)) for classify, part in zip(self.classifiers, features, strict=True)
        ]
        return {"features": torch.cat(features, dim=1), "logits": torch.stack(guesses, dim=1)}


def build_person_net(
    name: str,
    *,
    num_identities: int,
    weights: str,
    num_features: int | None = None,
    drop_rate: float,
    resolution: int = 256,
    flip_test: bool = False,
) -> tuple[PersonNet, Classifier]:
    """The named network, on the CPU, and its backbone as a `Classifier`.

    `pcb/NAME` has six stripes, and the last stage of its ResNet keeps the size of its maps (Sun et al. 2018).

    Args:
        num_features: Features per image or per stripe; None means 512, and 256 per stripe for PCB.

    Raises:
        ValueError: There is no such model, or it makes no maps.
        WeightsError: The file of weights is missing, damaged, or belongs to another model.
    """
    backbone = backbone_of(name)
    built = build_classifier(
        backbone,
        num_classes=0,
        in_channels=3,
        weights=weights,
        resolution=resolution,
        aspect_ratio=_ASPECT_RATIO,
    )
    if is_striped(name):
        _keep_size(built.model, name)
    head = StripeHead(
        _num_channels(built.model, backbone, built.resolutions.nearest(resolution)),
        num_identities,
        num_stripes=_NUM_STRIPES if is_striped(name) else 1,
        num_features=num_features or (_STRIPE_FEATURES if is_striped(name) else _FEATURES),
        drop_rate=drop_rate,
    )
    return PersonNet(built.model, head, flip_test=flip_test), built


def _keep_size(model: nn.Module, name: str) -> None:
    """Remove the stride from a ResNet's last stage, for twice as many rows for the stripes."""
    if not isinstance(model, ResNet):
        raise ValueError(f"{name} needs a ResNet of timm, such as pcb/resnet50, got {type(model).__name__}")
    first: Any = model.get_submodule("layer4.0")
    for layer in first.modules():
        if isinstance(layer, nn.Conv2d):
            layer.stride = (1, 1)
    if isinstance(first.downsample[0], nn.AvgPool2d):  # which shrinks maps in the "d" variants
        first.downsample[0] = nn.Identity()


@torch.no_grad()
def _num_channels(model: Any, name: str, resolution: int) -> int:
    """The number of channels of a backbone's maps, found with a black image."""
    maps = model.eval().forward_features(torch.zeros(1, 3, resolution, round(resolution * _ASPECT_RATIO)))
    model.train()
    if not (isinstance(maps, Tensor) and maps.ndim == 4 and maps.shape[1] == model.num_features):
        raise ValueError(f"{name} returns no feature maps; name a convolutional network of timm")
    return int(maps.shape[1])


class PersonLoss:
    """Cross entropy summed over the stripes' guesses, and the loss between images' features.

    Args:
        metric_loss: "triplet" for triplet loss of the hardest pairs of a batch (Hermans et al. 2017),
            "circle" for Circle loss (Sun et al. 2020), "none" for the cross entropy alone.
        weight: Factor of that loss.
    """

    def __init__(self, metric_loss: str, *, weight: float, label_smoothing: float) -> None:
        self._between = _losses_between()[metric_loss]
        self._weight, self._label_smoothing = weight, label_smoothing

    def __call__(self, outputs: Mapping[str, Tensor], batch: PersonBatch) -> Tensor:
        logits = outputs["logits"].transpose(1, 2)  # (batch, persons, stripes)
        num_stripes = logits.shape[2]
        labels = batch.labels[:, None].expand(-1, num_stripes)
        # `cross_entropy` also averages over stripes; times their number it is their sum, as in PCB.
        loss = functional.cross_entropy(logits, labels, label_smoothing=self._label_smoothing) * num_stripes
        if self._between is None:
            return loss
        return loss + self._weight * self._between(outputs["features"], batch.labels)


def _losses_between() -> dict[str, Callable[[Tensor, Tensor], Tensor] | None]:
    """The losses between features, by name; None is the cross entropy alone."""
    triplet: Any = TripletMarginLoss(margin=_MARGIN)
    hardest: Any = BatchHardMiner()
    circle: Any = CircleLoss(**_CIRCLE)
    return {
        "none": None,
        "triplet": lambda features, labels: triplet(features, labels, hardest(features, labels)),
        "circle": circle,
    }
