"""HyperIQA: a network whose last layers are generated for each image.

Su et al. 2020, "Blindly Assess Image Quality in the Wild Guided by a Self-Adaptive Hyper Network": the
content of an image decides by which rule its distortions are judged. Written from the paper.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainables.image_quality.backbone import Backbone

_GRID = 7  # side of the map that weights are generated from
_STAGE_FEATURES = 16  # features that each stage but the last adds to the description of distortions
_STAGE_VALUES = 128  # channels of a stage's map, times the side that it is averaged to


class HyperIQA(nn.Module):
    """Scores of patches, in the units of the data.

    Args:
        width: Channels of the content map; the paper's 112 or another multiple of 56, so that weights fill
            their grid.
        mean, spread: Mean and standard deviation of the scores to learn; the head itself predicts in standard
            deviations, so that learning rates do not depend on the units.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, backbone: Backbone, *, width: int, mean: float, spread: float) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = HyperHead(backbone.channels, width)
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("spread", torch.tensor(spread))

    def forward(self, patches: Tensor) -> Tensor:
        """Map (batch, 3, side, side) to (batch,)."""
        answers: Tensor = self.head(self.backbone(patches))
        return answers * self.spread + self.mean


class HyperHead(nn.Module):
    """Rates the distortions of an image with layers generated from its content.

    Args:
        channels: Number of channels of each of the backbone's maps, finest first.
    """

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.distortion = LocalDistortion(channels, 2 * width)
        self.rules = HyperNetwork(channels[-1], width)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """One number per image, (batch,), in fp32: in bf16 half of the images would tie."""
        with torch.autocast(_autocast_type(maps[0]), enabled=False):
            wide = [each.float() for each in maps]
            answers: Tensor = self.distortion(wide)[..., None]  # (batch, features, 1)
            layers = self.rules(wide[-1])
            for number, (weight, bias) in enumerate(layers, start=1):
                answers = torch.baddbmm(bias[..., None], weight, answers)
                if number < len(layers):
                    answers = answers.sigmoid()
        return answers[:, 0, 0]


class LocalDistortion(nn.Module):
    """Describes distortions by the maps of all stages: the paper's local distortion aware module.

    The finer a map, the fewer channels it is reduced to and the finer the grid it is averaged to, 8 x 8 for
    the finest of four; the last stage provides the rest of the description.
    """

    def __init__(self, channels: Sequence[int], num_features: int) -> None:
        super().__init__()
        *finer, last = channels
        self._grids = [2**depth for depth in range(len(finer), 0, -1)]
        self.reductions = nn.ModuleList(
            nn.Conv2d(number, _STAGE_VALUES // grid, 1)
            for number, grid in zip(finer, self._grids, strict=True)
        )
        self.readers = nn.ModuleList(nn.Linear(_STAGE_VALUES * grid, _STAGE_FEATURES) for grid in self._grids)
        self.last = nn.Linear(last, num_features - len(finer) * _STAGE_FEATURES)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """(batch, features)."""
        parts = [
            reader(functional.adaptive_avg_pool2d(reduction(each), grid).flatten(1))
            for each, reduction, reader, grid in zip(
                maps[:-1], self.reductions, self.readers, self._grids, strict=True
            )
        ]
        return torch.cat([*parts, self.last(maps[-1].mean((2, 3)))], dim=1)


class HyperNetwork(nn.Module):
    """Generates weights and biases of five layers, each halving its input, from an image's content."""

    def __init__(self, in_channels: int, width: int) -> None:
        super().__init__()
        half, quarter = max(in_channels // 2, width), max(in_channels // 4, width)
        self.content = nn.Sequential(
            *(nn.Conv2d(in_channels, half, 1), nn.ReLU()),
            *(nn.Conv2d(half, quarter, 1), nn.ReLU()),
            *(nn.Conv2d(quarter, width, 1), nn.ReLU()),
        )
        sizes = [2 * width, width, width // 2, width // 4, width // 8, 1]
        self.makers = nn.ModuleList(
            LayerMaker(width, inputs, outputs) for inputs, outputs in itertools.pairwise(sizes)
        )
        for module in self.content:
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, last_map: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Weights (batch, outputs, inputs) and biases (batch, outputs) of each layer."""
        content = functional.adaptive_avg_pool2d(self.content(last_map), _GRID)
        return [maker(content) for maker in self.makers]


class LayerMaker(nn.Module):
    """Generates one layer: its weights from a map of 7 x 7, its biases from the map's mean.

    Initially, what it generates has the variance of a layer of its size (Chang, Flokas and Lipson 2020,
    "Principled Weight Initialization for Hypernetworks"), and its own biases are zero.
    """

    def __init__(self, width: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self._inputs, self._outputs = inputs, outputs
        self._has_map = outputs > 1  # the last layer has too few weights to fill a map
        self.weights: nn.Conv2d | nn.Linear
        if self._has_map:
            self.weights = nn.Conv2d(width, inputs * outputs // _GRID**2, 3, padding=1)
        else:
            self.weights = nn.Linear(width, inputs * outputs)
        self.biases = nn.Linear(width, outputs)
        fan_in = self.weights.weight[0].numel()
        nn.init.normal_(self.weights.weight, std=(fan_in * inputs) ** -0.5)
        nn.init.normal_(self.biases.weight, std=(width * inputs) ** -0.5)
        for layer in (self.weights, self.biases):
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, content: Tensor) -> tuple[Tensor, Tensor]:
        mean = content.mean((2, 3))
        weights = self.weights(content if self._has_map else mean)
        return weights.reshape(-1, self._outputs, self._inputs), self.biases(mean)


def _autocast_type(tensor: Tensor) -> str:
    """The autocast type of the tensor's device; the meta device has no autocast to switch off."""
    return "cpu" if tensor.is_meta else tensor.device.type
