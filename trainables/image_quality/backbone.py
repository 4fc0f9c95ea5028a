"""The intermediate maps of a timm network, for a head of another kind."""

from __future__ import annotations

from contextlib import nullcontext
from functools import lru_cache
from pathlib import Path
from typing import Any

import timm
from timm.layers import Format
from torch import Tensor, nn

from trainables.core.weights import required
from trainables.engine.classifiers.building import Build, Builder, Resolutions
from trainables.engine.classifiers.models import weight_files
from trainables.engine.classifiers.timm_models import own_resolution, timm_options
from trainables.engine.images.data import Statistics
from trainables.engine.pretrained import check_loaded, reading_weights

_MAP_DIMS = 4  # (batch, channels, height, width), or channels last
_MAX_STAGES = 4  # the last ones; anything before them is a stem


class Backbone(nn.Module):
    """Maps of the last stages of a network, finest first.

    Attributes:
        channels: Number of channels of each map.
        statistics: Statistics of the images its weights were trained on; None for random weights.
        resolutions: Resolutions of the images that it takes.
    """

    def __init__(self, network: Any, statistics: Statistics | None, resolutions: Resolutions) -> None:
        super().__init__()
        self.network = network
        self.channels = tuple(int(number) for number in network.feature_info.channels()[-_MAX_STAGES:])
        self.statistics, self.resolutions = statistics, resolutions
        self._is_channels_last = getattr(network, "output_fmt", None) == Format.NHWC

    def forward(self, images: Tensor) -> list[Tensor]:
        """Map (batch, 3, side, side) to maps (batch, channels, height, width)."""
        maps: list[Tensor] = self.network(images)[-_MAX_STAGES:]
        return [each.permute(0, 3, 1, 2) for each in maps] if self._is_channels_last else maps


def build_backbone(name: str, *, weights: str, resolution: int) -> Backbone:
    """The named timm network without its head, on the CPU.

    Args:
        weights: "none", "hub" or "file:PATH", whose file must be on this machine.
        resolution: Resolution at scoring, in pixels; networks with position embeddings start there.

    Raises:
        ValueError: There is no such network, or it returns no maps.
        WeightsError: The file of weights is missing, damaged, or belongs to another network.
    """
    files = weight_files(name, weights)
    path = required(files[0]) if files else None
    with reading_weights(path, name) if path else nullcontext():
        build = _build(name, resolution)
        network = _network(name, path, build)
        if path:
            check_loaded(network, nn.Identity(), path)
    if path is None:
        return Backbone(network, None, build.resolutions)
    cfg = network.pretrained_cfg
    return Backbone(network, Statistics(tuple(cfg["mean"]), tuple(cfg["std"])), build.resolutions)


@lru_cache(maxsize=128)
def _build(name: str, resolution: int) -> Build:
    """How timm builds the network to return maps at this resolution; cached, as finding out takes 50 ms.

    Raises:
        ValueError: The network returns no maps.
    """

    def make(num_classes: int = 0, **options: Any) -> nn.Module:
        network: nn.Module = timm.create_model(name, features_only=True, **options)
        return network

    builder = Builder(
        make,
        size_options=timm_options,
        num_classes=0,
        in_channels=3,
        own=own_resolution(name),
        is_right=lambda answer: all(isinstance(each, Tensor) and each.ndim == _MAP_DIMS for each in answer),
    )
    try:
        return builder.build(resolution)
    except ValueError as error:
        raise ValueError(
            f"{name} returns no maps of its stages ({error}); name another model of timm"
        ) from error


def _network(name: str, path: Path | None, build: Build) -> Any:
    """The network itself, with the weights of the file if there is one."""
    return timm.create_model(
        name,
        features_only=True,
        pretrained=path is not None,
        # By path: otherwise timm would ask the hub, which takes 23 s to fail when offline.
        pretrained_cfg_overlay={"file": str(path), "custom_load": path.suffix == ".npz"} if path else None,
        **build.options,
    )
