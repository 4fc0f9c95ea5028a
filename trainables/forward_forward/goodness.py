"""Layers that each learn to tell right labels from wrong ones; no gradient passes between them."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

_TINY = 1e-6


class GoodnessLayer(nn.Module):
    """ReLUs whose goodness, the mean of their squares, should exceed a threshold for right labels."""

    def __init__(self, num_in: int, num_out: int) -> None:
        super().__init__()
        self.linear = nn.Linear(num_in, num_out)

    def forward(self, features: Tensor) -> Tensor:
        """(batch, num_out), of inputs scaled to mean square 1, else the goodness below would carry over."""
        size = features.square().mean(dim=1, keepdim=True).sqrt()
        return functional.relu(self.linear(features / (size + _TINY)))


class GoodnessNet(nn.Module):
    """A stack of layers over the pixels of an image, with a label written into the first ones.

    Args:
        resolution: Side of the images in pixels; others are resized to it, as the first layer has weights per
            pixel.
        mark: Value of the label's pixel; those of the other labels are 0, the mean of all pixels.
    """

    def __init__(
        self, num_classes: int, in_channels: int, resolution: int, *, width: int, layers: int, mark: float
    ) -> None:
        super().__init__()
        num_pixels = in_channels * resolution**2
        if num_classes > num_pixels:
            raise ValueError(f"{num_classes} labels do not fit into the {num_pixels} pixels of an image")
        sizes = [num_pixels, *[width] * layers]
        self.layers = nn.ModuleList(map(GoodnessLayer, sizes[:-1], sizes[1:]))
        self._num_classes, self._resolution, self._mark = num_classes, resolution, mark

    def marked(self, images: Tensor, labels: Tensor) -> Tensor:
        """(batch, pixels): images with these labels (batch,) in their first pixels."""
        if images.shape[-1] != self._resolution:
            size = (self._resolution, self._resolution)
            images = functional.interpolate(images, size=size, mode="bilinear", align_corners=False)
        marks = functional.one_hot(labels, self._num_classes) * self._mark
        return torch.cat([marks, images.flatten(1)[:, self._num_classes :]], dim=1)

    def forward(self, images: Tensor) -> Tensor:
        """The goodness (batch, classes) of each label; the largest is the prediction.

        Summed over all layers but the first, as in the paper; a single layer counts.
        """
        labels = torch.arange(self._num_classes, device=images.device)
        columns = [self._evidence(self.marked(images, label.expand(len(images)))) for label in labels]
        return torch.stack(columns, dim=1)

    def _evidence(self, features: Tensor) -> Tensor:
        """(batch,): the summed goodness of the layers that count."""
        found = [goodness(activity) for activity in self._activities(features)]
        return torch.stack(found[1:] or found).sum(0)

    def _activities(self, features: Tensor) -> Iterator[Tensor]:
        """The outputs of each layer from the bottom up, (batch, width)."""
        for layer in self.layers:
            features = layer(features)
            yield features


def goodness(activity: Tensor) -> Tensor:
    """(batch,): the mean of the squares of a layer's outputs, in fp32."""
    return activity.float().square().mean(dim=1)


def goodness_loss(activity: Tensor, signs: Tensor, threshold: float) -> Tensor:
    """Mean logistic loss of goodness above the threshold for signs of 1, below it for signs of -1."""
    return functional.softplus(-signs * (goodness(activity) - threshold)).mean()
