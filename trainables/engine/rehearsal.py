"""What a training would fail with in its first steps, found without training."""

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

_MAX_EXAMPLES = 2  # of a batch: as few as BatchNorm takes
_MIN_FRACTION = 1e-9  # of validation: one example a class
_PLAIN_ERRORS = (DataError, WeightsError)  # these say what is wrong on any device


def rehearsing(start: Start) -> Rehearse:
    """The `Trainable.rehearse` of a trainable whose `start` gives what `assembly.assemble` made.

    The model is built and a few examples pass through it, and back, at each budget's resolution: on torch's
    meta device, where a ResNet-20 takes 40 ms. What fails there is tried again on the CPU, for few parts of a
    training cannot do without values, and only that answer counts.
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
        except Exception:  # of the device, or of the training: the CPU decides which
            return _rehearsed(start, hparams, budgets, replace(context, device="cpu"))

    return rehearse


def _rehearsed(start: Start, hparams: Any, budgets: Sequence[Budget], context: TrainingContext) -> list[str]:
    """Start the training at the largest budget and pass a few examples at each; gives what it has to note."""
    training = start(hparams, budgets[-1], context)
    rehearse = getattr(training, "rehearse", _nothing)
    for budget in _once_a_shape(budgets):
        rehearse(budget)
    note = training.notes().get("resolution")
    return [note] if note else []


def _nothing(budget: Budget) -> None:
    """What a training does that can only be started."""


def _once_a_shape(budgets: Sequence[Budget]) -> list[Budget]:
    """Those that differ in more than epochs."""
    return list({(budget.subset, budget.resolution): budget for budget in budgets}.values())


def first_examples(steps: Sequence[Tensor]) -> list[Tensor]:
    """Numbers of a few examples of an epoch's steps: of a full one, and of the last, which may be of one."""
    few = {min(len(indices), _MAX_EXAMPLES): indices[:_MAX_EXAMPLES] for indices in (steps[0], steps[-1])}
    return list(few.values())


@contextmanager
def building(context: TrainingContext) -> Iterator[None]:
    """Inside it a model of random weights is built on the meta device if the training is there."""
    if context.device != "meta":
        yield
        return
    with torch.device("meta"):
        yield
