"""HyperIQA apart from its training: whole images to qualities."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from trainables.core.model_folder import ModelCard, PortableModel, UnusableModel
from trainables.engine.classifiers.models import weights_origin
from trainables.engine.images.data import Statistics
from trainables.engine.images.resolution import Framing
from trainables.engine.inference.preprocess import image_input
from trainables.engine.inference.weights import load_exactly
from trainables.image_quality import Hparams
from trainables.image_quality.backbone import build_backbone
from trainables.image_quality.hyper_iqa import HyperIQA
from trainables.image_quality.patches import places
from trainables.image_quality.sources import QualityData


class ImageScorer(nn.Module):
    """The quality of whole images: the mean over patches at fixed places, as in the test.

    Args:
        side: Side of the images in pixels; `patch_px` is that of the patches, at `grid` places in each
            direction.
    """

    def __init__(self, network: HyperIQA, *, side: int, patch_px: int, grid: int) -> None:
        super().__init__()
        self.network = network
        self._patch_px = patch_px
        self._starts: list[int] = places(side, patch_px, grid).tolist()

    def forward(self, images: Tensor) -> Tensor:
        """Map (batch, 3, side, side) to (batch,), in the units of the ratings."""
        patches = [
            images[:, :, top : top + self._patch_px, left : left + self._patch_px]
            for top in self._starts
            for left in self._starts
        ]
        together = torch.stack(patches, dim=1)  # (batch, patches, 3, patch_px, patch_px)
        scores: Tensor = self.network(together.flatten(0, 1))
        by_image: Tensor = scores.unflatten(0, (-1, len(patches)))
        return by_image.mean(1)


def portable(
    hparams: Hparams, data: QualityData, statistics: Statistics, *, mean: float, spread: float
) -> PortableModel:
    """The description of a network with these hparams, whose images are scaled by `statistics`."""
    return PortableModel(
        kind="quality",
        model=hparams.model,
        build={
            "width": hparams.width,
            "patch_px": data.splits.score_resolution,
            "grid": hparams.score_grid,
            "mean": mean,
            "spread": spread,
        },
        images=image_input(data.splits, statistics, top=data.side_px, height=data.side_px, framing=Framing()),
        initial_weights=weights_origin(hparams.model, hparams.weights),
    )


def rebuild(card: ModelCard, weights: Mapping[str, Tensor]) -> nn.Module:
    """The network that a card describes, wrapped to cut patches and average their scores.

    Raises:
        ValueError: There is no such network here.
        UnusableModel: The weights belong to a network of another structure, or patches exceed the images.
    """
    build = card.build
    if not 0 < build["patch_px"] <= card.images.height:
        raise UnusableModel(f"patches of {build['patch_px']} px cannot be cut from {card.images.height} px")
    backbone = build_backbone(card.model, weights="none", resolution=build["patch_px"])
    network = HyperIQA(backbone, width=build["width"], mean=build["mean"], spread=build["spread"])
    load_exactly(network, weights)
    return ImageScorer(network, side=card.images.height, patch_px=build["patch_px"], grid=build["grid"])
