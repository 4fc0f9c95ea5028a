"""Scores of clone detection, at a threshold chosen on validation."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional
from torchmetrics.functional.classification import (
    binary_accuracy,
    binary_auroc,
    binary_average_precision,
    binary_f1_score,
    binary_precision,
    binary_precision_recall_curve,
    binary_recall,
)

from trainables.code_clones.batches import CloneBatch
from trainables.engine.two_classes import guesses_of_two

_AT_THRESHOLD = {
    "f1": binary_f1_score,
    "precision": binary_precision,
    "recall": binary_recall,
    "accuracy": binary_accuracy,
}


class CloneMetrics:
    """Scores at the threshold of the largest F1 on the tuning pairs, areas under both curves, and loss.

    The other pairs are scored if there are any, else the tuning pairs themselves.
    """

    def __init__(self) -> None:
        self._tuning: list[tuple[Tensor, Tensor]] = []
        self._others: list[tuple[Tensor, Tensor]] = []

    def update(self, likeness: Tensor, batch: CloneBatch) -> None:
        """Add a batch and the similarities of its pairs, (pairs,), in fp32."""
        kept = self._tuning if batch.is_tuning else self._others
        kept.append((likeness.cpu(), batch.labels.cpu()))

    def compute(self) -> dict[str, float]:
        """Return plain floats over all batches since the last call, and start over."""
        threshold = best_threshold(*_joined(self._tuning))
        likeness, labels = _joined(self._others or self._tuning)
        self._tuning, self._others = [], []
        is_clone = labels.int()
        predicted = (likeness >= threshold).int()
        scores = {name: score(predicted, is_clone) for name, score in _AT_THRESHOLD.items()}
        scores["pr_auc"] = binary_average_precision(likeness, is_clone)
        scores["roc_auc"] = binary_auroc(likeness, is_clone)
        scores["loss"] = functional.binary_cross_entropy(likeness, labels)
        return {
            **{name: float(score) for name, score in scores.items()},
            **guesses_of_two(int(is_clone.sum()), len(is_clone)),
            "threshold": threshold,
        }


def best_threshold(likeness: Tensor, labels: Tensor) -> float:
    """The lowest threshold of the largest F1; pairs at or above it are called clones."""
    precision, recall, thresholds = binary_precision_recall_curve(likeness, labels.int())
    f1 = 2 * precision * recall / (precision + recall).clamp(min=1e-12)
    # The last point of the curve has no threshold: nothing is called a clone there.
    return float(thresholds[f1[:-1].argmax()])


def _joined(parts: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Likenesses and labels of several batches, (pairs,) each."""
    likeness, labels = zip(*parts, strict=True)
    return torch.cat(likeness), torch.cat(labels)
