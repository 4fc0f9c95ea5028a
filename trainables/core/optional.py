"""Optional members of a training beyond the contract: early ends, tables, images, memory and others."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trainables.core.contract import Budget, Training
from trainables.core.model_folder import PortableModel
from trainables.core.promises import plain_numbers


def done_reason(training: Training) -> str:
    """Return why further epochs would train nothing, such as early stopping; empty while they would.

    A training that can end early says so in an attribute `done_reason`. If it has none, or while that is
    empty, all epochs are run.
    """
    reason: str = getattr(training, "done_reason", "")
    return reason


def notes_of(training: Training) -> Mapping[str, str]:
    """Return the training's automatic choices with their reasons; none if it has no method `notes()`."""
    notes: Mapping[str, str] = getattr(training, "notes", dict)()
    return notes


@dataclass(frozen=True, kw_only=True)
class Table:
    """Plain data that becomes a CSV file. None is an empty cell: unknown or undefined."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str | float | None]]

    def __post_init__(self) -> None:
        if odd := [row for row in self.rows if len(row) != len(self.columns)]:
            raise ValueError(f"{len(odd)} rows do not have {len(self.columns)} cells; the first: {odd[0]}")


@dataclass(frozen=True, kw_only=True)
class LrRangeStep:
    """One step of a learning-rate range test: its rate, its loss, and the mean of the losses so far."""

    lr: float
    loss: float
    smoothed_loss: float


def lr_range_of(
    training: Training, budget: Budget, *, low: float, high: float, num_steps: int
) -> Iterator[LrRangeStep] | None:
    """Take optimiser steps at rising rates by a method `lr_range` with these arguments; None without one.

    The training is unusable afterwards and must be discarded.
    """
    test = getattr(training, "lr_range", None)
    found: Iterator[LrRangeStep] | None = (
        test(budget, low=low, high=high, num_steps=num_steps) if test else None
    )
    return found


def tables_of_test(training: Training) -> Mapping[str, Table]:
    """Return details of the last `test()` by file name without suffix, such as accuracies per class.

    They come from a method `test_tables()`; without it there are none.
    """
    tables: Mapping[str, Table] = getattr(training, "test_tables", dict)()
    return tables


def images_of_test(training: Training) -> Mapping[str, bytes]:
    """Return small PNGs of the worst mistakes of the last `test()`, by file name without suffix.

    They come from a method `test_images()`, called after `test_tables()`; sorted by name, they are in the
    order of the rows of the table `mistakes`.
    """
    images: Mapping[str, bytes] = getattr(training, "test_images", dict)()
    return images


def trained_weights_of(training: Training) -> Mapping[str, Any] | None:
    """Return a training's weights without what only resuming needs, from a method `trained_weights()`.

    None without one, which means that nothing can be left out. An optimiser's state is one or two copies of
    all weights, and a finished training is never resumed.
    """
    weights = getattr(training, "trained_weights", None)
    found: Mapping[str, Any] | None = weights() if weights else None
    return found


def portable_model_of(training: Training) -> PortableModel | None:
    """Return a model that can be used without its training, from a method `portable_model()`, if any.

    It is the model that `test()` scores: that of the last epoch, with averaged weights if those are scored.
    """
    portable = getattr(training, "portable_model", None)
    found: PortableModel | None = portable() if portable else None
    return found


def measured_by(training: Training, names: Collection[str], budget: Budget) -> Mapping[str, float]:
    """Return the named measures known before the first epoch, such as a model's number of parameters.

    They come from a method `measure(names, budget)`, which is called only if a space asks for some of the
    `Trainable.measures`, must not change the training's result, and leaves out what only epochs can tell.
    Without it there are none.

    Args:
        budget: The top rung's budget.

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
        what: Description of whose memory it is and what was run.
        notes: The training's notes afterwards, such as batches that had to be halved.
    """

    peak_mib: float
    what: str
    notes: Mapping[str, str]


def probed_memory(training: Training, budget: Budget) -> MemoryProbe | None:
    """Measure the memory of an epoch at `budget` by a method `probe_memory(budget)`; None without one.

    The probe trains the model a little, so the training must be discarded.
    """
    probe = getattr(training, "probe_memory", None)
    found: MemoryProbe | None = probe(budget) if probe else None
    return found
