"""Scores of a classifier."""

from __future__ import annotations

import math

import pytest
import torch

from trainables.engine.classifiers.metrics import ClassificationMetrics
from trainables.engine.images.batches import Batch


def labelled(*labels: int) -> Batch:
    return Batch(torch.zeros(len(labels), 1, 1, 1), torch.tensor(labels))


def test_scores_over_two_batches_are_those_over_all_examples():
    metrics = ClassificationMetrics(3, torch.device("cpu"))
    metrics.update(torch.tensor([[9.0, 0, 0], [0, 9, 0], [9, 0, 0]]), labelled(0, 1, 2))
    metrics.update(torch.tensor([[9.0, 0, 0]]), labelled(0))
    scores = metrics.compute()
    right, wrong = math.log(1 + 2 * math.exp(-9)), 9 + math.log(1 + 2 * math.exp(-9))
    assert scores == pytest.approx(
        {
            "accuracy": 3 / 4,
            "f1_macro": (4 / 5 + 1 + 0) / 3,
            "f1_weighted": (2 * 4 / 5 + 1) / 4,
            "loss": (3 * right + wrong) / 4,
        }
    )


def test_accuracy_is_micro_not_the_mean_over_classes():
    metrics = ClassificationMetrics(2, torch.device("cpu"))
    metrics.update(torch.tensor([[1.0, 0]] * 4), labelled(0, 0, 0, 1))
    assert metrics.compute()["accuracy"] == 0.75


def test_a_second_computation_has_forgotten_the_first():
    metrics = ClassificationMetrics(2, torch.device("cpu"))
    metrics.update(torch.tensor([[1.0, 0]]), labelled(1))
    metrics.compute()
    metrics.update(torch.tensor([[1.0, 0]]), labelled(0))
    assert metrics.compute()["accuracy"] == 1.0


@pytest.mark.parametrize(("num_classes", "has_top5"), [(5, False), (6, True)])
def test_top5_accuracy_starts_at_six_classes(num_classes, has_top5):
    metrics = ClassificationMetrics(num_classes, torch.device("cpu"))
    metrics.update(torch.eye(num_classes), labelled(*range(num_classes)))
    assert ("top5_accuracy" in metrics.compute()) is has_top5
