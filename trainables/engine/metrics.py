"""How well a classifier does on a whole set."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional
from torchmetrics import MeanMetric, Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score


class ClassificationMetrics:
    """Accuracy, macro F1, loss and, from six classes on, top-5 accuracy; fed batch by batch."""

    def __init__(self, num_classes: int, device: torch.device) -> None:
        scores: dict[str, Metric | MetricCollection] = {
            "accuracy": MulticlassAccuracy(num_classes, average="micro"),  # torchmetrics' default is macro
            "f1_macro": MulticlassF1Score(num_classes, average="macro"),
        }
        if num_classes >= 6:
            scores["top5_accuracy"] = MulticlassAccuracy(num_classes, average="micro", top_k=5)
        self._scores = MetricCollection(scores).to(device)
        self._loss = MeanMetric().to(device)

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Take in a batch: logits (batch, classes) in fp32, labels (batch,)."""
        self._scores.update(logits, labels)
        self._loss.update(functional.cross_entropy(logits, labels), weight=len(labels))

    def compute(self) -> dict[str, float]:
        """Plain floats over all batches since the last call, which are then forgotten."""
        values = {name: float(value) for name, value in self._scores.compute().items()}
        values["loss"] = float(self._loss.compute())
        self._scores.reset()
        self._loss.reset()
        return values
