"""The processes of one training as a group: they share out examples and add up gradients."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Generic

import torch
from torch import Tensor, distributed, nn

from trainables.engine.parallel.batch_norm import GlobalBatchNorm
from trainables.engine.protocols import B, TrainEpoch

_TIMEOUT = timedelta(minutes=30)  # what one rank may take longer for a step than another
_MEETING = timedelta(minutes=1)  # all have announced that they will join: one that does not has died since
_BUCKET = 2**24  # elements that are added up at once: 64 MiB of fp32, beside the gradients themselves


class RanksLost(RuntimeError):
    """Another process of the training no longer answers; the one that started it finds out why."""


class Ranks:
    """A group of processes that train one model, as one of them sees it.

    The group is private to this object instead of torch's default one, which metrics and layers would find:
    torchmetrics waits for all processes as soon as there is a default group, but rank 0 scores alone. A warm
    worker keeps nothing of it.

    Args:
        rank: Number of this process, from 0, the process that runs the trial.
        number: Number of ranks.
        meeting: A file where they find each other, new for each group.
        device: The device of this rank, where gradients are added up.

    Raises:
        RanksLost: Not all of them joined.
    """

    def __init__(self, rank: int, number: int, meeting: Path, device: torch.device) -> None:
        self.rank, self.number = rank, number
        self._device = device
        with _reporting_lost():
            self._group = _group(distributed.FileStore(str(meeting), number), rank, number, device)

    def share(self, epoch: TrainEpoch[B], indices: Tensor, *, has_batch_norm: bool) -> Share[B]:
        """This rank's share of a batch, which depends only on its rank and the number of ranks.

        If examples are mixed with each other, every rank makes the whole batch and then takes its part: which
        examples are mixed must not depend on the number of ranks. A batch of fewer examples than ranks is
        computed by all of them, each weighting the loss by 1 / number.
        """
        norms = self._norms() if has_batch_norm else nullcontext()
        if len(indices) < self.number:
            return Share(epoch.batch(indices), 1 / self.number)
        if not getattr(epoch, "is_mixed", False):
            return Share(epoch.batch(indices.tensor_split(self.number)[self.rank]), norms=norms)
        whole = epoch.batch(indices)
        pieces = whole.split(-(-len(indices) // self.number))
        if len(pieces) < self.number:  # 5 examples in pieces of at most 2 make 3 pieces, for 4 ranks
            return Share(whole, 1 / self.number)
        return Share(pieces[self.rank], norms=norms)

    def largest_share(self, num_examples: int) -> int:
        """Number of examples in the largest share of a batch."""
        return max(1, -(-num_examples // self.number))

    def add_up(self, parameters: Iterable[nn.Parameter], loss: Tensor) -> Tensor:
        """Add up the gradients of all ranks, in place, and return the sum of their losses.

        A parameter that no rank has a gradient for stays without one, so that its optimiser skips it.
        """
        with torch.no_grad():
            learning = [each for each in parameters if each.requires_grad]
            has = torch.tensor([each.grad is not None for each in learning], device=self._device)
            heads = torch.cat([loss.detach().reshape(1).to(torch.float32), has.to(torch.float32)])
            self.sum_(heads)
            used = [each for each, number in zip(learning, heads[1:].tolist(), strict=True) if number]
            for each in used:
                if each.grad is None:
                    each.grad = torch.zeros_like(each)
            for bucket in _buckets(used):
                self._sum_gradients(bucket)
            return heads[0].to(loss.dtype)

    def sum_(self, values: Tensor) -> None:
        """Replace `values` by their sum over all ranks, bit for bit the same in each.

        Raises:
            RanksLost: Another rank is gone.
        """
        with _reporting_lost():
            self._group.allreduce([values]).wait()

    def gathered(self, values: Tensor) -> Tensor:
        """The `values` of all ranks, (number, *shape)."""
        found = [torch.empty_like(values) for _ in range(self.number)]
        with _reporting_lost():
            self._group.allgather([found], [values]).wait()
        return torch.stack(found)

    def _norms(self) -> AbstractContextManager[Any]:
        return GlobalBatchNorm(self.gathered, self.sum_)

    def _sum_gradients(self, bucket: Sequence[nn.Parameter]) -> None:
        gradients = [each.grad for each in bucket if each.grad is not None]
        flat = torch.cat([each.reshape(-1) for each in gradients])
        self.sum_(flat)
        parts = flat.split([each.numel() for each in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view(gradient.shape))


@dataclass(frozen=True)
class Share(Generic[B]):
    """The part of a batch that a rank computes.

    Attributes:
        batch: Its examples, at least one.
        fraction: Weight of their loss: below 1 if other ranks compute the same examples.
        norms: Context for the forward pass.
    """

    batch: B
    fraction: float = 1.0
    norms: AbstractContextManager[Any] = field(default_factory=nullcontext)


def _buckets(parameters: Sequence[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """The parameters in lists of one dtype and at most 64 MiB of fp32, or of a single parameter."""
    bucket: list[nn.Parameter] = []
    for each in parameters:
        is_other = bool(bucket) and bucket[0].dtype != each.dtype
        if bucket and (is_other or sum(one.numel() for one in bucket) + each.numel() > _BUCKET):
            yield bucket
            bucket = []
        bucket.append(each)
    if bucket:
        yield bucket


def _group(store: distributed.Store, rank: int, number: int, device: torch.device) -> Any:
    """An NCCL group if each rank has a GPU of its own, else a gloo group over the loopback."""
    backends: Any = distributed  # which of them torch has depends on how it was built
    if device.type == "cuda" and distributed.is_nccl_available():
        options = backends.ProcessGroupNCCL.Options()
        options._timeout = _TIMEOUT
        return backends.ProcessGroupNCCL(store, rank, number, options)
    options = backends.ProcessGroupGloo._Options()
    # By itself gloo asks for the machine's name, which need not resolve; all ranks are on this machine.
    options._devices = [backends.ProcessGroupGloo.create_device(hostname="127.0.0.1")]
    options._timeout = _MEETING
    group = backends.ProcessGroupGloo(store, rank, number, options)
    group._set_default_timeout(_TIMEOUT)
    return group


@contextmanager
def _reporting_lost() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # gloo and NCCL raise nothing more specific
        raise RanksLost(f"a process of this training is gone: {str(error).splitlines()[0]}") from error
