"""A vote of the nearest training images by a frozen network's features, as a `Training`."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainables.core.contract import Budget, TrainingContext
from trainables.core.model_folder import ModelCard, PortableModel
from trainables.engine.classifiers.features import FittedToFeatures, NeighbourHead, rebuild_with
from trainables.engine.classifiers.models import framing_of
from trainables.engine.images.data import DataSplits, load_data
from trainables.engine.seeds import seed_all
from trainables.knn import Hparams


class NearestNeighbours(FittedToFeatures):
    """All training images as the fitted state: (images, features + 1), fp32, the last column the class."""

    def __init__(self, hparams: Hparams, data: DataSplits, context: TrainingContext) -> None:
        super().__init__(hparams, data, context, what="a table of neighbours")

    def fit(self, features: Tensor, labels: Tensor) -> Tensor:
        """Keep the features, scaled to length 1, and the classes, which fp32 holds exactly up to 2 ** 24."""
        return torch.cat([functional.normalize(features, dim=1), labels[:, None].float()], dim=1)

    def head(self, fitted: Tensor) -> nn.Module:
        return _head(fitted, len(self.data.class_names), self.hparams.neighbours, self.hparams.temperature)

    def portable_model(self) -> PortableModel | None:
        """The network with the features of all training images, without the images themselves."""
        model = super().portable_model()
        if model is None:
            return None
        vote = {"neighbours": self.hparams.neighbours, "temperature": self.hparams.temperature}
        return PortableModel(**{**vars(model), "build": {**model.build, **vote}})


def start(hparams: Hparams, budget: Budget, context: TrainingContext) -> NearestNeighbours:
    """An unfitted training."""
    data = load_data(context, framing_of(hparams.model, hparams.weights))
    seed_all(context.seed)  # for random weights, if they are wanted
    return NearestNeighbours(hparams, data, context)


def rebuild(card: ModelCard, weights: Mapping[str, Tensor]) -> nn.Module:
    """The network and neighbours that a card describes, from images to logits."""
    build = card.build
    empty = torch.zeros(*build["fitted"])
    return rebuild_with(
        card, weights, _head(empty, len(card.classes), build["neighbours"], build["temperature"])
    )


def _head(fitted: Tensor, num_classes: int, neighbours: int, temperature: float) -> nn.Module:
    return NeighbourHead(fitted, num_classes=num_classes, neighbours=neighbours, temperature=temperature)
