"""Protocols of the training loop's parts; each kind of data brings its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, Self, TypeVar

from torch import Tensor

from trainables.core.contract import Budget
from trainables.core.optional import Table


class Batch(Protocol):
    """Model inputs and targets of some examples, on the device."""

    def __len__(self) -> int: ...

    def split(self, size: int) -> Sequence[Self]:
        """Split the examples into as few even pieces of at most `size` as possible."""
        ...


B = TypeVar("B", bound=Batch)
B_co = TypeVar("B_co", bound=Batch, covariant=True)
B_contra = TypeVar("B_contra", bound=Batch, contravariant=True)


class TrainEpoch(Protocol[B_co]):
    """The examples of one epoch, in order."""

    def steps(self, num_examples: int, *, drop_single: bool) -> Sequence[Tensor]:
        """Indices of the examples of each optimiser step; the last step may be smaller.

        Args:
            drop_single: Leave out a last step of one example, which BatchNorm cannot train on.
        """
        ...

    def batch(self, indices: Tensor) -> B_co:
        """Return these examples, augmented; the same ones on every call."""
        ...


class Batches(Protocol[B_co]):
    """The data of one trial, batch by batch."""

    def epoch(self, budget: Budget, epoch: int) -> TrainEpoch[B_co]: ...

    def validation(self, budget: Budget) -> Iterable[B_co]: ...

    def test(self) -> Iterable[B_co]: ...


class Leader(Protocol):
    """The other ranks of a training in several processes; `parallel.leader` implements it."""

    @property
    def note(self) -> str:
        """How many processes there are, in words."""
        ...

    def epoch(self, budget: Budget, state: Mapping[str, Any]) -> AbstractContextManager[Any]:
        """Context in which all ranks train an epoch from `state`; yields the `Ranks` of rank 0."""
        ...


class Loss(Protocol[B_contra]):
    """Maps a model's outputs, in fp32, and their batch to the mean loss over the examples."""

    def __call__(self, outputs: Any, batch: B_contra, /) -> Tensor: ...


class Metrics(Protocol[B_contra]):
    """Scores over a whole set, fed batch by batch."""

    def update(self, outputs: Any, batch: B_contra, /) -> None: ...

    def compute(self) -> Mapping[str, float]:
        """Return plain floats, including `loss`, over all batches since the last call, and reset."""
        ...


class Details(Protocol[B_contra]):
    """Details of a scored set beyond its scores, fed batch by batch."""

    def update(self, outputs: Any, batch: B_contra, /) -> None: ...

    def tables(self) -> Mapping[str, Table]:
        """Return tables by name, over all batches since the last call, and reset."""
        ...
