"""Agreement of predicted scores with those that people gave."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torchmetrics.functional import (
    kendall_rank_corrcoef,
    mean_squared_error,
    pearson_corrcoef,
    spearman_corrcoef,
)

from trainables.core.contract import Diverged
from trainables.core.optional import Table
from trainables.image_quality.patches import PatchBatch

Seen = list[tuple[Tensor, Tensor]]  # predicted and given scores of each batch


class L1:
    """Mean absolute error of the patches' scores against their image's, in standard deviations."""

    def __init__(self, spread: float) -> None:
        self._spread = spread

    def __call__(self, outputs: Tensor, batch: PatchBatch) -> Tensor:
        return (outputs - batch.scores[:, None]).abs().mean() / self._spread


class QualityMetrics:
    """SRCC, PLCC, KRCC, RMSE (in the units of the data) and loss; fed batch by batch.

    An image's score is the mean of its patches' scores. PLCC takes the scores as they are, without the
    logistic curve that some papers fit first; KRCC counts ties like Kendall's tau b.

    Args:
        spread: Standard deviation of the training scores, the unit of the loss.
    """

    def __init__(self, spread: float) -> None:
        self._spread = spread
        self._seen: Seen = []

    def update(self, outputs: Tensor, batch: PatchBatch) -> None:
        """Add a batch and its outputs (images, patches) in fp32."""
        self._seen.append((outputs.mean(1), batch.scores))

    def compute(self) -> dict[str, float]:
        """Return plain floats over all batches since the last call, and start over.

        Raises:
            Diverged: All images got the same score, so there is no correlation (torchmetrics returns 0).
            ValueError: All images were given the same score, or there are fewer than two.
        """
        predicted, given = _taken(self._seen)
        loss = float((predicted - given).abs().mean()) / self._spread
        values = {
            "rmse": float(mean_squared_error(predicted, given, squared=False)),
            "loss": loss,
            "num_examples": float(len(given)),
        }
        if not bool(predicted.isfinite().all()):
            return values  # for a loss that is not finite, the loop reports where it happened
        if len(given) < 2 or bool((given == given[0]).all()):
            raise ValueError(
                f"{len(given)} images with one score have no rank correlation; score more (validation_subset)"
            )
        if bool((predicted == predicted[0]).all()):
            raise Diverged(
                f"all {len(predicted)} images got one score, {float(predicted[0]):.4g}, which has no rank "
                "correlation; a lower lr may help"
            )
        return {name: float(score(predicted, given)) for name, score in _CORRELATIONS.items()} | values


_CORRELATIONS: Mapping[str, Callable[[Tensor, Tensor], Any]] = {
    "srcc": spearman_corrcoef,
    "plcc": pearson_corrcoef,
    "krcc": kendall_rank_corrcoef,
}


class PredictedScores:
    """The predicted score of each image; fed batch by batch.

    Args:
        image_name: Maps the index of an image, in the order of feeding, to its name.
    """

    def __init__(self, image_name: Callable[[int], str]) -> None:
        self._image_name = image_name
        self._seen: Seen = []

    def update(self, outputs: Tensor, batch: PatchBatch) -> None:
        self._seen.append((outputs.mean(1), batch.scores))

    def tables(self) -> Mapping[str, Table]:
        """The table that results/README.md explains, largest error first; none if nothing was fed."""
        if not self._seen:
            return {}
        predicted, given = _taken(self._seen)
        order = (predicted - given).abs().argsort(descending=True, stable=True)
        rows = [
            (self._image_name(place), score, predicted_score)
            for place, score, predicted_score in zip(
                order.tolist(), given[order].tolist(), predicted[order].tolist(), strict=True
            )
        ]
        return {"predicted_scores": Table(columns=("image", "score", "predicted"), rows=rows)}


def _taken(seen: Seen) -> tuple[Tensor, Tensor]:
    """Empty `seen`; return the predicted and given scores of all batches, (n,) each on the CPU."""
    predicted, given = (torch.cat(parts).cpu() for parts in zip(*seen, strict=True))
    seen.clear()
    return predicted, given
