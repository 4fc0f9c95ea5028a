"""Sequences of token ids of any length, as one array."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Tokens:
    """Many sequences, one after another.

    Attributes:
        ids: Token ids of all sequences, (tokens,), int32.
        starts: Where each sequence begins, and where the last one ends, (n + 1,), int64.
    """

    ids: np.ndarray
    starts: np.ndarray

    @classmethod
    def joined(cls, sequences: Sequence[Sequence[int]]) -> Tokens:
        """Join sequences, each given as its token ids."""
        lengths = np.array([len(sequence) for sequence in sequences], np.int64)
        ids = np.fromiter((number for sequence in sequences for number in sequence), np.int32)
        return cls(ids, np.concatenate([[0], lengths.cumsum()]))

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Number of tokens in each sequence: (n,), int64."""
        return np.diff(self.starts)

    def padded(self, rows: Tensor, *, most: int, padding: int) -> tuple[Tensor, Tensor]:
        """The sequences of these rows, cut after `most` tokens and padded to the longest.

        Returns:
            Ids (batch, longest) and the number of tokens before the padding (batch,), both int64.
        """
        chosen = rows.numpy()
        starts = self.starts[chosen]
        lengths = np.minimum(self.starts[chosen + 1] - starts, most)
        places = np.arange(max(1, lengths.max(initial=0)))
        is_token = places < lengths[:, None]
        ids = np.full(is_token.shape, padding, np.int64)
        ids[is_token] = self.ids[(starts[:, None] + places)[is_token]]
        return torch.from_numpy(ids), torch.from_numpy(lengths)
