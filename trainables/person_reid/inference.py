"""Networks that describe persons, apart from their training: images to features of length 1."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional

from trainables.core.contract import TrainingContext
from trainables.core.model_folder import ModelCard, PortableModel
from trainables.engine.classifiers.models import weights_origin
from trainables.engine.images.data import DataSplits, Statistics
from trainables.engine.inference.preprocess import image_input
from trainables.engine.inference.weights import load_exactly
from trainables.person_reid import Hparams
from trainables.person_reid.models import PersonNet, build_person_net
from trainables.person_reid.names import backbone_of

_ASPECT_RATIO = 0.5  # width over height; the resolution is the height


class Describer(nn.Module):
    """Features by which a person is found again; the dot product is the similarity of two images."""

    def __init__(self, network: PersonNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Map (batch, 3, height, width) to (batch, features), of length 1 as in the test."""
        return functional.normalize(self.network(images)["features"].float(), dim=1)


def portable(
    hparams: Hparams,
    data: DataSplits,
    statistics: Statistics,
    context: TrainingContext,
    *,
    num_identities: int,
) -> PortableModel:
    """The description of a network with these hparams, whose images are scaled by `statistics`."""
    return PortableModel(
        kind="features",
        model=hparams.model,
        build={
            "num_identities": num_identities,
            "num_features": hparams.features,
            "drop_rate": hparams.drop_rate,
            "resolution": data.score_resolution,
            "flip_test": hparams.flip_test,
        },
        images=image_input(data, statistics, top=context.resolution, aspect_ratio=_ASPECT_RATIO),
        initial_weights=weights_origin(backbone_of(hparams.model), hparams.weights),
    )


def rebuild(card: ModelCard, weights: Mapping[str, Tensor]) -> nn.Module:
    """The network that a card describes.

    Raises:
        ValueError: There is no such network here.
        UnusableModel: The weights belong to a network of another structure.
    """
    network, _ = build_person_net(card.model, weights="none", **card.build)
    load_exactly(network, weights)
    return Describer(network)
