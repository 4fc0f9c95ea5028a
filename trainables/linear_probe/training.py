"""Logistic regression on a frozen network's features, as a `Training`."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from trainables.core.contract import Budget, TrainingContext
from trainables.core.model_folder import ModelCard
from trainables.engine.classifiers.features import FittedToFeatures, LinearHead, rebuild_with
from trainables.engine.classifiers.models import framing_of
from trainables.engine.images.data import DataSplits, load_data
from trainables.engine.seeds import seed_all
from trainables.linear_probe import Hparams

_MIN_STD = 1e-6  # a constant feature carries no information, and must not divide by zero


class LinearProbe(FittedToFeatures):
    """A linear layer as the fitted state: (classes, features + 1), float64, the last column the offset."""

    def __init__(self, hparams: Hparams, data: DataSplits, context: TrainingContext) -> None:
        super().__init__(hparams, data, context, what="a linear layer")

    def fit(self, features: Tensor, labels: Tensor) -> Tensor:
        """Fit a layer to standardised features; return it rescaled to take the features as they are.

        Sets a note if L-BFGS did not converge in `max_iter`.
        """
        wide = features.double()
        mean, std = wide.mean(0), wide.std(0, correction=0).clamp(min=_MIN_STD)
        regression = LogisticRegression(C=self.hparams.c, max_iter=self.hparams.max_iter)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            regression.fit(((wide - mean) / std).numpy(), labels.numpy())
        is_short = any(issubclass(warning.category, ConvergenceWarning) for warning in caught)
        self.note = f"not converged in {self.hparams.max_iter} iterations" if is_short else ""
        weights = torch.from_numpy(regression.coef_).double() / std
        offsets = torch.from_numpy(regression.intercept_).double() - weights @ mean
        layer = torch.cat([weights, offsets[:, None]], dim=1)
        # For two classes there is one row, which gives the log odds of the second.
        return torch.cat([-layer / 2, layer / 2]) if len(layer) == 1 else layer

    def head(self, fitted: Tensor) -> nn.Module:
        return LinearHead(fitted)


def start(hparams: Hparams, budget: Budget, context: TrainingContext) -> LinearProbe:
    """An unfitted training."""
    data = load_data(context, framing_of(hparams.model, hparams.weights))
    seed_all(context.seed)  # for random weights, if they are wanted
    return LinearProbe(hparams, data, context)


def rebuild(card: ModelCard, weights: Mapping[str, Tensor]) -> nn.Module:
    """The network and layer that a card describes, from images to logits."""
    return rebuild_with(card, weights, LinearHead(torch.zeros(*card.build["fitted"])))
