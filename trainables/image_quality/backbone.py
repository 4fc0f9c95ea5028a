"""The intermediate maps of a timm network, for a head of another kind."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import timm
from timm.layers import Format
from torch import Tensor, nn

from trainables.core.weights import required
from trainables.engine.classifiers.building import Build, Builder, Resolutions, twin_of
from trainables.engine.classifiers.models import weight_files
from trainables.engine.classifiers.timm_models import own_resolution, timm_model_with, timm_options
from trainables.engine.images.data import Statistics
from trainables.engine.pretrained import check_loaded, reading_weights
from trainables.engine.state_files import state_for

_MAP_DIMS = 4  # (batch, channels, height, width), or channels last
_MAX_STAGES = 4  # the last ones; anything before them is a stem


class Backbone(nn.Module):
    """Maps of the last stages of a network, finest first.

    Attributes:
        channels: Number of channels of each map.
        statistics: Statistics of the images its weights were trained on; None for random weights.
        resolutions: Resolutions of the images that it takes.
        notes: What is to be known about how its weights were read.
    """

    def __init__(
        self,
        network: Any,
        statistics: Statistics | None,
        resolutions: Resolutions,
        notes: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.notes = notes or {}
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
    build = _build(name, resolution)
    if path is None:
        network = timm.create_model(name, features_only=True, **build.options)
        return Backbone(network, None, build.resolutions)
    with reading_weights(path, name):
        whole = twin_of(lambda: timm.create_model(name)).state_dict()
        found = state_for(path, whole)
        network = timm_model_with(path, found.tensors, model_name=name, features_only=True, **build.options)
        notes = {**found.notes(), **check_loaded(network, nn.Identity(), found.tensors, whole=whole)}
    cfg = network.pretrained_cfg
    statistics = Statistics(tuple(cfg["mean"]), tuple(cfg["std"]))
    return Backbone(network, statistics, build.resolutions, notes)


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
