"""Finding the errors of a training's first steps without training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from trainables.core.contract import Budget, DataError, Training, TrainingContext, WeightsError

Start = Callable[[Any, Budget, TrainingContext], Training]
Rehearse = Callable[[Any, Sequence[Budget], TrainingContext], Sequence[str]]

_MAX_EXAMPLES = 2  # of a batch: the fewest that BatchNorm accepts
_MIN_FRACTION = 1e-9  # of validation: one example per class
_PLAIN_ERRORS = (DataError, WeightsError)  # these say what is wrong on any device


def rehearsing(start: Start) -> Rehearse:
    """The `Trainable.rehearse` of a trainable whose `start` returns what `assembly.assemble` made.

    The model is built and a few examples run forward and backward at each budget's resolution, on torch's
    meta device, where a ResNet-20 takes 40 ms. Whatever fails there is tried again on the CPU, because a few
    parts of a training need values, and only that result counts.
    """

    def rehearse(hparams: Any, budgets: Sequence[Budget], context: TrainingContext) -> Sequence[str]:
        context = replace(
            context, precision="fp32", folder=None, validation_subset=_MIN_FRACTION, is_rehearsal=True
        )
        try:
            return _rehearsed(start, hparams, budgets, replace(context, device="meta"))
        except _PLAIN_ERRORS:
            raise
        # Operators without an implementation for meta tensors (NMS, some losses) fail there and nowhere else.
        except Exception:  # due to the device or to the training: the CPU decides which
            return _rehearsed(start, hparams, budgets, replace(context, device="cpu"))

    return rehearse


def _rehearsed(start: Start, hparams: Any, budgets: Sequence[Budget], context: TrainingContext) -> list[str]:
    """Start the training at the largest budget, rehearse each budget, and return the note on resolution."""
    training = start(hparams, budgets[-1], context)
    rehearse = getattr(training, "rehearse", _nothing)
    for budget in _once_a_shape(budgets):
        rehearse(budget)
    note = training.notes().get("resolution")
    return [note] if note else []


def _nothing(budget: Budget) -> None:
    """The rehearsal of a training that has none: it can only be started."""


def _once_a_shape(budgets: Sequence[Budget]) -> list[Budget]:
    """One budget for each pair of subset and resolution."""
    return list({(budget.subset, budget.resolution): budget for budget in budgets}.values())


def first_examples(steps: Sequence[Tensor]) -> list[Tensor]:
    """Indices of a few examples of an epoch's first step, and of its last, which may have only one."""
    few = {min(len(indices), _MAX_EXAMPLES): indices[:_MAX_EXAMPLES] for indices in (steps[0], steps[-1])}
    return list(few.values())


@contextmanager
def building(context: TrainingContext) -> Iterator[None]:
    """Context that builds a model of random weights on the meta device if the training runs there."""
    if context.device != "meta":
        yield
        return
    with torch.device("meta"):
        yield
