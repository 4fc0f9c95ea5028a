"""A network that ranks files for bug reports, and its scores."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric
from torchmetrics.functional.retrieval import (
    retrieval_average_precision,
    retrieval_hit_rate,
    retrieval_reciprocal_rank,
)

from trainables.bug_localization.batches import CandidateBatch
from trainables.bug_localization.data import ReportData
from trainables.bug_localization.features import FEATURES
from trainables.bug_localization.losses import Loss
from trainables.core.optional import Table

_TOPS = (1, 5, 10, 20)


class Ranker(nn.Module):
    """Maps the features of pairs (reports, files, 5) to their scores (reports, files)."""

    def __init__(self, *, hidden: int, layers: int, drop_rate: float) -> None:
        super().__init__()
        sizes = [len(FEATURES), *[hidden] * layers]
        steps = [
            nn.Sequential(nn.Linear(wide, narrow), nn.ReLU(), nn.Dropout(drop_rate))
            for wide, narrow in itertools.pairwise(sizes)
        ]
        self.body = nn.Sequential(*steps)
        self.head = nn.Linear(sizes[-1], 1)

    def forward(self, features: Tensor) -> Tensor:
        scores: Tensor = self.head(self.body(features))
        return scores[..., 0]


def scores_of_candidates(model: nn.Module, batch: CandidateBatch) -> Tensor:
    """A model's scores for a batch of reports, as the engine's loop calls it."""
    scores: Tensor = model(batch.features)
    return scores


def ranking_values(scores: Tensor, is_relevant: Tensor) -> dict[str, Tensor]:
    """Reciprocal rank, average precision, and hits among the first 1, 5, 10 and 20 files of one report.

    Args:
        scores: Scores of all its files, (files,).
        is_relevant: (files,), bool, with at least one True.
    """
    place = places(scores)
    hits = {f"top{k}": retrieval_hit_rate(place, is_relevant, top_k=k) for k in _TOPS}
    return {
        "mrr": retrieval_reciprocal_rank(place, is_relevant),
        "map": retrieval_average_precision(place, is_relevant),
        **hits,
    }


def places(scores: Tensor) -> Tensor:
    """The place of each file, 1 for the lowest score; of equal scores the later file is higher.

    torchmetrics treats files with scores of 0 or less as not retrieved, which are half of an untrained
    network's.
    """
    place = torch.empty_like(scores)
    place[scores.argsort(stable=True)] = torch.arange(1, len(scores) + 1, dtype=scores.dtype)
    return place


def mean_values(reports: Iterator[tuple[Tensor, Tensor]]) -> dict[str, float]:
    """The means of `ranking_values` over (scores, is_relevant) of each report."""
    values = [ranking_values(*report) for report in reports]
    return {name: float(torch.stack([own[name] for own in values]).mean()) for name in values[0]}


@lru_cache(maxsize=1)
def rvsm_alone(data: ReportData) -> dict[str, float]:
    """The same means for ranking the validation reports by rVSM alone: the baseline for learning."""
    place = FEATURES.index("rvsm")

    def report(row: int) -> tuple[Tensor, Tensor]:
        is_relevant = torch.zeros(len(data.project.paths), dtype=torch.bool)
        is_relevant[data.relevant(row)] = True
        return torch.from_numpy(np.array(data.features[row, :, place])), is_relevant

    return mean_values(map(report, data.rows["val"].tolist()))


class RankingMetrics:
    """Mean reciprocal rank, mean average precision, top-1 to top-20 and loss; fed batch by batch."""

    def __init__(self, loss: Loss, device: torch.device) -> None:
        self._loss_of, self._loss = loss, MeanMetric().to(device)
        self._reports: list[tuple[Tensor, Tensor]] = []

    def update(self, scores: Tensor, batch: CandidateBatch) -> None:
        """Add a batch and its scores (reports, files) in fp32."""
        self._loss.update(self._loss_of(scores, batch), weight=len(batch))
        tensors = (part.cpu() for part in (scores, batch.is_relevant, batch.is_candidate))
        for own, is_relevant, is_candidate in zip(*tensors, strict=True):
            self._reports.append((own[is_candidate], is_relevant[is_candidate]))

    def compute(self) -> dict[str, float]:
        """Return plain floats over all batches since the last call, and start over."""
        values = {**mean_values(iter(self._reports)), "loss": float(self._loss.compute())}
        values["num_examples"] = float(len(self._reports))
        self._reports = []
        self._loss.reset()
        return values


class RankingDetails:
    """The rank of each report's best-ranked right file, and the file ranked first; fed batch by batch."""

    def __init__(self, data: ReportData) -> None:
        self._project = data.project
        self._rows: list[tuple[str, int, int, str, str]] = []

    def update(self, scores: Tensor, batch: CandidateBatch) -> None:
        """Add a batch and its scores (reports, files) in fp32."""
        for place, row in enumerate(batch.rows.tolist()):
            is_relevant = batch.is_relevant[place].cpu()
            # Padding scores minus infinity, and so comes after every file.
            own = places(scores[place].cpu().masked_fill(~batch.is_candidate[place].cpu(), -torch.inf))
            best = int(own.masked_fill(~is_relevant, 0).argmax())
            rank = 1 + int((own > own[best]).sum())
            report, paths = self._project.reports[row], self._project.paths
            found, first = (paths[int(batch.files[place, column])] for column in (best, int(own.argmax())))
            self._rows.append((report.name, len(report.files), rank, found, first))

    def tables(self) -> Mapping[str, Table]:
        """The tables that results/README.md explains; none if nothing was fed."""
        rows, self._rows = self._rows, []
        columns = ("report", "num_files", "rank", "file", "ranked_first")
        if not rows:
            return {}
        examples = [(name, 1 / rank, float(rank <= 1)) for name, _, rank, _, _ in rows]
        return {
            "ranks": Table(columns=columns, rows=rows),
            "examples": Table(columns=("example", "mrr", "top1"), rows=examples),
        }
