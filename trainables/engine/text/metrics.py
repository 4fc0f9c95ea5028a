"""How well vulnerable functions are found in a whole set, and the loss that finds them."""

from __future__ import annotations

import torch
from sklearn.metrics import matthews_corrcoef
from torch import Tensor
from torch.nn import functional
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import (
    BinaryAccuracy,
    BinaryAUROC,
    BinaryAveragePrecision,
    BinaryConfusionMatrix,
    BinaryF1Score,
    BinaryPrecision,
    BinaryRecall,
)

from trainables.engine.text.batches import TextBatch
from trainables.engine.two_classes import guesses_of_two


class WeightedCrossEntropy:
    """Cross entropy of logits (batch, 2), in which each example counts by its class.

    It is the mean over the examples and not over their weights: a step is then the same in however
    many pieces it passes, and even weights of 1 change nothing.

    Args:
        class_weights: (2,).
    """

    def __init__(self, class_weights: Tensor) -> None:
        self._weights = class_weights

    def __call__(self, logits: Tensor, batch: TextBatch) -> Tensor:
        each = functional.cross_entropy(logits, batch.labels, reduction="none")
        return (each * self._weights[batch.labels]).mean()


class DefectMetrics:
    """F1, precision and recall of label 1 at even odds, accuracy, Matthews' correlation, the areas under
    both curves, and the unweighted loss; fed batch by batch."""

    def __init__(self, device: torch.device) -> None:
        self._scores = MetricCollection(
            {
                "f1": BinaryF1Score(),
                "precision": BinaryPrecision(),
                "recall": BinaryRecall(),
                "accuracy": BinaryAccuracy(),
                "pr_auc": BinaryAveragePrecision(),
                "roc_auc": BinaryAUROC(),
            },
            compute_groups=False,  # groups are formed by equal states, which may be so by chance
        ).to(device)
        self._confusion = BinaryConfusionMatrix().to(device)
        self._loss = MeanMetric().to(device)

    def update(self, logits: Tensor, batch: TextBatch) -> None:
        """Take in a batch and its logits (batch, 2) in fp32."""
        shares = logits.softmax(1)[:, 1]
        self._scores.update(shares, batch.labels)
        self._confusion.update(shares, batch.labels)
        self._loss.update(functional.cross_entropy(logits, batch.labels), weight=len(batch))

    def compute(self) -> dict[str, float]:
        """Plain floats over all batches since the last call, which are then forgotten."""
        values = {name: float(value) for name, value in self._scores.compute().items()}
        confusion = self._confusion.compute()  # [label, predicted]
        values["mcc"] = _correlation(confusion)
        values |= guesses_of_two(int(confusion[1].sum()), int(confusion.sum()))
        values["loss"] = float(self._loss.compute())
        for metric in (self._scores, self._confusion, self._loss):
            metric.reset()
        return values


def _correlation(confusion: Tensor) -> float:
    """Matthews' correlation from (label, predicted); 0 for one answer to all (torchmetrics: 0.04)."""
    counts = confusion.flatten().cpu().numpy()
    return float(matthews_corrcoef([0, 0, 1, 1], [0, 1, 0, 1], sample_weight=counts))
