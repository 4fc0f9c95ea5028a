"""How well a classifier does on a whole set."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional
from torchmetrics import MeanMetric, Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

from trainables.engine.images.batches import Batch


class ClassificationMetrics:
    """Accuracy, macro and weighted F1, loss and, from six classes on, top-5 accuracy; fed batch by batch."""

    def __init__(self, num_classes: int, device: torch.device) -> None:
        scores: dict[str, Metric | MetricCollection] = {
            "accuracy": MulticlassAccuracy(num_classes, average="micro"),  # torchmetrics' default is macro
            "f1_macro": MulticlassF1Score(num_classes, average="macro"),
            "f1_weighted": MulticlassF1Score(num_classes, average="weighted"),  # by images; counts are shared
        }
        if num_classes >= 6:
            scores["top5_accuracy"] = MulticlassAccuracy(num_classes, average="micro", top_k=5)
        self._scores = MetricCollection(scores).to(device)
        self._loss = MeanMetric().to(device)

    def update(self, logits: Tensor, batch: Batch) -> None:
        """Take in a batch and its logits (batch, classes) in fp32."""
        self._scores.update(logits, batch.labels)
        self._loss.update(functional.cross_entropy(logits, batch.labels), weight=len(batch))

    def compute(self) -> dict[str, float]:
        """Plain floats over all batches since the last call, which are then forgotten."""
        values = {name: float(value) for name, value in self._scores.compute().items()}
        values["loss"] = float(self._loss.compute())
        self._scores.reset()
        self._loss.reset()
        return values


class CrossEntropy:
    """Cross entropy with labels (batch,), or with shares of classes (batch, classes)."""

    def __init__(self, label_smoothing: float = 0.0) -> None:
        self._label_smoothing = label_smoothing

    def __call__(self, logits: Tensor, batch: Batch) -> Tensor:
        return functional.cross_entropy(logits, batch.labels, label_smoothing=self._label_smoothing)
