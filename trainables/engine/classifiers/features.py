"""A network's features of an image, which are the input of its last layer, and heads fitted to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainables.core.contract import TrainingContext
from trainables.core.model_folder import ModelCard, PortableModel
from trainables.engine.choices import OWN_MODELS
from trainables.engine.classifiers.fitted import FittedClassifier
from trainables.engine.classifiers.models import Classifier, build_classifier, framing_of, weights_origin
from trainables.engine.images.batches import Scaling
from trainables.engine.images.data import DataSplits, ImageSet
from trainables.engine.inference.preprocess import image_input
from trainables.engine.inference.weights import load_exactly
from trainables.engine.precision import MixedPrecision

_TINY = 1e-12  # added to shares: the log of 0 is not finite


class Features(nn.Module):
    """A frozen network from images (batch, channels, side, side) to features (batch, n), fp32."""

    def __init__(self, built: Classifier, *, has_head: bool) -> None:
        super().__init__()
        self.network = built.model
        self._seen: list[Tensor] = []
        if has_head:
            built.head.register_forward_pre_hook(lambda _, given: self._seen.append(given[0]))
        self._has_head = has_head

    def forward(self, images: Tensor) -> Tensor:
        self._seen.clear()
        answer = self.network(images)
        found: Tensor = self._seen[0] if self._has_head else answer
        if found.ndim == 4:  # maps: their mean over all positions
            found = found.mean((2, 3))
        return found.flatten(1).float()


class LinearHead(nn.Module):
    """Logits by one layer: `fitted` is (classes, features + 1), the last column the offset."""

    def __init__(self, fitted: Tensor) -> None:
        super().__init__()
        self.register_buffer("fitted", fitted.float())

    fitted: Tensor

    def forward(self, features: Tensor) -> Tensor:
        return features @ self.fitted[:, :-1].T + self.fitted[:, -1]


class NeighbourHead(nn.Module):
    """Logits by a vote of the nearest training images, weighted by similarity.

    Wu et al. 2018, "Unsupervised Feature Learning via Non-Parametric Instance Discrimination": the weight of
    a neighbour is exp(cosine / temperature).

    Args:
        fitted: (images, features + 1): features of length 1, the last column the class.
    """

    def __init__(self, fitted: Tensor, *, num_classes: int, neighbours: int, temperature: float) -> None:
        super().__init__()
        self.register_buffer("fitted", fitted.float())
        self._num_classes, self._neighbours = num_classes, min(neighbours, len(fitted))
        self._temperature = temperature

    fitted: Tensor

    def forward(self, features: Tensor) -> Tensor:
        alike, nearest = (functional.normalize(features, dim=1) @ self.fitted[:, :-1].T).topk(
            self._neighbours
        )
        # The nearest one has the exponent 0: cosines near 1 over 0.07 would not overflow, others might.
        weights = ((alike - alike[:, :1]) / self._temperature).exp()
        votes = functional.one_hot(self.fitted[:, -1].long()[nearest], self._num_classes) * weights[..., None]
        shares = votes.sum(1) / weights.sum(1, keepdim=True)
        return (shares + _TINY).log()


class HeadOnFeatures(nn.Module):
    """A frozen network and a head that was fitted to its features: from images to logits."""

    def __init__(self, features: Features, head: nn.Module) -> None:
        super().__init__()
        self.features, self.head = features, head

    def forward(self, images: Tensor) -> Tensor:
        features = self.features(images)
        with torch.autocast(features.device.type, enabled=False):  # as it was fitted: in fp32
            logits: Tensor = self.head(features)
        return logits


def build_features(
    name: str, *, num_classes: int, in_channels: int, weights: str, resolution: int
) -> tuple[Features, Classifier]:
    """Build the named network in evaluation mode, on the CPU; return it with the classifier it comes from.

    Raises:
        ValueError: No such model, or one with several last layers.
        WeightsError: The file of weights is missing, damaged or another model's.
    """
    has_head = name in OWN_MODELS or name.startswith("torchvision/")
    built = build_classifier(
        name,
        num_classes=num_classes if has_head else 0,
        in_channels=in_channels,
        weights=weights,
        resolution=resolution,
    )
    if has_head and isinstance(built.head, nn.ModuleList):
        raise ValueError(f"{name} has {len(built.head)} last layers: name a model with one")
    return Features(built, has_head=has_head).eval().requires_grad_(False), built


class FittedToFeatures(FittedClassifier):
    """A head that is fitted to the features of a frozen network."""

    def __init__(self, hparams: Any, data: DataSplits, context: TrainingContext, *, what: str) -> None:
        network, built = build_features(
            hparams.model,
            num_classes=len(data.class_names),
            in_channels=data.channels,
            weights=hparams.weights,
            resolution=data.score_resolution,
        )
        super().__init__(
            data.taken_by(built.resolutions.nearest),
            context,
            what=what,
            has_loss=True,
            device=context.device,
        )
        self.hparams = hparams
        self._network = network.to(self._device)
        self._statistics = built.statistics or data.train.statistics(self.data.score_resolution)
        self._scaling = Scaling(self._statistics, self._device)
        self._built_notes = built.notes
        self._precision = MixedPrecision.of(context)

    def head(self, fitted: Tensor) -> nn.Module:
        """The head that maps features to logits, from `fitted`."""
        raise NotImplementedError

    def notes(self) -> Mapping[str, str]:
        random = {"features": "from random weights: this network is not trained"}
        return {
            "precision": self._precision.reason,
            **super().notes(),
            **self._built_notes,
            **self.data.resolution_notes(),
            **(random if self.hparams.weights == "none" else {}),
        }

    @torch.inference_mode()
    def features(self, images: ImageSet, indices: Tensor) -> Tensor:
        pixels = images.images(indices, self.data.score_resolution, self._device)
        with self._precision.autocast():
            found: Tensor = self._network(self._scaling.scaled(pixels.float()))
        return found.cpu()

    @torch.inference_mode()
    def logits(self, features: Tensor) -> Tensor:
        assert self.fitted is not None
        logits: Tensor = self.head(self.fitted)(features)
        return logits

    def portable_model(self) -> PortableModel | None:
        """The network with its head; None before the fit."""
        if self.fitted is None:
            return None
        return PortableModel(
            kind="classification",
            model=self.hparams.model,
            build={"resolution": self.data.score_resolution, "fitted": list(self.fitted.shape)},
            images=image_input(
                self.data,
                self._statistics,
                top=self.context.resolution,
                framing=framing_of(self.hparams.model, self.hparams.weights),
            ),
            classes=self.data.class_names,
            precision=self._precision.name,
            weights=HeadOnFeatures(self._network, self.head(self.fitted)).state_dict(),
            initial_weights=weights_origin(self.hparams.model, self.hparams.weights),
        )


def rebuild_with(card: ModelCard, weights: Mapping[str, Tensor], head: nn.Module) -> nn.Module:
    """Rebuild a network with this head from a card and its weights, which replace the head's values."""
    network, _ = build_features(
        card.model,
        num_classes=len(card.classes),
        in_channels=card.images.channels,
        weights="none",
        resolution=card.build["resolution"],
    )
    module = HeadOnFeatures(network, head)
    load_exactly(module, weights)
    return module
