"""A support vector machine over histograms of gradients, as a `Training`."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import torch
from skimage.feature import hog
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import LinearSVC
from torch import Tensor

from trainables.core.contract import Budget, TrainingContext
from trainables.engine.classifiers.fitted import FittedClassifier
from trainables.engine.images.data import DataSplits, ImageSet, load_data
from trainables.hog_svm import Hparams

_MIN_CELL_PX = 2  # a single pixel has no histogram


class HogSvm(FittedClassifier):
    """Separating hyperplanes as the fitted state: (classes, features + 1), float64, the offset last."""

    def __init__(self, hparams: Hparams, data: DataSplits, context: TrainingContext) -> None:
        super().__init__(data, context, what="a linear SVM", has_loss=False)  # margins have no loss
        self._hparams = hparams

    def notes(self) -> Mapping[str, str]:
        return {"device": "CPU: scikit-image and scikit-learn use no other device", **super().notes()}

    def fit(self, features: Tensor, labels: Tensor) -> Tensor:
        """Fit the machine and return its planes; set a note if LIBLINEAR did not converge in `max_iter`."""
        svm = LinearSVC(C=self._hparams.c, max_iter=self._hparams.max_iter, random_state=self.context.seed)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            svm.fit(features.numpy(), labels.numpy())
        is_short = any(issubclass(warning.category, ConvergenceWarning) for warning in caught)
        self.note = f"not converged in {self._hparams.max_iter} iterations" if is_short else ""
        found = torch.from_numpy(svm.coef_), torch.from_numpy(svm.intercept_)[:, None]
        planes = torch.cat(found, dim=1).double()
        return torch.cat([-planes, planes]) if len(planes) == 1 else planes  # two classes have one plane

    def logits(self, features: Tensor) -> Tensor:
        """Margins rather than logits; the largest wins all the same."""
        assert self.fitted is not None
        return (features.double() @ self.fitted[:, :-1].T + self.fitted[:, -1]).float()

    def features(self, images: ImageSet, indices: Tensor) -> Tensor:
        resolution = self.data.score_resolution
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
                for image in images.images(indices, resolution)
            ]
        )


def start(hparams: Hparams, budget: Budget, context: TrainingContext) -> HogSvm:
    """An unfitted training."""
    return HogSvm(hparams, load_data(context), context)
