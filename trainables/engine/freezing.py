"""Parts of a model that keep their weights, permanently or for the first epochs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from trainables.engine.optimizer import add_missing_groups


def freeze(model: nn.Module, head: nn.Module, fraction: float) -> list[nn.Module]:
    """Freeze a fraction of the backbone from the input side, and return its modules.

    The fraction counts modules with parameters of their own; the head is never among them.
    """
    in_head = set(head.modules())
    backbone = [
        module
        for module in model.modules()
        if module not in in_head and next(module.parameters(recurse=False), None) is not None
    ]
    # Modules come in the order of their definition, which in image models is usually that of the forward
    # pass: the first are those next to the input.
    frozen = backbone[: round(fraction * len(backbone))]
    _learn(frozen, False)
    return frozen


class Freezing:
    """The frozen modules of a training, and the epoch from which they learn too.

    Frozen parameters are in no group of the optimiser. When they thaw they join it, and its state
    for the others is kept.

    Args:
        modules: The modules that `freeze` returned.
        num_epochs: Number of epochs for which they are frozen; None means permanently.
        groups: Returns all trainable parameters of the model, in groups; called when the modules thaw.
    """

    def __init__(
        self,
        modules: Sequence[nn.Module] = (),
        *,
        num_epochs: int | None = None,
        groups: Callable[[], list[dict[str, Any]]] | None = None,
    ) -> None:
        self.modules = modules
        self.is_thawed = False
        self._num_epochs = num_epochs
        self._groups = groups

    def enter(self, epoch: int, optimizer: torch.optim.Optimizer) -> None:
        """Thaw if that is due before this epoch, counted from 0."""
        if self._num_epochs is not None and epoch >= self._num_epochs:
            self.thaw(optimizer)

    def thaw(self, optimizer: torch.optim.Optimizer) -> None:
        """Let everything learn; a second call has no effect."""
        if self.is_thawed:
            return
        _learn(self.modules, True)
        if self._groups:
            add_missing_groups(optimizer, self._groups())
        self.modules, self.is_thawed = (), True

    def hold(self) -> None:
        """Fix BatchNorm's statistics and switch dropout off in the frozen modules, after `model.train()`."""
        for module in self.modules:
            module.training = False  # not eval(): that would reach down to modules that learn


def _learn(modules: Sequence[nn.Module], does: bool) -> None:
    """Set whether the modules' own parameters get gradients; those of modules inside them are untouched."""
    for module in modules:
        for parameter in module.parameters(recurse=False):
            parameter.requires_grad_(does)
