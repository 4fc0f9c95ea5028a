"""One optimiser step on many examples, in pieces that fit into memory, and the losses of several steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Generic

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from trainables.core.contract import DataError, Diverged
from trainables.engine.memory import MicroBatch
from trainables.engine.parallel.ranks import Ranks, Share
from trainables.engine.precision import MixedPrecision
from trainables.engine.protocols import B, Loss, TrainEpoch


def outputs_of_images(model: nn.Module, batch: Any) -> Any:
    """A model's outputs for a batch's images: the default forward pass."""
    return model(batch.images)


class Stepper(Generic[B]):
    """Takes optimiser steps on a model.

    Without BatchNorm and dropout a step's gradient is the same, apart from rounding, however many
    examples pass at once. BatchNorm computes its statistics on each piece, as on several small
    devices; dropout is drawn for each piece.

    Args:
        forward: Maps a model and a batch to the outputs that loss and metrics receive.
        batch_size: Examples per forward pass, as long as they fit into memory.
        step_size: Examples per step, in several forward passes if above `batch_size`, the default.
        max_grad_norm: Maximum norm of all gradients together; None does not clip.

    Attributes:
        ranks: The processes that take each step together, including this one; None while it steps alone.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        loss: Loss[B],
        precision: MixedPrecision,
        *,
        forward: Callable[[nn.Module, B], Any] = outputs_of_images,
        batch_size: int,
        step_size: int | None = None,
        max_grad_norm: float | None = None,
    ) -> None:
        self.micro = MicroBatch()
        self.ranks: Ranks | None = None
        self.precision = precision
        self._model = model
        self._optimizer = optimizer
        self._loss = loss
        self.forward = forward
        self._batch_size = batch_size
        self._step_size = step_size or batch_size
        self._max_grad_norm = max_grad_norm
        self._has_batch_norm = any(isinstance(module, _BatchNorm) for module in model.modules())

    def steps(self, epoch: TrainEpoch[B]) -> list[Tensor]:
        """Indices of the examples of each step of `epoch`."""
        return list(epoch.steps(self._step_size, drop_single=self._has_batch_norm))

    def some_steps(self, epoch: TrainEpoch[B]) -> list[Tensor]:
        """The same, of which there is at least one.

        Raises:
            DataError: There is nothing to train on.
        """
        if steps := self.steps(epoch):
            return steps
        raise DataError("an epoch has no step: there is nothing to train on; give it a larger subset")

    def take(self, epoch: TrainEpoch[B], indices: Tensor, *, where: str) -> Tensor:
        """Take one step on these examples and return their mean loss, still on the device."""
        parts = self._parts(indices)
        most = self.ranks.largest_share(len(parts[0])) if self.ranks else len(parts[0])
        loss = self.micro.run_with_smaller_batches(
            lambda size: self._backward(epoch, parts, size),
            num_examples=most,
            where=where,
            smallest=self._smallest(most),
            # A failed attempt may have added some of the gradients: discard them and start the step again.
            undo=lambda: self._optimizer.zero_grad(set_to_none=True),
        )
        if self.ranks:
            loss = self.ranks.add_up(self._model.parameters(), loss)
        self.precision.step(self._optimizer, max_grad_norm=self._max_grad_norm)
        return loss

    @contextmanager
    def among(self, ranks: Ranks) -> Iterator[None]:
        """Context in which every step is taken together with the other ranks."""
        self.ranks = ranks
        try:
            yield
        finally:
            self.ranks = None

    def rehearse(self, epoch: TrainEpoch[B], indices: Tensor) -> None:
        """Run these examples forward and backward in fp32 and discard the gradients."""
        batch = epoch.batch(indices)
        self._loss(self.forward(self._model, batch), batch).backward()
        self._optimizer.zero_grad(set_to_none=True)

    def outputs(self, model: nn.Module, batch: B) -> Any:
        """Outputs of `model` for `batch`, in fp32."""
        with self.precision.autocast():
            outputs = self.forward(model, batch)
        return in_fp32(outputs)

    def notes(self) -> dict[str, str]:
        """What was changed to fit into memory, in words; empty if nothing was."""
        if not self.micro.note:
            return {}
        norm = f"; BatchNorm sees {self.micro.size}" if self._has_batch_norm else ""
        return {"memory": self.micro.note + norm}

    def _smallest(self, most: int) -> int:
        """The fewest of `most` examples that may pass at once.

        BatchNorm raises if a channel has a single value, as with one example after global pooling. With
        several ranks it waits for all of them, so none may split its examples into more pieces than others.
        """
        if not self._has_batch_norm:
            return 1
        return most if self.ranks else 2

    def _parts(self, indices: Tensor) -> tuple[Tensor, ...]:
        """The batches of a step, split evenly, the largest first: BatchNorm refuses a single example."""
        most = max(1, len(indices) // 2) if self._has_batch_norm else len(indices)
        return indices.tensor_split(min(most, -(-len(indices) // self._batch_size)))

    def _backward(self, epoch: TrainEpoch[B], parts: Sequence[Tensor], size: int) -> Tensor:
        """Accumulate the gradients of these examples, at most `size` at once, and return their mean loss.

        Args:
            parts: Indices of the examples of each batch of one optimiser step.
        """
        losses, num_examples = [], sum(map(len, parts))
        # The batches of a step are made one at a time, so that small ones save memory for images too.
        for part in parts:
            share = self._share(epoch, part)
            # With fewer examples than ranks, each rank passes all of them: BatchNorm refuses one at a time.
            is_whole = self.ranks is not None and self._has_batch_norm
            for piece in share.batch.split(len(share.batch) if is_whole else size):
                # Weighted by size, the sum over pieces is the mean over the step, however it was split.
                weight = share.fraction * len(piece) / num_examples
                with share.norms:
                    outputs = self.outputs(self._model, piece)
                loss = self._loss(outputs, piece) * weight
                self.precision.backward(loss)
                losses.append(loss.detach())
        return torch.stack(losses).sum()

    def _share(self, epoch: TrainEpoch[B], part: Tensor) -> Share[B]:
        """The part of a batch that this process computes: all of it if it steps alone."""
        if self.ranks is None:
            return Share(epoch.batch(part))
        return self.ranks.share(epoch, part, has_batch_norm=self._has_batch_norm)


def read_losses(losses: Sequence[Tensor], where: Callable[[int], str], *, first_step: int) -> list[float]:
    """Return the losses of steps as numbers, waiting until the device has computed them.

    Args:
        where: Names the step of a number, from 1, for a message.
        first_step: Number of steps before these.

    Raises:
        Diverged: A loss is NaN or infinite; the message names its step.
    """
    values: list[float] = torch.stack(list(losses)).tolist()
    for step, value in enumerate(values, start=first_step + 1):
        if not math.isfinite(value):
            raise Diverged(f"loss became {value} in {where(step)}")
    return values


def in_fp32(outputs: Any) -> Any:
    """Return `outputs` with every floating-point tensor in its dicts, lists and tuples as fp32."""
    if isinstance(outputs, Tensor):
        return outputs.float() if outputs.is_floating_point() else outputs
    if isinstance(outputs, Mapping):
        return {name: in_fp32(value) for name, value in outputs.items()}
    if isinstance(outputs, list | tuple):
        return [in_fp32(value) for value in outputs]
    return outputs
