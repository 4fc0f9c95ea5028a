"""Learning rates over the whole training, in fractional epochs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, get_args

import torch
from timm.scheduler import (
    CosineLRScheduler,
    MultiStepLRScheduler,
    PolyLRScheduler,
    StepLRScheduler,
)
from timm.scheduler.scheduler import Scheduler
from torch.optim.lr_scheduler import ReduceLROnPlateau

from trainables.engine.choices import ScheduleName, in_epochs, milestones

_ONE_CYCLE_RISE = 0.3  # fraction of the training in which one_cycle's rate rises (Smith and Topin 2018)
# The scale of a second cycle, which never comes. At the default of 1 timm warns that a schedule of a single
# epoch has no effect, which is wrong for fractional epochs.
_OF_NO_SECOND_CYCLE = 0.5
_DECAY_RATE = 0.1  # at a milestone or on a plateau (He et al. 2016)
_EXPONENTIAL_RATE = 0.7  # after each epoch, as in PyTorch's examples of MNIST


class Schedule:
    """Sets the learning rate of every group to its `base_lr` times the current factor of the schedule.

    Positions are in epochs, so a change of subset between rungs, and thus of the steps per epoch, has
    no effect here. After `epochs` the rate keeps its last value. A group that joins the optimiser
    later follows the schedule from its first step.

    Args:
        name: cosine and linear fall to the floor; step falls by `decay_rate` at each milestone,
            exponential after each epoch, plateau when the validation loss has not improved for more than
            a tenth of the epochs; one_cycle rises for 30 % of the training and falls to the floor as a
            cosine; none is constant.
        epochs: Epochs that the schedule spans: those of the top rung, or of one rung with the horizon "rung".
        warmup_epochs: Epochs over which the rate first rises from 0; 0 for one_cycle, which has its own rise.
        decay_milestones: Where step falls, as `choices.milestones` reads it.
        decay_rate: Defaults to 0.7 for exponential and 0.1 for step and plateau.
        min_lr_ratio: The floor, as a fraction of the base rate.
        unified_lr_epoch: The epoch from which groups learn without their `backbone_ratio`; below 1, a
            fraction of the training; None means never.
        falls: Factors on all rates, by the epoch from which each applies.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        *,
        name: ScheduleName,
        epochs: int,
        warmup_epochs: float = 0.0,
        decay_milestones: str = "0.5, 0.75",
        decay_rate: float | None = None,
        min_lr_ratio: float = 0.0,
        unified_lr_epoch: float | None = None,
        falls: Mapping[int, float] | None = None,
    ) -> None:
        if not 0 <= warmup_epochs < epochs:
            raise ValueError(f"warmup_epochs must be in [0, {epochs}), the epochs, got {warmup_epochs}")
        if name == "one_cycle" and warmup_epochs:
            raise ValueError(f"one_cycle has its own warm-up; set warmup_epochs to 0, got {warmup_epochs}")
        self._optimizer = optimizer
        self._warmup_epochs = warmup_epochs
        self._unified_lr_epoch = math.inf if unified_lr_epoch is None else in_epochs(unified_lr_epoch, epochs)
        self._falls = falls or {}
        # timm's schedulers would not set the rates of groups that join the optimiser later. So they drive an
        # SGD of one parameter at rate 1, which never steps: its rate is the factor for all groups.
        self._relative = torch.optim.SGD([torch.zeros(1)], lr=1.0)
        falls_at = milestones(decay_milestones, epochs) if name == "step" else []
        usual = _EXPONENTIAL_RATE if name == "exponential" else _DECAY_RATE
        rate = usual if decay_rate is None else decay_rate
        self._shape = (
            _annealing(self._relative, name, epochs, warmup_epochs, min_lr_ratio)
            if name in ("cosine", "linear", "one_cycle")
            else _falling(self._relative, name, falls_at, rate, warmup_epochs)
        )
        self._plateau: ReduceLROnPlateau | None = None
        if name == "plateau":
            # A tenth of the epochs, such as 3 of 30. A fixed number would never act on a short ladder and act
            # too often on a long one.
            self._plateau = ReduceLROnPlateau(self._relative, factor=rate, patience=math.ceil(epochs / 10))

    @property
    def lr(self) -> float:
        """The current rate of the first group, which is the head's."""
        return float(self._optimizer.param_groups[0]["lr"])

    def set_position(self, epochs: float) -> None:
        """Set all rates for a position in epochs; each step passes that of its middle."""
        self._shape.step_update(epochs)  # type: ignore[arg-type]
        factor = self._relative.param_groups[0]["lr"]
        factor *= math.prod(fall for epoch, fall in self._falls.items() if epochs >= epoch)
        for group in self._optimizer.param_groups:
            # `base_lr` includes the backbone's ratio; dividing by it makes the rates of all groups equal.
            ratio = group.get("backbone_ratio", 1.0) if epochs >= self._unified_lr_epoch else 1.0
            group["lr"] = group["base_lr"] / ratio * factor

    def observe(self, epochs: int, val_loss: float) -> None:
        """Record the validation loss after an epoch; only plateau uses it, once warm-up is over."""
        if self._plateau is None or epochs < self._warmup_epochs:
            return
        self._shape.step_update(epochs)
        self._plateau.step(val_loss)
        self._shape.base_values = [group["lr"] for group in self._relative.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """The states of timm's scheduler and of plateau, from which the rates follow."""
        plateau = self._plateau.state_dict() if self._plateau else {}
        return {"shape": self._shape.state_dict(), "plateau": plateau}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume from a state of a schedule that was made with the same arguments."""
        self._shape.load_state_dict(state["shape"])
        if self._plateau:
            self._plateau.load_state_dict(state["plateau"])


def _annealing(
    optimizer: torch.optim.Optimizer, name: ScheduleName, epochs: int, warmup_epochs: Any, floor: float
) -> Scheduler:
    """timm's schedules that end at a floor, in epochs: their formulas accept fractions of one."""
    if name == "one_cycle":
        warmup_epochs = _ONE_CYCLE_RISE * epochs
    # With `warmup_prefix` timm puts the warm-up before the fall, so that the two add up to `epochs`. A cosine
    # instead keeps its place in the whole training: after a warm-up it begins below the top.
    has_prefix = name != "cosine"
    spanned: Any = epochs - warmup_epochs if has_prefix else epochs
    scheduler = PolyLRScheduler if name == "linear" else CosineLRScheduler
    own: dict[str, Any] = {"power": 1.0} if name == "linear" else {}
    return scheduler(
        optimizer,
        spanned,
        lr_min=floor,
        warmup_t=warmup_epochs,
        warmup_prefix=has_prefix,
        cycle_decay=_OF_NO_SECOND_CYCLE,
        t_in_epochs=False,
        **own,
    )


def _falling(
    optimizer: torch.optim.Optimizer, name: ScheduleName, falls_at: list[float], rate: float, warmup: Any
) -> Scheduler:
    """timm's schedules that fall in steps: at milestones, after each epoch, or never by themselves."""
    if name not in get_args(ScheduleName):
        raise ValueError(f"no schedule is named {name!r}; there are {', '.join(get_args(ScheduleName))}")
    if name == "exponential":
        return StepLRScheduler(
            optimizer, 1, decay_rate=rate, warmup_t=warmup, warmup_prefix=False, t_in_epochs=False
        )
    ticks: list[Any] = [epoch + 1 for epoch in falls_at]  # timm applies tick t at t - 1
    return MultiStepLRScheduler(
        optimizer, ticks, decay_rate=rate, warmup_t=warmup, warmup_prefix=False, t_in_epochs=False
    )
