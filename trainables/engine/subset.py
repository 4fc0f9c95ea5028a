"""Choosing the examples of a split or a small budget, class-balanced and nested. Pure."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from trainables.core.contract import DataError

HELD_OUT_FRACTION = 0.15  # of the training part, for each of validation and test that a source lacks


def balanced_order(labels: Tensor, *, seed: int) -> Tensor:
    """Indices of all examples, such that every prefix holds the classes in their proportions.

    The first example of each class comes before the second of any, so a prefix of at least as
    many examples as classes has all classes in it.
    """
    classes = labels.cpu().numpy()
    shuffled = np.random.default_rng(seed).permutation(len(classes))
    by_class = shuffled[np.argsort(classes[shuffled], kind="stable")]
    class_sizes = np.unique(classes, return_counts=True)[1]
    # The k-th of n examples of a class gets the place k/n: sorting by it interleaves the classes in their
    # proportions, whichever prefix is taken.
    place = np.concatenate([np.arange(size) / size for size in class_sizes])  # 0, 1/n, 2/n, ... per class
    return torch.from_numpy(by_class[np.argsort(place, kind="stable")])


def nested_subset(labels: Tensor, subset: float | int | None, *, seed: int) -> Tensor:
    """Indices of the examples a budget trains on.

    A smaller subset is a prefix of a larger one, so a trial that continues at the next rung sees
    everything it saw before, and two trials at one budget see exactly the same examples.

    Args:
        subset: A fraction in (0, 1], a count, or None for all. A fraction keeps at least one
            example per class.
        seed: The run's seed, not the trial's.

    Raises:
        DataError: A count above the number of examples or below the number of classes.
    """
    return balanced_order(labels, seed=seed)[: num_kept(labels, subset)]


def num_kept(labels: Tensor, subset: float | int | None) -> int:
    """How many examples a subset has; see `nested_subset`."""
    num_examples, num_classes = len(labels), len(labels.unique())
    if subset is None:
        return num_examples
    if isinstance(subset, float):
        # At least one of each class: a loss over a class that was never seen says nothing.
        return max(num_classes, round(subset * num_examples))
    if not num_classes <= subset <= num_examples:
        raise DataError(
            f"a subset of {subset} examples was asked for, but there are {num_examples} in {num_classes} "
            f"classes; ask for {num_classes} to {num_examples}, or for a fraction such as 0.5"
        )
    return subset


def at_most(subset: float | int | None, num_examples: int) -> float | int | None:
    """Limit a count to `num_examples`: a validation subset only saves time, so a larger count means all."""
    return min(subset, num_examples) if isinstance(subset, int) else subset


def split_rows(
    labels: Tensor, parts: np.ndarray, *, seed: int, num_val: int | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Rows of training, validation and test, in this order.

    Existing parts are kept. Each missing one is split class-balanced off the training part, as 15 % of it.

    Args:
        parts: "train", "val" or "test" for each example, (n,); with any other word it is in none.
        num_val: Number of examples of a missing validation part, instead of 15 %.

    Raises:
        DataError: There are too few examples for three parts.
    """
    rows = {part: torch.from_numpy(np.flatnonzero(parts == part)) for part in ("train", "val", "test")}
    train = rows["train"]
    train = train[balanced_order(labels[train], seed=seed)]
    num_held_out = round(HELD_OUT_FRACTION * len(train))
    for part in ("test", "val"):
        if not len(rows[part]):
            # From the end of the balanced order: the beginning that is left is still a balanced order, and
            # the subsets of the budgets are prefixes of it.
            num_kept = max(0, len(train) - (num_val or num_held_out if part == "val" else num_held_out))
            rows[part], train = train[num_kept:], train[:num_kept]
    if not all(len(part) for part in (train, rows["val"], rows["test"])):
        raise DataError(f"{len(labels)} examples are too few for training, validation and test parts")
    return train, rows["val"], rows["test"]
