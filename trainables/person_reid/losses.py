"""What a network that describes persons is trained by: to name them, and to keep them apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pytorch_metric_learning.losses import CircleLoss, TripletMarginLoss
from pytorch_metric_learning.miners import BatchHardMiner
from torch import Tensor
from torch.nn import functional

from trainables.person_reid.batches import PersonBatch

_MARGIN = 0.3  # of distances of features of length 1; usual with this task (Luo et al. 2019)
_CIRCLE = {"m": 0.25, "gamma": 128}  # of the paper (Sun et al. 2020), for this task


class PersonLoss:
    """Cross entropy of each stripe's guess, added up, and the loss of features between pictures.

    Args:
        metric_loss: "triplet" is of the hardest pairs of a batch (Hermans et al. 2017), "circle" is Circle
            loss (Sun et al. 2020); "none" leaves the cross entropy alone.
        weight: What it is multiplied by.
    """

    def __init__(self, metric_loss: str, *, weight: float, label_smoothing: float) -> None:
        self._between = _losses_between()[metric_loss]
        self._weight, self._label_smoothing = weight, label_smoothing

    def __call__(self, outputs: Mapping[str, Tensor], batch: PersonBatch) -> Tensor:
        logits = outputs["logits"].transpose(1, 2)  # (batch, persons, stripes)
        num_stripes = logits.shape[2]
        labels = batch.labels[:, None].expand(-1, num_stripes)
        loss = functional.cross_entropy(logits, labels, label_smoothing=self._label_smoothing) * num_stripes
        if self._between is None:
            return loss
        return loss + self._weight * self._between(outputs["features"], batch.labels)


def _losses_between() -> dict[str, Callable[[Tensor, Tensor], Tensor] | None]:
    triplet: Any = TripletMarginLoss(margin=_MARGIN)
    hardest: Any = BatchHardMiner()
    circle: Any = CircleLoss(**_CIRCLE)
    return {
        "none": None,
        "triplet": lambda features, labels: triplet(features, labels, hardest(features, labels)),
        "circle": circle,
    }
