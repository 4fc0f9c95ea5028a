"""Labelled examples without pixels, in three parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold
from torch import Tensor

from trainables.core.contract import DataError
from trainables.engine.subset import balanced_order, num_kept, split_rows

_NUM_FOLDS = 7  # one is validation and one is test: 14 % each


@dataclass(frozen=True, eq=False)
class LabelledRows:
    """Some examples of a source, numbered from 0.

    Attributes:
        rows: Their rows in the source, (n,), int64.
        labels: (n,), int64; subsets keep their proportions.
        seed: The run's seed, which decides which examples a subset has.
    """

    rows: Tensor
    labels: Tensor
    seed: int

    def __len__(self) -> int:
        return len(self.rows)

    def subset(self, wanted: float | int | None) -> Tensor:
        """Indices of the examples in a fraction, a count, or None for all; see `nested_subset`."""
        return self._order[: num_kept(self.labels, wanted)]

    def expect(self, indices: Tensor, resolution: int) -> None:
        """Do nothing: token ids are in memory."""

    @cached_property
    def _order(self) -> Tensor:
        return balanced_order(self.labels, seed=self.seed)


@dataclass(frozen=True, eq=False)
class LabelledSplits:
    """The three parts of a run's examples.

    Attributes:
        score_resolution: Number of tokens that are read of each test example.
    """

    train: LabelledRows
    val: LabelledRows
    test: LabelledRows
    score_resolution: int

    def train_resolution(self, wanted: int | None) -> int:
        """Number of tokens that are read of each training example; None means as many as in the test."""
        return wanted or self.score_resolution


def labelled_splits(
    labels: Tensor, parts: np.ndarray, *, source: str, seed: int, score_resolution: int
) -> LabelledSplits:
    """The examples of each part; see `subset.split_rows` for missing parts.

    Raises:
        DataError: A part has examples of only one label, and so could not be scored.
    """
    kept = split_rows(labels, parts, seed=seed)
    train, val, test = (LabelledRows(rows, labels[rows], seed) for rows in kept)
    poor = [
        f"{name} has {len(part)} examples, all of one label"
        for name, part in (("training", train), ("validation", val), ("test", test))
        if len(part.labels.unique()) < 2
    ]
    if poor:
        raise DataError(f"{source}: {'; '.join(poor)}; each part needs both: say which is in which part")
    return LabelledSplits(train, val, test, score_resolution)


def grouped_parts(labels: Sequence[int], groups: Sequence[str], *, seed: int) -> np.ndarray:
    """ "train", "val" or "test" for each example, such that no group is in two of them: (n,).

    Validation and test are a seventh each, as nearly as the groups' sizes and labels allow.

    Raises:
        DataError: There are fewer than three groups.
    """
    num_groups = len(set(groups))
    if num_groups < 3:
        named = ", ".join(sorted(set(groups)))
        raise DataError(
            f"a split by project needs at least three of them, got {num_groups} ({named}); give each "
            f'example a "part": train, val or test'
        )
    folds = StratifiedGroupKFold(min(_NUM_FOLDS, num_groups), shuffle=True, random_state=seed)
    found = [held_out for _, held_out in folds.split(np.zeros(len(labels)), labels, groups)]
    parts = np.full(len(labels), "train", dtype="U5")
    parts[found[0]], parts[found[1]] = "val", "test"
    return parts
