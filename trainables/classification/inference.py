"""Classifiers apart from their training: the description of one, and the module rebuilt from it."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from trainables.classification import Hparams
from trainables.core.contract import TrainingContext
from trainables.core.model_folder import ModelCard, PortableModel
from trainables.engine.classifiers.models import build_classifier, framing_of, weights_origin
from trainables.engine.images.data import DataSplits, Statistics
from trainables.engine.inference.preprocess import image_input
from trainables.engine.inference.weights import load_exactly


def portable(
    hparams: Hparams, data: DataSplits, statistics: Statistics, context: TrainingContext
) -> PortableModel:
    """The description of a classifier with these hparams, whose images are scaled by `statistics`."""
    return PortableModel(
        kind="classification",
        model=hparams.model,
        # Dropout does nothing in evaluation; the rate is kept for further training.
        build={"resolution": data.score_resolution, "drop_rate": hparams.drop_rate},
        images=image_input(
            data, statistics, top=context.resolution, framing=framing_of(hparams.model, hparams.weights)
        ),
        classes=data.class_names,
        initial_weights=weights_origin(hparams.model, hparams.weights),
    )


def rebuild(card: ModelCard, weights: Mapping[str, Tensor]) -> nn.Module:
    """The classifier that a card describes.

    It maps images (batch, channels, side, side) to logits (batch, classes).

    Raises:
        ValueError: There is no such model here; the message names the nearest.
        UnusableModel: The weights belong to a model of another structure.
    """
    model = build_classifier(
        card.model,
        num_classes=len(card.classes),
        in_channels=card.images.channels,
        resolution=card.build["resolution"],
        drop_rate=card.build["drop_rate"],
    ).model
    load_exactly(model, weights)
    return model
