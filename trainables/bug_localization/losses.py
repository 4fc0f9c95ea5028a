"""Three losses for a ranking of files."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from trainables.bug_localization.batches import CandidateBatch

Loss = Callable[[Tensor, CandidateBatch], Tensor]


def ranking_loss(name: str, *, positive_weight: float) -> Loss:
    """The named loss, averaged over reports, from scores (reports, files) in fp32.

    Args:
        name: "squared" and "cross_entropy" treat each file by itself, right files with weight
            `positive_weight` and wrong ones with 1; "listwise" takes the softmax over a report's files.
    """
    if name == "listwise":
        return _listwise
    by_file = _BY_FILE[name]

    def loss(scores: Tensor, batch: CandidateBatch) -> Tensor:
        weights = torch.where(batch.is_relevant, positive_weight, 1.0) * batch.is_candidate
        errors = by_file(scores, batch.is_relevant.float(), reduction="none")
        by_report: Tensor = (errors * weights).sum(1) / weights.sum(1)
        return by_report.mean()

    return loss


_BY_FILE: dict[str, Callable[..., Tensor]] = {
    "squared": functional.mse_loss,
    "cross_entropy": functional.binary_cross_entropy_with_logits,
}


def _listwise(scores: Tensor, batch: CandidateBatch) -> Tensor:
    """Cross entropy of a report's softmax over its files against an even spread over the right ones."""
    shares = scores.masked_fill(~batch.is_candidate, -torch.inf).log_softmax(1)
    own = torch.where(batch.is_relevant, shares, 0.0)  # padding is never relevant
    return -(own.sum(1) / batch.is_relevant.sum(1)).mean()
