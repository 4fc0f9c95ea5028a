"""Scores of a classifier."""

from __future__ import annotations

import math

import pytest
import torch
from torchmetrics.functional.classification import (
    binary_average_precision,
    binary_f1_score,
    binary_precision,
    multiclass_accuracy,
    multiclass_f1_score,
)

from trainables.engine.classifiers.metrics import ClassificationMetrics
from trainables.engine.images.batches import Batch
from trainables.engine.two_classes import guesses_of_two


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
            "accuracy_by_guessing": 2 / 4,
            "f1_macro_by_guessing": (2 / 3) / 3,
            "f1_weighted_by_guessing": 2 / 4 * (2 / 3),
            "num_examples": 4,
        }
    )


@pytest.mark.parametrize("num_classes", [2, 5, 6, 30])
def test_scores_are_those_of_torchmetrics(num_classes: int) -> None:
    """Of 30 classes some are in no batch, and some of those are predicted."""
    draw = torch.Generator().manual_seed(num_classes)
    metrics, logits, labels = ClassificationMetrics(num_classes, torch.device("cpu")), [], []
    for size in (16, 1, 7):
        logits.append(torch.randn(size, num_classes, generator=draw))
        labels.append(torch.randint(num_classes, (size,), generator=draw))
        metrics.update(logits[-1], labelled(*labels[-1].tolist()))
    found, given = metrics.compute(), (torch.cat(logits), torch.cat(labels), num_classes)
    assert found["accuracy"] == pytest.approx(float(multiclass_accuracy(*given, average="micro")))
    for average in ("macro", "weighted"):
        expected = float(multiclass_f1_score(*given, average=average))
        assert found[f"f1_{average}"] == pytest.approx(expected, rel=1e-5)
    top5 = float(multiclass_accuracy(*given, average="micro", top_k=5)) if num_classes >= 6 else None
    assert found.get("top5_accuracy") == (None if top5 is None else pytest.approx(top5))


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


@pytest.mark.parametrize(
    ("labels", "num_classes"), [([0, 0, 1], 2), ([1, 1, 1, 1, 0, 2, 2], 4), ([0, 1, 2, 3, 4, 5, 6, 6], 8)]
)
def test_guessing_is_what_a_model_scores_that_always_says_the_commonest_class(
    labels: list[int], num_classes: int
) -> None:
    metrics = ClassificationMetrics(num_classes, torch.device("cpu"))
    counts = torch.tensor(labels).bincount(minlength=num_classes)
    metrics.update(counts.float().expand(len(labels), -1), labelled(*labels))
    scores = metrics.compute()
    guessed = {name: value for name, value in scores.items() if name.endswith("_by_guessing")}
    assert len(guessed) == 3 + (num_classes >= 6)
    for name, value in guessed.items():
        assert value == pytest.approx(scores[name.removesuffix("_by_guessing")])
    assert scores["num_examples"] == len(labels)


def test_the_best_guess_of_two_classes_is_what_torchmetrics_scores_it() -> None:
    labels = torch.tensor([1] * 3 + [0] * 7)
    found = guesses_of_two(3, 10)
    always = torch.ones(10)
    assert found["f1_by_guessing"] == pytest.approx(float(binary_f1_score(always, labels)))
    assert found["precision_by_guessing"] == pytest.approx(float(binary_precision(always, labels)))
    assert found["pr_auc_by_guessing"] == pytest.approx(float(binary_average_precision(always, labels)))
    assert (found["accuracy_by_guessing"], found["num_examples"]) == (0.7, 10.0)
