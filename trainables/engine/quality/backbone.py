"""The maps that a network of timm makes of an image on its way, for a head of another kind."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import timm
from timm.layers import Format
from torch import Tensor, nn

from trainables.engine.classifiers.models import weight_files
from trainables.engine.images.data import Statistics
from trainables.engine.pretrained import check_loaded, fitting
from trainables.weights import required

_MOST_STAGES = 4  # the last ones; before them comes a stem, if anything


class Backbone(nn.Module):
    """Maps of the last stages of a network, the finest first.

    Attributes:
        channels: Of each map.
        statistics: Of the images its weights were trained on; None for random weights.
    """

    def __init__(self, network: Any, statistics: Statistics | None) -> None:
        super().__init__()
        self.network = network
        self.channels = tuple(int(number) for number in network.feature_info.channels()[-_MOST_STAGES:])
        self.statistics = statistics
        self._is_channels_last = getattr(network, "output_fmt", None) == Format.NHWC

    def forward(self, images: Tensor) -> list[Tensor]:
        """From (batch, 3, side, side) to maps (batch, channels, height, width)."""
        maps: list[Tensor] = self.network(images)[-_MOST_STAGES:]
        return [each.permute(0, 3, 1, 2) for each in maps] if self._is_channels_last else maps


def build_backbone(name: str, *, weights: str, resolution: int) -> Backbone:
    """The named network of timm without its head, on the CPU.

    Args:
        weights: "none", "hub" or "file:PATH", whose file must be on this machine.
        resolution: Side in pixels of what is scored; networks with position embeddings start there.

    Raises:
        ValueError: No such network, or one that gives no maps.
        WeightsError: The file of weights is missing, damaged or another network's.
    """
    files = weight_files(name, weights)
    path = required(files[0]) if files else None
    with fitting(path, name) if path else nullcontext():
        network = _network(name, path, resolution)
        if path:
            check_loaded(network, nn.Identity(), path)
    if path is None:
        return Backbone(network, None)
    cfg = network.pretrained_cfg
    return Backbone(network, Statistics(tuple(cfg["mean"]), tuple(cfg["std"])))


def _network(name: str, path: Path | None, resolution: int) -> Any:
    cfg = timm.get_pretrained_cfg(name)
    is_fixed = cfg is not None and cfg.fixed_input_size
    sizes: dict[str, Any] = {"img_size": resolution, "dynamic_img_size": True} if is_fixed else {}
    try:
        return timm.create_model(
            name,
            features_only=True,
            pretrained=path is not None,
            # By its path: timm would ask the hub, which without a network takes 23 s to fail.
            pretrained_cfg_overlay={"file": str(path), "custom_load": path.suffix == ".npz"}
            if path
            else None,
            **sizes,
        )
    except (TypeError, AttributeError, AssertionError) as error:
        raise ValueError(
            f"{name} gives no maps of its stages ({error}); name another model of timm"
        ) from error
