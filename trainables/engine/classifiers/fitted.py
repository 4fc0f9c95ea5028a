"""The base of classifiers that are fitted in one go instead of trained, as a `contract.Training`."""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from trainables.core.contract import Budget, TrainingContext
from trainables.core.optional import Table
from trainables.engine.classifiers.metrics import ClassificationMetrics
from trainables.engine.classifiers.predictions import Predictions
from trainables.engine.examples import scored_subset
from trainables.engine.images.batches import Batch
from trainables.engine.images.data import DataSplits, ImageSet
from trainables.engine.subset import at_most

_AT_ONCE = 256  # images whose pixels are in memory together


class FittedClassifier:
    """A `Training` that is done after its first epoch.

    A subclass defines `features`, `fit` and `logits`; what it has learnt is the tensor `fitted`.

    Args:
        what: The classifier in the sentence that says why no epoch follows, such as "a linear SVM".
        has_loss: Whether logits stand for probabilities, so that their cross entropy has a meaning.
    """

    def __init__(
        self, data: DataSplits, context: TrainingContext, *, what: str, has_loss: bool, device: str = "cpu"
    ) -> None:
        self.epochs_done = 0
        self.data, self.context = data, context
        self.fitted: Tensor | None = None
        self.note = ""
        self._what, self._has_loss = what, has_loss
        self._device = torch.device(device)
        self._details = Predictions(data.class_names, data.test.name, data.test_picture)

    def features(self, images: ImageSet, indices: Tensor) -> Tensor:
        """Features of some images, (n, features), at the test's resolution whatever the rung's."""
        raise NotImplementedError

    def fit(self, features: Tensor, labels: Tensor) -> Tensor:
        """Learn from the training images and return the new `fitted`; set `note` if something went wrong."""
        raise NotImplementedError

    def logits(self, features: Tensor) -> Tensor:
        """Logits (n, classes), fp32; called only once `fitted` is set."""
        raise NotImplementedError

    @property
    def done_reason(self) -> str:
        return f"{self._what} is fitted in one epoch" if self.epochs_done else ""

    def run_epoch(self, budget: Budget) -> Mapping[str, float]:
        started_s = perf_counter()
        train, val = self.data.train, self.data.val
        chosen = train.subset(budget.subset)
        self.fitted = self.fit(self._features(train, chosen), train.labels[chosen])
        trained_s = perf_counter()
        scores = self._scores(val, val.subset(at_most(scored_subset(budget, self.context), len(val))))
        self.epochs_done += 1
        return {
            "num_examples": float(len(chosen)),
            "train_s": trained_s - started_s,
            "eval_s": perf_counter() - trained_s,
            **{f"val_{name}": value for name, value in scores.items()},
        }

    def test(self) -> Mapping[str, float]:
        scores = self._scores(self.data.test, torch.arange(len(self.data.test)), is_test=True)
        return {f"test_{name}": value for name, value in scores.items()}

    def test_tables(self) -> Mapping[str, Table]:
        """The tables of any classifier; scores from margins are their softmax, not probabilities."""
        return self._details.tables()

    def test_images(self) -> Mapping[str, bytes]:
        """Images of the most confident mistakes of the last `test()`."""
        return self._details.images()

    def notes(self) -> Mapping[str, str]:
        fit = {"fit": self.note} if self.note else {}
        return {**fit, **self.data.notes()}

    def state_dict(self) -> dict[str, Any]:
        return {"epochs_done": self.epochs_done, "fitted": self.fitted, "note": self.note}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.epochs_done, self.fitted, self.note = state["epochs_done"], state["fitted"], state["note"]

    def _features(self, images: ImageSet, chosen: Tensor) -> Tensor:
        images.expect(chosen, self.data.score_resolution)
        return torch.cat([self.features(images, part) for part in chosen.split(_AT_ONCE)])

    def _scores(self, images: ImageSet, chosen: Tensor, *, is_test: bool = False) -> Mapping[str, float]:
        """Scores of a set, 256 images at a time."""
        metrics = ClassificationMetrics(len(self.data.class_names), self._device)
        images.expect(chosen, self.data.score_resolution)
        for indices in chosen.split(_AT_ONCE):
            logits = self._logits(images, indices).to(self._device)
            batch = Batch(logits, images.labels[indices].to(self._device))
            metrics.update(logits, batch)
            if is_test:
                self._details.update(logits, batch)
        scores = metrics.compute()
        return {name: value for name, value in scores.items() if name != "loss" or self._has_loss}

    def _logits(self, images: ImageSet, indices: Tensor) -> Tensor:
        """Logits (n, classes); all equal before the fit."""
        if self.fitted is None:
            return torch.zeros(len(indices), len(self.data.class_names))
        return self.logits(self.features(images, indices))
