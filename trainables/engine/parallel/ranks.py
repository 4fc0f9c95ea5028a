"""The processes of one training as a group: whose examples are whose, and what they add up."""

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
_MEETING = timedelta(minutes=1)  # all have said that they come: one that does not has died on its way
_BUCKET = 2**24  # elements that are added up at once: 64 MiB of fp32, beside the gradients themselves


class RanksLost(RuntimeError):
    """Another process of the training no longer answers; why is for the one that started it to find out."""


class Ranks:
    """A group of processes that train one model, as one of them sees it.

    The group is this object's own and not torch's default one, which metrics and layers would find:
    torchmetrics waits for all processes as soon as there is a default group, and rank 0 scores alone. A warm
    worker keeps nothing of it.

    Args:
        rank: From 0, the process that runs the trial.
        meeting: A file where they find each other, new for each group.
        device: Of this rank; gradients are added up there.

    Raises:
        RanksLost: Not all of them came.
    """

    def __init__(self, rank: int, number: int, meeting: Path, device: torch.device) -> None:
        self.rank, self.number = rank, number
        self._device = device
        with _reporting_lost():
            self._group = _group(distributed.FileStore(str(meeting), number), rank, number, device)

    def share(self, epoch: TrainEpoch[B], indices: Tensor, *, has_batch_norm: bool) -> Share[B]:
        """This rank's share of a batch; it depends on rank and number alone, not on what others take.

        Examples that are mixed with each other are made by every rank as a whole and then parted: whom one is
        mixed with must not depend on the number of ranks. A batch of fewer examples than ranks is computed
        by all of them, each counting for its part.
        """
        norms = self._norms() if has_batch_norm else nullcontext()
        if len(indices) < self.number:
            return Share(epoch.batch(indices), 1 / self.number)
        if not getattr(epoch, "is_mixed", False):
            return Share(epoch.batch(indices.tensor_split(self.number)[self.rank]), norms=norms)
        whole = epoch.batch(indices)
        pieces = whole.split(-(-len(indices) // self.number))
        if len(pieces) < self.number:  # 5 examples in pieces of at most 2 are 3 pieces, and ranks may be 4
            return Share(whole, 1 / self.number)
        return Share(pieces[self.rank], norms=norms)

    def largest_share(self, num_examples: int) -> int:
        """The examples that the rank with most of them gets of a batch."""
        return max(1, -(-num_examples // self.number))

    def add_up(self, parameters: Iterable[nn.Parameter], loss: Tensor) -> Tensor:
        """Add the gradients of all ranks up, in place; gives the sum of their losses.

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
        """Replace `values` by their sum over all ranks, which is the same to the bit in each.

        Raises:
            RanksLost: One of them is gone.
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
    """What a rank computes of a batch.

    Attributes:
        batch: Its examples, one at least.
        fraction: What their loss counts: less than all of it where other ranks compute the same ones.
        norms: What the forward pass is to run in.
    """

    batch: B
    fraction: float = 1.0
    norms: AbstractContextManager[Any] = field(default_factory=nullcontext)


def _buckets(parameters: Sequence[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """The parameters in lists of one kind of number and of at most 64 MiB, or of one parameter."""
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
    """NCCL's where each rank has a GPU of its own, else gloo's over the loopback."""
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
    except RuntimeError as error:  # gloo and NCCL raise nothing more special
        raise RanksLost(f"a process of this training is gone: {str(error).splitlines()[0]}") from error
