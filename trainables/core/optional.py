"""What a training may give beyond the contract: an end of its own, tables, images, its memory."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trainables.core.contract import Budget, Training
from trainables.core.model_folder import PortableModel
from trainables.core.promises import plain_numbers


def done_reason(training: Training) -> str:
    """Why no further epoch would train anything, such as early stopping; empty while one would.

    A training that can end before its epochs do says so in an attribute `done_reason`; of one without
    it, and whenever it is empty, all epochs are run.
    """
    reason: str = getattr(training, "done_reason", "")
    return reason


def notes_of(training: Training) -> Mapping[str, str]:
    """Its automatic choices with their reasons; a training without a method `notes()` makes none."""
    notes: Mapping[str, str] = getattr(training, "notes", dict)()
    return notes


@dataclass(frozen=True, kw_only=True)
class Table:
    """Plain data that becomes a CSV file. None is an empty cell: unknown, or not defined there."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str | float | None]]

    def __post_init__(self) -> None:
        if odd := [row for row in self.rows if len(row) != len(self.columns)]:
            raise ValueError(f"{len(odd)} rows have not {len(self.columns)} cells; the first: {odd[0]}")


@dataclass(frozen=True, kw_only=True)
class LrRangeStep:
    """One step of a learning-rate range test: its rate, its loss, and the mean of the losses so far."""

    lr: float
    loss: float
    smoothed_loss: float


def lr_range_of(
    training: Training, budget: Budget, *, low: float, high: float, num_steps: int
) -> Iterator[LrRangeStep] | None:
    """Optimiser steps at rising rates, from a method `lr_range` with these arguments; None without one.

    The training is of no use afterwards: it is to be thrown away.
    """
    test = getattr(training, "lr_range", None)
    found: Iterator[LrRangeStep] | None = (
        test(budget, low=low, high=high, num_steps=num_steps) if test else None
    )
    return found


def tables_of_test(training: Training) -> Mapping[str, Table]:
    """Details of the last `test()` by file name without ending, such as the classes' own accuracies.

    A training that has any gives them in a method `test_tables()`; of one without it there are none.
    """
    tables: Mapping[str, Table] = getattr(training, "test_tables", dict)()
    return tables


def images_of_test(training: Training) -> Mapping[str, bytes]:
    """Small PNGs of the surest mistakes of the last `test()`, by file name without ending.

    A training that has any gives them in a method `test_images()`, which is called after
    `test_tables()`: in the order of the rows of its table `mistakes`, as sorted names.
    """
    images: Mapping[str, bytes] = getattr(training, "test_images", dict)()
    return images


def trained_weights_of(training: Training) -> Mapping[str, Any] | None:
    """What a training has learnt without what only resuming needs, from a method `trained_weights()`.

    None without one: there is nothing that could be left out. An optimiser's state is one or two copies of
    all weights, and nobody resumes a training that has ended.
    """
    weights = getattr(training, "trained_weights", None)
    found: Mapping[str, Any] | None = weights() if weights else None
    return found


def portable_model_of(training: Training) -> PortableModel | None:
    """What of a training is used without it, from a method `portable_model()`; None without one.

    It is the model that `test()` scores: after the last epoch, averaged weights where those are scored.
    """
    portable = getattr(training, "portable_model", None)
    found: PortableModel | None = portable() if portable else None
    return found


def measured_by(training: Training, names: Collection[str], budget: Budget) -> Mapping[str, float]:
    """Those of these numbers that are known before the first epoch, such as a model's parameters.

    From a method `measure(names, budget)`, which is called only where a space asks for some of the
    `Trainable.measures`, and must change nothing that the training comes to; without one: none. What comes
    with the epochs alone is left out.

    Args:
        budget: Of the top rung.

    Raises:
        BadResult: One cannot be measured here; the message says why.
    """
    measure = getattr(training, "measure", None)
    if not names or measure is None:
        return {}
    return plain_numbers(measure(names, budget), measure)


@dataclass(frozen=True, kw_only=True)
class MemoryProbe:
    """The memory that a training's first steps needed.

    Attributes:
        what: Whose memory it is and what was run, in words.
        notes: The training's notes afterwards: batches that had to be halved.
    """

    peak_mib: float
    what: str
    notes: Mapping[str, str]


def probed_memory(training: Training, budget: Budget) -> MemoryProbe | None:
    """What an epoch at `budget` will need, from a method `probe_memory(budget)`; None without one.

    The training has learnt a little afterwards: it is to be thrown away.
    """
    probe = getattr(training, "probe_memory", None)
    found: MemoryProbe | None = probe(budget) if probe else None
    return found
