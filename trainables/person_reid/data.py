"""Images of persons in the three parts of a run."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from trainables.core.contract import DataError
from trainables.engine.images.data import DataSplits, ImageSet


@dataclass(frozen=True, eq=False)
class IdentitySet(ImageSet):
    """Images of persons; a subset has all images of some persons, and some of the last one's.

    A few images of everybody would leave no pairs of one person to learn from.
    """

    def subset(self, wanted: float | int | None) -> Tensor:
        """Indices of a fraction, a count or (None) all of the images; a smaller subset is a prefix."""
        if wanted is None:
            return self._order
        if isinstance(wanted, float):
            return self._order[: max(2, round(wanted * len(self)))]
        if not 2 <= wanted <= len(self):
            raise DataError(
                f"a subset of {wanted} images was asked for; ask for 2 to {len(self)}, or for a share "
                "such as 0.5"
            )
        return self._order[:wanted]

    @cached_property
    def _order(self) -> Tensor:
        labels, own = np.unique(self.labels.numpy(), return_inverse=True)
        place = np.random.default_rng(self.seed).permutation(len(labels))
        return torch.from_numpy(np.lexsort((self.rows.numpy(), place[own])))


@dataclass(frozen=True, eq=False)
class PersonData:
    """Images of persons in three parts, which share no person.

    Labels of training images number its persons from 0; labels of other images belong to no class, and junk
    has -1.

    Attributes:
        cameras: Camera of each image of the source, (n,).
        is_query: Whether each image is a query when its part is scored, (n,), bool.
        is_gallery: Whether each image is in the gallery, (n,), bool.
        num_identities: Number of persons in the training part.
    """

    splits: DataSplits
    cameras: Tensor
    is_query: Tensor
    is_gallery: Tensor
    num_identities: int

    def notes(self) -> dict[str, str]:
        val = self.splits.val
        num_queries = int(self.is_query[val.rows].sum())
        held_out = f"{len(val.labels.unique())} persons are held out for validation and not trained on"
        asked = f"{num_queries} queries, one for each person and camera, in {len(val)} images"
        return {**self.splits.notes(), "persons": f"{held_out}: {asked}"}
