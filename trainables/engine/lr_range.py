"""The learning-rate range test: one short training in which the rate rises until the loss blows up.

Smith 2017, "Cyclical Learning Rates for Training Neural Networks", section 3.3: let the rate rise over some
steps and look where the loss begins to fall and where it stops falling; the useful rates lie between. Here
the rate rises by the same factor each step, as in fastai's `lr_find`, whose smoothing is used too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from trainables.core.optional import LrRangeStep

_SMOOTHING = 0.98  # of 100 steps; fewer steps are smoothed less, so that a curve keeps its shape
_SMOOTHED_STEPS = 100
_BLOWN_UP = 4.0  # times the lowest smoothed loss, as in fastai


def rising_rates(low: float, high: float, num_steps: int) -> list[float]:
    """Rates from `low` to `high`, each above the previous one by the same factor."""
    return [low * (high / low) ** (step / (num_steps - 1)) for step in range(num_steps)]


def range_steps(
    optimizer: torch.optim.Optimizer,
    take: Callable[[int], Tensor],
    *,
    low: float,
    high: float,
    num_steps: int,
) -> Iterator[LrRangeStep]:
    """Take steps at rising rates until the smoothed loss exceeds four times its lowest or is not finite.

    Groups keep the ratio of their rates: a backbone at a tenth of the head's rate stays there.

    Args:
        take: Takes the optimiser step of this number, from 0, and returns its loss.
    """
    bases = [group.get("base_lr", group["lr"]) for group in optimizer.param_groups]
    largest = max(bases)
    smoothing = _SMOOTHING ** (_SMOOTHED_STEPS / num_steps)
    mean, least = 0.0, math.inf
    for step, lr in enumerate(rising_rates(low, high, num_steps)):
        for group, base in zip(optimizer.param_groups, bases, strict=True):
            group["lr"] = lr * base / largest
        loss = float(take(step))
        mean = smoothing * mean + (1 - smoothing) * loss
        smoothed = mean / (1 - smoothing ** (step + 1))  # corrects the bias of starting at 0
        yield LrRangeStep(lr=lr, loss=loss, smoothed_loss=smoothed)
        least = min(least, smoothed)
        if not math.isfinite(loss) or smoothed > _BLOWN_UP * least:
            return
