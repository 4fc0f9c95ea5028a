"""Learning rates over the whole training, in fractional epochs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, get_args

import torch
from timm.scheduler import CosineLRScheduler, MultiStepLRScheduler
from timm.scheduler.scheduler import Scheduler
from torch.optim.lr_scheduler import ReduceLROnPlateau

from trainables.engine.choices import ScheduleName

_ONE_CYCLE_RISE = 0.3  # fraction of the training in which one_cycle's rate rises (Smith and Topin 2018)
# A factor of the second cycle, which never comes. At timm's default of 1 it warns that a schedule of a single
# epoch has no effect, which is wrong for fractional epochs.
_OF_NO_SECOND_CYCLE = 0.5


class Schedule:
    """Sets the learning rate of every group: its `base_lr` times the factor that is due.

    Positions are in epochs, so a change of subset between rungs, which changes the steps per
    epoch, changes nothing here. After `epochs` the last rate stays. A group that joins the
    optimiser later follows from its first step on.

    Args:
        name: cosine falls to 0; step divides by 10 at 50 % and 75 % (He et al. 2016); plateau divides
            by 10 when the validation loss has stood still for a tenth of the epochs; one_cycle
            rises for 30 % and falls to 0 as a cosine; none stays.
        epochs: What the schedule spans: those of the top rung, or with the horizon "rung" of one rung.
        warmup_epochs: The rate first rises from 0 over these; 0 for one_cycle, which rises by itself.
        unified_lr_epoch: From this many epochs on groups learn without their `backbone_ratio`; None is never.
        falls: Factors that all rates are multiplied by from an epoch on, by that epoch.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        *,
        name: ScheduleName,
        epochs: int,
        warmup_epochs: float = 0.0,
        unified_lr_epoch: int | None = None,
        falls: Mapping[int, float] | None = None,
    ) -> None:
        if not 0 <= warmup_epochs < epochs:
            raise ValueError(f"warmup_epochs must be in [0, {epochs}), the epochs, got {warmup_epochs}")
        if name == "one_cycle" and warmup_epochs:
            raise ValueError(f"one_cycle has a rise of its own; set warmup_epochs to 0, got {warmup_epochs}")
        self._optimizer = optimizer
        self._warmup_epochs = warmup_epochs
        self._unified_lr_epoch = math.inf if unified_lr_epoch is None else unified_lr_epoch
        self._falls = falls or {}
        # One parameter of an SGD that never steps, at rate 1: what its rate becomes is the factor for all
        # groups.
        # timm's schedulers set the rates of an optimiser, and never those of a group that joins later.
        self._relative = torch.optim.SGD([torch.zeros(1)], lr=1.0)
        self._shape = _shape(self._relative, name, epochs, warmup_epochs)
        self._plateau: ReduceLROnPlateau | None = None
        if name == "plateau":
            # A tenth of the epochs: 3 of 30. A fixed number would never act on a short ladder, and too often
            # on a long one.
            self._plateau = ReduceLROnPlateau(self._relative, patience=math.ceil(epochs / 10))

    @property
    def lr(self) -> float:
        """The current rate of the first group, which is the head's."""
        return float(self._optimizer.param_groups[0]["lr"])

    def set_position(self, epochs: float) -> None:
        """Set all rates for this many epochs done; each step asks for its middle."""
        self._shape.step_update(epochs)  # type: ignore[arg-type]
        factor = self._relative.param_groups[0]["lr"]
        factor *= math.prod(fall for epoch, fall in self._falls.items() if epochs >= epoch)
        for group in self._optimizer.param_groups:
            # `base_lr` holds the backbone's ratio already; dividing by it makes the rates of all groups
            # equal.
            ratio = group.get("backbone_ratio", 1.0) if epochs >= self._unified_lr_epoch else 1.0
            group["lr"] = group["base_lr"] / ratio * factor

    def observe(self, epochs: int, val_loss: float) -> None:
        """Take in the validation loss after an epoch; only plateau uses it, once warm-up is over."""
        if self._plateau is None or epochs < self._warmup_epochs:
            return
        self._shape.step_update(epochs)
        self._plateau.step(val_loss)
        self._shape.base_values = [group["lr"] for group in self._relative.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """The positions of timm's scheduler and of plateau; the rates themselves follow from them."""
        plateau = self._plateau.state_dict() if self._plateau else {}
        return {"shape": self._shape.state_dict(), "plateau": plateau}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where `state_dict` was taken; the schedule must have been made with the same arguments."""
        self._shape.load_state_dict(state["shape"])
        if self._plateau:
            self._plateau.load_state_dict(state["plateau"])


def _shape(
    optimizer: torch.optim.Optimizer, name: ScheduleName, epochs: int, warmup_epochs: Any
) -> Scheduler:
    """timm's schedulers, with epochs for ticks: their formulas take fractions, their annotations say int."""
    if name == "cosine":
        return CosineLRScheduler(
            optimizer,
            epochs,
            warmup_t=warmup_epochs,
            cycle_decay=_OF_NO_SECOND_CYCLE,
            t_in_epochs=False,
        )
    if name == "one_cycle":
        # timm counts the warm-up as a part before the cosine (`warmup_prefix`), so the two add up to
        # `epochs`.
        rise: Any = _ONE_CYCLE_RISE * epochs
        return CosineLRScheduler(
            optimizer,
            epochs - rise,
            warmup_t=rise,
            warmup_prefix=True,
            cycle_decay=_OF_NO_SECOND_CYCLE,
            t_in_epochs=False,
        )
    if name not in get_args(ScheduleName):
        raise ValueError(f"no schedule is named {name!r}; there are {', '.join(get_args(ScheduleName))}")
    falls_at: list[Any] = (
        [0.5 * epochs + 1, 0.75 * epochs + 1] if name == "step" else []
    )  # timm applies tick t at t - 1
    return MultiStepLRScheduler(
        optimizer,
        falls_at,
        decay_rate=0.1,
        warmup_t=warmup_epochs,
        warmup_prefix=False,
        t_in_epochs=False,
    )
