"""How well a classifier does on a whole set."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional
from torchmetrics import MeanMetric, Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

from trainables.core.contract import by_guessing
from trainables.engine.images.batches import Batch


class ClassificationMetrics:
    """Accuracy, macro and weighted F1, loss and, from six classes on, top-5 accuracy; fed batch by batch.

    Beside them is what guessing comes to, from the labels of the scored set: see `guesses`.
    """

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
        self._counts = torch.zeros(num_classes, dtype=torch.long, device=device)  # of each label

    def update(self, logits: Tensor, batch: Batch) -> None:
        """Take in a batch and its logits (batch, classes) in fp32."""
        self._scores.update(logits, batch.labels)
        self._counts += batch.labels.bincount(minlength=len(self._counts))
        self._loss.update(functional.cross_entropy(logits, batch.labels), weight=len(batch))

    def compute(self) -> dict[str, float]:
        """Plain floats over all batches since the last call, which are then forgotten."""
        values = {name: float(value) for name, value in self._scores.compute().items()}
        values["loss"] = float(self._loss.compute())
        guessed = {name: value for name, value in guesses(self._counts).items() if name in values}
        values |= {by_guessing(name): value for name, value in guessed.items()}
        values["num_examples"] = float(self._counts.sum())
        self._scores.reset()
        self._loss.reset()
        self._counts.zero_()
        return values


def guesses(counts: Tensor) -> dict[str, float]:
    """Scores of a model that knows how frequent the classes are and sees no image.

    It predicts the commonest class for all images, and for the top five the five commonest. The F1 of a class
    that is never predicted is 0, so the macro F1 is that of the one class divided by the number of classes in
    the set (torchmetrics leaves out classes that are neither there nor predicted).

    Args:
        counts: How many examples of the scored set have each label: (classes,), with one at least.
    """
    shares = counts.double().sort(descending=True).values / counts.sum()
    accuracy = float(shares[0])
    f1 = 2 * accuracy / (1 + accuracy)
    return {
        "accuracy": accuracy,
        "top5_accuracy": float(shares[:5].sum()),
        "f1_macro": f1 / int((counts > 0).sum()),
        "f1_weighted": accuracy * f1,
    }


class CrossEntropy:
    """Cross entropy with labels (batch,), or with shares of classes (batch, classes)."""

    def __init__(self, label_smoothing: float = 0.0) -> None:
        self._label_smoothing = label_smoothing

    def __call__(self, logits: Tensor, batch: Batch) -> Tensor:
        return functional.cross_entropy(logits, batch.labels, label_smoothing=self._label_smoothing)
