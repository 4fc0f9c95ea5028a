"""A classical classifier to compare networks with: histograms of gradients and a linear SVM.

Model: HOG (Dalal and Triggs 2005, "Histograms of Oriented Gradients for Human Detection") by scikit-image,
with the same number of cells per side at any resolution; one-against-rest linear SVMs by scikit-learn
(LIBLINEAR).

Data: whatever `classification` takes, split the same way. Fitting takes one epoch, on the CPU.

Expected result at full budget: val_accuracy 0.967, test_accuracy 0.955 on mnist5k.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trainables.core.contract import Trainable
from trainables.core.deferred import deferred
from trainables.engine.images.data_sources import IMAGE_SOURCES
from trainables.engine.scales import OF_CLASSIFIERS


@dataclass(frozen=True, kw_only=True)
class Hparams:
    """Hyperparameters to set or to search.

    Attributes:
        c: Weight of the errors against the margin, LIBLINEAR's C.
        orientations: Bins of each cell's histogram.
        cells: Cells per side; fewer where they would be smaller than two pixels.
        max_iter: Maximum number of iterations of LIBLINEAR; a note reports when it has not converged.
    """

    c: float = 1.0
    orientations: int = 9
    cells: int = 8
    max_iter: int = 2000

    def __post_init__(self) -> None:
        least = {"c": 0.0, "orientations": 1, "cells": 2, "max_iter": 1}
        problems = [
            f"{name} must be {'above' if name == 'c' else 'at least'} {bound}, got {getattr(self, name)}"
            for name, bound in least.items()
            if getattr(self, name) < bound or getattr(self, name) == 0
        ]
        if problems:
            raise ValueError("; ".join(problems))


def check_device(device: str) -> Sequence[str]:
    """A note that a reserved GPU would stay idle."""
    return () if device == "cpu" else ("hog_svm works on the CPU: set search.resources.gpus_per_trial to 0",)


TRAINABLE = Trainable(
    hparams=Hparams,
    metric="val_accuracy",
    mode="max",
    start=deferred("trainables.hog_svm.training:start"),
    data_sources=IMAGE_SOURCES,
    scales=OF_CLASSIFIERS,
    scored_unit="images",
    check_data=deferred("trainables.engine.images.data_check:check_source"),
    check_device=check_device,
)
