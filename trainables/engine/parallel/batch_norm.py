"""BatchNorm over the examples of all ranks: the statistics are those of the whole batch.

torch's SyncBatchNorm is for GPUs only and replaces modules, to which freezing, averaging and the optimiser
hold references. Here the modules stay: while this mode is on, the function that they call computes with sums
over all ranks. It is made of plain operations, so on a GPU it is slower than cuDNN's.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

Gather = Callable[[Tensor], Tensor]  # from one rank's values to those of all, (ranks, *shape)
AddUp = Callable[[Tensor], None]  # replaces values by their sum over all ranks

_SIGNATURE = inspect.signature(functional.batch_norm)


class GlobalBatchNorm(TorchFunctionMode):
    """Mode in which `functional.batch_norm`, which all BatchNorm layers call, sees the batch of all ranks.

    Every rank must pass through the same layers in the same order, as ranks of one model do.
    """

    def __init__(self, gather: Gather, add_up: AddUp) -> None:
        super().__init__()
        self._gather, self._add_up = gather, add_up

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is functional.batch_norm:
            given = _SIGNATURE.bind(*args, **(kwargs or {}))
            given.apply_defaults()
            if given.arguments["training"]:
                return self._normalised(**given.arguments)
        return func(*args, **(kwargs or {}))

    def _normalised(
        self,
        input: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None,
        bias: Tensor | None,
        training: bool,
        momentum: float,
        eps: float,
    ) -> Tensor:
        values = input.to(torch.promote_types(input.dtype, torch.float32))
        mean, var, num = self._statistics(values.detach())
        if running_mean is not None and running_var is not None:
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
            unbiased = var * (num / (num - 1))
            running_var.lerp_(unbiased.to(running_var.dtype), momentum)
        normed: Tensor = _Normalise.apply(values, mean, (var + eps).rsqrt(), num, self._add_up)
        if weight is not None:
            normed = normed * _by_channel(weight, input)
        if bias is not None:
            normed = normed + _by_channel(bias, input)
        return normed.to(input.dtype)

    def _statistics(self, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mean and biased variance of each channel over all ranks, and the number of its values.

        Each rank's own mean and sum of squared differences from it are combined (Chan et al. 1979), in one
        exchange: sums of squares would lose the variance of channels with a large mean.
        """
        dims = _all_but_channels(values)
        mean = values.mean(dims)
        squares = (values - _by_channel(mean, values)).square().sum(dims)
        num = values.new_tensor([values.numel() / len(mean)])
        means, sums, nums = self._gather(torch.cat([mean, squares, num])).split(
            [len(mean), len(mean), 1], dim=1
        )
        total = nums.sum()
        joined = (means * nums).sum(0) / total
        return joined, (sums + nums * (means - joined).square()).sum(0).div(total), total


class _Normalise(torch.autograd.Function):
    """(x - mean) / deviation, where both depend on the x of all ranks."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, mean: Tensor, scale: Tensor, num: Tensor, add_up: AddUp) -> Tensor:
        normed = (values - _by_channel(mean, values)) * _by_channel(scale, values)
        ctx.save_for_backward(normed, scale, num)
        ctx.add_up = add_up
        return normed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        normed, scale, num = ctx.saved_tensors
        dims = _all_but_channels(normed)
        # The mean and the deviation carry each example's gradient to all others, on every rank.
        sums = torch.stack([gradient.sum(dims), (gradient * normed).sum(dims)])
        ctx.add_up(sums)
        of_mean, of_scale = (_by_channel(each / num, normed) for each in sums)
        return (gradient - of_mean - normed * of_scale) * _by_channel(scale, normed), None, None, None, None


def _all_but_channels(values: Tensor) -> list[int]:
    return [dim for dim in range(values.dim()) if dim != 1]


def _by_channel(each: Tensor, values: Tensor) -> Tensor:
    """One number per channel, shaped to broadcast over `values`."""
    return each.view(1, -1, *([1] * (values.dim() - 2)))
