"""The reports that a trial sees, each with the files to rank for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import partial

import numpy as np
import torch
from torch import Tensor

from trainables.bug_localization.data import Part, ReportData
from trainables.bug_localization.features import FEATURES
from trainables.core.contract import Budget, TrainingContext
from trainables.engine.examples import TrainEpoch, scored_subset
from trainables.engine.seeds import derived_seed, generator
from trainables.engine.subset import nested_subset

NUM_NEGATIVES = 50  # per training report if the ladder has no resolution
_PAIRS_AT_ONCE = 2**17  # pairs of report and file, when all files are scored
_RVSM = FEATURES.index("rvsm")


@dataclass(frozen=True)
class CandidateBatch:
    """Reports and the files to rank for each; reports with fewer files are padded.

    Attributes:
        features: (reports, files, 5), float32, on the device.
        is_relevant: Whether the report is about the file, (reports, files), bool, on the device.
        is_candidate: False for padding, (reports, files), bool, on the device.
        rows: Indices of the reports in the project, (reports,), int64.
        files: Indices of the files, (reports, files), int64; -1 for padding.
    """

    features: Tensor
    is_relevant: Tensor
    is_candidate: Tensor
    rows: Tensor
    files: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    def split(self, size: int) -> list[CandidateBatch]:
        """The same reports in the fewest even pieces of at most `size`."""
        num_pieces = -(-len(self) // size)
        parts = (getattr(self, field.name).tensor_split(num_pieces) for field in fields(self))
        return [CandidateBatch(*piece) for piece in zip(*parts, strict=True)]


class ReportBatches:
    """The batches of one trial.

    A training report comes with all its files and with as many wrong ones as the budget's resolution, redrawn
    each epoch by (seed, epoch, report). Held-out reports rank all files, at every rung.

    Args:
        negative_pool: Wrong files drawn for each one kept; those most similar to the report are kept.
    """

    def __init__(self, data: ReportData, context: TrainingContext, *, negative_pool: float) -> None:
        self._data, self._context, self._pool = data, context, negative_pool
        self._device = torch.device(context.device)

    def epoch(self, budget: Budget, epoch: int) -> TrainEpoch[CandidateBatch]:
        """The training reports of an epoch; the same for every trial of one seed."""
        chosen = self._chosen("train", budget.subset)
        if not self._context.is_overfit:
            random = generator("order", seed=self._context.seed, epoch=epoch)
            chosen = chosen[torch.randperm(len(chosen), generator=random)]
        return TrainEpoch(chosen, partial(self._training, epoch=epoch, resolution=budget.resolution))

    def validation(self, budget: Budget) -> Iterator[CandidateBatch]:
        """Held-out reports with all files; when overfitting, the training reports with their files."""
        if self._context.is_overfit:
            chosen = self._chosen("train", budget.subset)
            return iter([self._training(chosen, epoch=0, resolution=budget.resolution)])
        return self._scored("val", self._chosen("val", scored_subset(budget, self._context)))

    def test(self) -> Iterator[CandidateBatch]:
        """All test reports with all files."""
        return self._scored("test", self._chosen("test", None))

    def _chosen(self, part: Part, subset: float | int | None) -> Tensor:
        """Indices within the part; a smaller subset is contained in a larger one."""
        one_class = torch.zeros(len(self._data.rows[part]), dtype=torch.int64)
        return nested_subset(one_class, subset, seed=self._context.data_seed)

    def _training(self, indices: Tensor, *, epoch: int, resolution: int | None) -> CandidateBatch:
        """Training reports by index, each with its own files and its wrong ones."""
        rows = self._data.rows["train"][indices.numpy()].tolist()
        return self._batch(rows, [self._candidates(row, epoch, resolution) for row in rows])

    def _candidates(self, row: int, epoch: int, resolution: int | None) -> np.ndarray:
        """Indices of the files shown with one training report, ascending."""
        relevant = self._data.relevant(row)
        wrong = np.setdiff1d(np.arange(len(self._data.project.paths)), relevant, assume_unique=True)
        num_kept = min(resolution or NUM_NEGATIVES, len(wrong))
        num_drawn = min(max(num_kept, round(self._pool * num_kept)), len(wrong))
        seed, number = (
            (self._context.data_seed, 0) if self._context.is_overfit else (self._context.seed, epoch)
        )
        random = np.random.default_rng(derived_seed("negative", seed, number, row))
        drawn = random.choice(wrong, num_drawn, replace=False)
        # Hard negatives: of those drawn, the ones with the highest rVSM teach a network the most.
        likest = np.argsort(-self._data.features[row, drawn, _RVSM], kind="stable")[:num_kept]
        return np.sort(np.concatenate([relevant, drawn[likest]]))

    def _scored(self, part: Part, chosen: Tensor) -> Iterator[CandidateBatch]:
        """Held-out reports with all files, in batches of up to 131,072 pairs."""
        files = np.arange(len(self._data.project.paths))
        rows = self._data.rows[part][chosen.numpy()].tolist()
        at_once = max(1, _PAIRS_AT_ONCE // len(files))
        for first in range(0, len(rows), at_once):
            now = rows[first : first + at_once]
            yield self._batch(now, [files] * len(now))

    def _batch(self, rows: Sequence[int], candidates: Sequence[np.ndarray]) -> CandidateBatch:
        """Reports as tensors, padded to the longest list of candidates.

        Args:
            rows: Indices of the reports in the project.
            candidates: Indices of each report's files, ascending.
        """
        num_files = max(map(len, candidates))
        files = np.full((len(rows), num_files), -1, dtype=np.int64)
        features = np.zeros((len(rows), num_files, len(FEATURES)), dtype=np.float32)
        is_relevant = np.zeros((len(rows), num_files), dtype=bool)
        for place, (row, own) in enumerate(zip(rows, candidates, strict=True)):
            files[place, : len(own)] = own
            features[place, : len(own)] = self._data.scaled(row, own)
            is_relevant[place, : len(own)] = np.isin(own, self._data.relevant(row))
        return CandidateBatch(
            features=torch.from_numpy(features).to(self._device),
            is_relevant=torch.from_numpy(is_relevant).to(self._device),
            is_candidate=torch.from_numpy(files >= 0).to(self._device),
            rows=torch.tensor(rows),
            files=torch.from_numpy(files),
        )
