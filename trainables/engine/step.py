"""One optimiser step on many examples, in pieces that fit into memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Generic

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from trainables.engine.memory import MicroBatch
from trainables.engine.parallel.ranks import Ranks, Share
from trainables.engine.precision import MixedPrecision
from trainables.engine.protocols import B, Loss, TrainEpoch


def outputs_of_images(model: nn.Module, batch: Any) -> Any:
    """What a model says of a batch's images: the forward pass unless another is given."""
    return model(batch.images)


class Stepper(Generic[B]):
    """Takes optimiser steps on a model.

    Without BatchNorm and dropout a step's gradient is the same, but for rounding, however many
    examples pass at once. BatchNorm's statistics are of the pieces, as on several small devices;
    dropout is drawn for each.

    Args:
        forward: From a model and a batch to the outputs that loss and metrics are given.
        batch_size: Examples per forward pass, as long as memory holds them.
        step_size: Examples per step, in several forward passes where they are more.
        max_grad_norm: Largest norm of all gradients together; None does not clip.

    Attributes:
        ranks: The processes that take each step together, this one among them; None while it steps alone.
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
        """The numbers of the examples of each step of `epoch`."""
        return list(epoch.steps(self._step_size, drop_single=self._has_batch_norm))

    def take(self, epoch: TrainEpoch[B], indices: Tensor, *, where: str) -> Tensor:
        """Take one step on these examples; gives their mean loss, still on the device."""
        parts = self._parts(indices)
        most = self.ranks.largest_share(len(parts[0])) if self.ranks else len(parts[0])
        loss = self.micro.run_with_smaller_batches(
            lambda size: self._backward(epoch, parts, size),
            num_examples=most,
            where=where,
            smallest=self._smallest(most),
            # A failed attempt may have added part of the gradients already: they go, and the step begins
            # again.
            undo=lambda: self._optimizer.zero_grad(set_to_none=True),
        )
        if self.ranks:
            loss = self.ranks.add_up(self._model.parameters(), loss)
        self.precision.step(self._optimizer, max_grad_norm=self._max_grad_norm)
        return loss

    @contextmanager
    def among(self, ranks: Ranks) -> Iterator[None]:
        """Inside it every step is taken together with the other ranks."""
        self.ranks = ranks
        try:
            yield
        finally:
            self.ranks = None

    def rehearse(self, epoch: TrainEpoch[B], indices: Tensor) -> None:
        """Pass these examples forward and back in fp32, and forget the gradients."""
        batch = epoch.batch(indices)
        self._loss(self.forward(self._model, batch), batch).backward()
        self._optimizer.zero_grad(set_to_none=True)

    def outputs(self, model: nn.Module, batch: B) -> Any:
        """What `model` says of `batch`, in fp32."""
        with self.precision.autocast():
            outputs = self.forward(model, batch)
        return in_fp32(outputs)

    def notes(self) -> dict[str, str]:
        """What had to be changed to fit into memory, in words; empty where nothing was."""
        if not self.micro.note:
            return {}
        norm = f"; BatchNorm sees {self.micro.size}" if self._has_batch_norm else ""
        return {"memory": self.micro.note + norm}

    def _smallest(self, most: int) -> int:
        """The fewest examples that may pass at once, of `most`.

        BatchNorm raises where a channel has a single value, as one example after global pooling has. Over
        several ranks it waits for all of them, so that none may pass its examples in more pieces than others.
        """
        if not self._has_batch_norm:
            return 1
        return most if self.ranks else 2

    def _parts(self, indices: Tensor) -> tuple[Tensor, ...]:
        """The batches of a step, the largest first: even ones, so that the last of an epoch leaves none of a
        single example, which BatchNorm refuses."""
        most = max(1, len(indices) // 2) if self._has_batch_norm else len(indices)
        return indices.tensor_split(min(most, -(-len(indices) // self._batch_size)))

    def _backward(self, epoch: TrainEpoch[B], parts: Sequence[Tensor], size: int) -> Tensor:
        """Add the gradients of these examples up, at most `size` of them at once; gives their mean loss.

        Args:
            parts: Numbers of the examples of each batch of one optimiser step.
        """
        losses, num_examples = [], sum(map(len, parts))
        # Batches of one step are formed one by one, so that small ones save memory for images too.
        for part in parts:
            share = self._share(epoch, part)
            # Of fewer examples than ranks each passes all, and BatchNorm refuses a single one of them.
            is_whole = self.ranks is not None and self._has_batch_norm
            for piece in share.batch.split(len(share.batch) if is_whole else size):
                # Weighted by size, the sum over pieces is the mean over the step, however they were cut.
                weight = share.fraction * len(piece) / num_examples
                with share.norms:
                    outputs = self.outputs(self._model, piece)
                loss = self._loss(outputs, piece) * weight
                self.precision.backward(loss)
                losses.append(loss.detach())
        return torch.stack(losses).sum()

    def _share(self, epoch: TrainEpoch[B], part: Tensor) -> Share[B]:
        """What of a batch this process passes: all of it where it steps alone."""
        if self.ranks is None:
            return Share(epoch.batch(part))
        return self.ranks.share(epoch, part, has_batch_norm=self._has_batch_norm)


def in_fp32(outputs: Any) -> Any:
    """Tensors of any float kind as fp32, in whatever dicts, lists and tuples they are."""
    if isinstance(outputs, Tensor):
        return outputs.float() if outputs.is_floating_point() else outputs
    if isinstance(outputs, Mapping):
        return {name: in_fp32(value) for name, value in outputs.items()}
    if isinstance(outputs, list | tuple):
        return [in_fp32(value) for value in outputs]
    return outputs
