"""Scores of a classifier on a whole set."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from trainables.core.contract import by_guessing
from trainables.engine.images.batches import Batch

_CLASSES_FOR_TOP5 = 6


class ClassificationMetrics:
    """Accuracy, macro and weighted F1, loss and, from six classes on, top-5 accuracy; fed batch by batch.

    The scores of guessing come with them, from the labels of the scored set: see `guesses`.

    The counts are our own, tested against torchmetrics in tests/engine/test_metrics.py: importing it would
    double a worker's 5.4 CPU seconds of imports, as it imports scipy.signal, transformers and matplotlib.
    """

    def __init__(self, num_classes: int, device: torch.device) -> None:
        # For each class: images of it, images predicted as it, and images that are both.
        self._labels, self._predicted, self._right = torch.zeros(
            3, num_classes, dtype=torch.long, device=device
        )
        self._in_top5 = torch.zeros((), dtype=torch.long, device=device)
        self._loss = torch.zeros((), dtype=torch.float64, device=device)  # summed over images

    def update(self, logits: Tensor, batch: Batch) -> None:
        """Add a batch and its logits (batch, classes) in fp32."""
        predicted = logits.argmax(1)
        ones = torch.ones_like(predicted)
        self._labels.index_add_(0, batch.labels, ones)
        self._predicted.index_add_(0, predicted, ones)
        self._right.index_add_(0, batch.labels, (predicted == batch.labels).long())
        if logits.shape[1] >= _CLASSES_FOR_TOP5:
            self._in_top5 += (logits.topk(5, dim=1).indices == batch.labels[:, None]).sum()
        self._loss += functional.cross_entropy(logits, batch.labels, reduction="sum")

    def compute(self) -> dict[str, float]:
        """Return plain floats over all batches since the last call, and reset."""
        num_images = int(self._labels.sum())
        f1 = (
            2 * self._right.double() / (self._labels + self._predicted)
        )  # 0 / 0: neither present nor predicted
        values = {
            "accuracy": int(self._right.sum()) / num_images,
            "f1_macro": float(f1.nanmean()),
            "f1_weighted": float((f1.nan_to_num() * self._labels).sum()) / num_images,
        }
        if len(f1) >= _CLASSES_FOR_TOP5:
            values["top5_accuracy"] = int(self._in_top5) / num_images
        guessed = {name: value for name, value in guesses(self._labels).items() if name in values}
        values["loss"] = float(self._loss) / num_images
        values |= {by_guessing(name): value for name, value in guessed.items()}
        values["num_examples"] = float(num_images)
        for counted in (self._labels, self._predicted, self._right, self._in_top5, self._loss):
            counted.zero_()
        return values


def guesses(counts: Tensor) -> dict[str, float]:
    """Scores of a model that knows how frequent the classes are and sees no image.

    It predicts the most common class for all images, and the five most common ones as the top five. The F1 of
    a class that is never predicted is 0, so the macro F1 is that of the one class divided by the number of
    classes in the set (as in the macro F1 itself, a class neither present nor predicted is left out).

    Args:
        counts: Number of examples of the scored set with each label: (classes,), at least one in all.
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
    """Cross entropy with labels (batch,), or with class probabilities (batch, classes)."""

    def __init__(self, label_smoothing: float = 0.0) -> None:
        self._label_smoothing = label_smoothing

    def __call__(self, logits: Tensor, batch: Batch) -> Tensor:
        return functional.cross_entropy(logits, batch.labels, label_smoothing=self._label_smoothing)
