"""Histograms of gradients, the support vector machine over them, and the training they are."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from time import perf_counter
from typing import Any

import torch
from skimage.feature import hog
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import LinearSVC
from torch import Tensor

from trainables.core.contract import Budget, TrainingContext
from trainables.core.optional import Table
from trainables.engine.classifiers.metrics import ClassificationMetrics
from trainables.engine.classifiers.predictions import Predictions
from trainables.engine.images.batches import Batch
from trainables.engine.images.data import DataSplits, ImageSet, load_data
from trainables.engine.subset import at_most
from trainables.hog_svm import Hparams

_AT_ONCE = 256  # images whose pixels are in memory together
_MIN_CELL_PX = 2  # of one pixel there is no histogram


class HogSvm:
    """A `Training` that is done after its first epoch. Its state is the separating hyperplanes."""

    def __init__(self, hparams: Hparams, data: DataSplits, context: TrainingContext) -> None:
        self.epochs_done = 0
        self._hparams, self._data, self._context = hparams, data, context
        self._details = Predictions(data.class_names, data.test.name)
        self._planes: Tensor | None = None  # (classes, features + 1), float64, the last column the offset
        self._note = ""

    @property
    def done_reason(self) -> str:
        return "a linear SVM is fitted in one epoch" if self.epochs_done else ""

    def run_epoch(self, budget: Budget) -> Mapping[str, float]:
        started_s = perf_counter()
        chosen = self._data.train.subset(budget.subset)
        self._planes = self._fitted(self._data.train, chosen)
        trained_s = perf_counter()
        val = self._data.val
        scores = self._scores(val, val.subset(at_most(self._context.validation_subset, len(val))))
        self.epochs_done += 1
        return {
            "num_examples": float(len(chosen)),
            "train_s": trained_s - started_s,
            "eval_s": perf_counter() - trained_s,
            **{f"val_{name}": value for name, value in scores.items()},
        }

    def test(self) -> Mapping[str, float]:
        scores = self._scores(self._data.test, torch.arange(len(self._data.test)), is_test=True)
        return {f"test_{name}": value for name, value in scores.items()}

    def test_tables(self) -> Mapping[str, Table]:
        """As a classifier's; the scores in `mistakes` are the margins' softmax, no probabilities."""
        return self._details.tables()

    def notes(self) -> Mapping[str, str]:
        fit = {"fit": self._note} if self._note else {}
        return {"device": "CPU: scikit-image and scikit-learn know no other", **fit, **self._data.notes()}

    def state_dict(self) -> dict[str, Any]:
        return {"epochs_done": self.epochs_done, "planes": self._planes, "note": self._note}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.epochs_done, self._planes, self._note = state["epochs_done"], state["planes"], state["note"]

    def _fitted(self, images: ImageSet, chosen: Tensor) -> Tensor:
        """Fit the machine; gives its planes, (classes, features + 1), float64, the last column the offset.

        A note is taken where LIBLINEAR did not converge in `max_iter` iterations.
        """
        svm = LinearSVC(C=self._hparams.c, max_iter=self._hparams.max_iter, random_state=self._context.seed)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            svm.fit(self._features(images, chosen).numpy(), images.labels[chosen].numpy())
        is_short = any(issubclass(warning.category, ConvergenceWarning) for warning in caught)
        self._note = f"not converged in {self._hparams.max_iter} iterations" if is_short else ""
        found = torch.from_numpy(svm.coef_), torch.from_numpy(svm.intercept_)[:, None]
        planes = torch.cat(found, dim=1).double()
        return torch.cat([-planes, planes]) if len(planes) == 1 else planes  # two classes have one plane

    def _scores(self, images: ImageSet, chosen: Tensor, *, is_test: bool = False) -> Mapping[str, float]:
        """Scores of a set by its margins, 256 images at a time; a loss is not among them."""
        metrics = ClassificationMetrics(len(self._data.class_names), torch.device("cpu"))
        for indices in chosen.split(_AT_ONCE):
            margins = self._margins(images, indices)
            batch = Batch(margins, images.labels[indices])
            metrics.update(margins, batch)
            if is_test:
                self._details.update(margins, batch)
        scores = metrics.compute()
        return {name: value for name, value in scores.items() if name != "loss"}  # margins have none

    def _margins(self, images: ImageSet, indices: Tensor) -> Tensor:
        """(n, classes); all alike before the fit."""
        if self._planes is None:
            return torch.zeros(len(indices), len(self._data.class_names))
        features = self._features(images, indices).double()
        return (features @ self._planes[:, :-1].T + self._planes[:, -1]).float()

    def _features(self, images: ImageSet, indices: Tensor) -> Tensor:
        """(n, features), at the resolution of the test whatever the rung's: features must be alike."""
        resolution = self._data.score_resolution
        cell_px = max(_MIN_CELL_PX, resolution // self._hparams.cells)
        return torch.stack(
            [
                torch.from_numpy(
                    hog(
                        image.permute(1, 2, 0).numpy(),
                        orientations=self._hparams.orientations,
                        pixels_per_cell=(cell_px, cell_px),
                        cells_per_block=(2, 2),
                        transform_sqrt=True,
                        channel_axis=-1,
                    )
                )
                for part in indices.split(_AT_ONCE)
                for image in images.images(part, resolution)
            ]
        )


def start(hparams: Hparams, budget: Budget, context: TrainingContext) -> HogSvm:
    """A training that has not been fitted yet."""
    return HogSvm(hparams, load_data(context), context)
