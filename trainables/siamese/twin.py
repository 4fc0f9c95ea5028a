"""A network that decides whether two images are of one class, with its loss and its scores."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics import MeanMetric
from torchmetrics.classification import BinaryAccuracy, BinaryAUROC

from trainables.engine.classifiers.models import Classifier
from trainables.engine.two_classes import guesses_of_two
from trainables.siamese.pairs import PairBatch

_HIDDEN = 256  # units between the example's two layers
_BIAS = 0.01  # initial bias of both layers


class DistanceTwin(nn.Module):
    """One encoder for both images; a linear layer weighs the differences of their embeddings.

    After Koch et al. 2015, whose sigmoid is in `pair_loss`.

    Args:
        encoder: Maps images to (batch, embedding_dim).
    """

    def __init__(self, encoder: nn.Module, embedding_dim: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(embedding_dim, 1)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Logits (pairs,) of both being of one class; the order of the two does not matter."""
        # One pass for both images, so that BatchNorm normalises them with the same statistics.
        one, other = self.encoder(torch.cat([first, second])).chunk(2)
        logits: Tensor = self.head((one - other).abs())
        return logits[:, 0]


class ConcatenationTwin(nn.Module):
    """One encoder for both images; two linear layers read their concatenated features.

    As in PyTorch's example `siamese_network`, whose sigmoid is in `pair_loss`.

    Args:
        encoder: Maps images to (batch, num_features).
    """

    def __init__(self, encoder: nn.Module, num_features: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Sequential(
            nn.Linear(2 * num_features, _HIDDEN), nn.ReLU(inplace=True), nn.Linear(_HIDDEN, 1)
        )
        for layer in (self.head[0], self.head[2]):
            nn.init.xavier_uniform_(layer.get_parameter("weight"))
            nn.init.constant_(layer.get_parameter("bias"), _BIAS)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Logits (pairs,) of both being of one class."""
        # One pass after the other, as in the example: BatchNorm sees the first images, then the second.
        features = [self.encoder(images) for images in (first, second)]
        logits: Tensor = self.head(torch.cat(features, dim=1))
        return logits[:, 0]


def without_last_layer(classifier: Classifier) -> tuple[nn.Module, int]:
    """A classifier's model with its last layer replaced by the identity, and the inputs that layer had.

    Raises:
        ValueError: The model does not end in one linear layer.
    """
    model, head = classifier.model, classifier.head
    name = next((name for name, module in model.named_modules() if module is head), "")
    if not name or not isinstance(head, nn.Linear):
        raise ValueError(
            "concatenation needs an encoder that ends in one linear layer; name another model, or set "
            "comparison to distance"
        )
    model.set_submodule(name, nn.Identity())
    return model, head.in_features


def outputs_of_pairs(model: nn.Module, batch: PairBatch) -> Any:
    """A model's outputs for a batch of pairs, as the engine's loop calls it."""
    return model(batch.first, batch.second)


def pair_loss(logits: Tensor, batch: PairBatch) -> Tensor:
    """Cross entropy of logits (pairs,); that of probabilities would fail under autocast."""
    return functional.binary_cross_entropy_with_logits(logits, batch.is_same)


class PairMetrics:
    """Accuracy at a threshold of one half, area under the ROC curve, and loss; fed batch by batch."""

    def __init__(self, device: torch.device) -> None:
        self._scores = {"accuracy": BinaryAccuracy().to(device), "auc": BinaryAUROC().to(device)}
        self._loss = MeanMetric().to(device)
        self._is_same: list[Tensor] = []

    def update(self, logits: Tensor, batch: PairBatch) -> None:
        """Add a batch and its logits (pairs,) in fp32."""
        shares = logits.sigmoid()  # torchmetrics would take logits that all lie in [0, 1] for probabilities
        for score in self._scores.values():
            score.update(shares, batch.is_same.int())
        self._loss.update(pair_loss(logits, batch), weight=len(batch))
        self._is_same.append(batch.is_same)

    def compute(self) -> dict[str, float]:
        """Return plain floats over all batches since the last call, and start over."""
        values = {name: float(score.compute()) for name, score in self._scores.items()}
        values["loss"] = float(self._loss.compute())
        is_same = torch.cat(self._is_same)
        values |= {
            name: value
            for name, value in guesses_of_two(int(is_same.sum()), len(is_same)).items()
            if name.startswith(("accuracy", "num"))
        }
        self._is_same.clear()
        for metric in (*self._scores.values(), self._loss):
            metric.reset()
        return values
