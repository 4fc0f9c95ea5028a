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
# A factor of the second cycle, which never comes. At timm's default of 1 it warns that a schedule of a single
# epoch has no effect, which is wrong for fractional epochs.
_OF_NO_SECOND_CYCLE = 0.5
_DECAY_RATE = 0.1  # at a milestone or on a plateau (He et al. 2016)
_EXPONENTIAL_RATE = 0.7  # after each epoch, as in PyTorch's examples of MNIST


class Schedule:
    """Sets the learning rate of every group: its `base_lr` times the factor that is due.

    Positions are in epochs, so a change of subset between rungs, which changes the steps per
    epoch, changes nothing here. After `epochs` the last rate stays. A group that joins the
    optimiser later follows from its first step on.

    Args:
        name: cosine and linear fall to the floor; step falls by `decay_rate` at each milestone;
            exponential after each epoch; plateau when the validation loss has stood still for a tenth of
            the epochs; one_cycle rises for 30 % and falls to the floor as a cosine; none stays.
        epochs: What the schedule spans: those of the top rung, or with the horizon "rung" of one rung.
        warmup_epochs: The rate first rises from 0 over these; 0 for one_cycle, which rises by itself.
        decay_milestones: As `choices.milestones` reads them.
        decay_rate: None is 0.1, and 0.7 of exponential.
        min_lr_ratio: The floor, as a fraction of the base rate.
        unified_lr_epoch: From this many epochs on groups learn without their `backbone_ratio`; below 1 a
            fraction of the training; None is never.
        falls: Factors that all rates are multiplied by from an epoch on, by that epoch.
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
            raise ValueError(f"one_cycle has a rise of its own; set warmup_epochs to 0, got {warmup_epochs}")
        self._optimizer = optimizer
        self._warmup_epochs = warmup_epochs
        self._unified_lr_epoch = math.inf if unified_lr_epoch is None else in_epochs(unified_lr_epoch, epochs)
        self._falls = falls or {}
        # One parameter of an SGD that never steps, at rate 1: what its rate becomes is the factor for all
        # groups.
        # timm's schedulers set the rates of an optimiser, and never those of a group that joins later.
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
            # A tenth of the epochs: 3 of 30. A fixed number would never act on a short ladder, and too often
            # on a long one.
            self._plateau = ReduceLROnPlateau(self._relative, factor=rate, patience=math.ceil(epochs / 10))

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


def _annealing(
    optimizer: torch.optim.Optimizer, name: ScheduleName, epochs: int, warmup_epochs: Any, floor: float
) -> Scheduler:
    """timm's schedules that end at a floor, with epochs for ticks: their formulas take fractions of them."""
    if name == "one_cycle":
        warmup_epochs = _ONE_CYCLE_RISE * epochs
    # timm counts the warm-up as a part before the fall with `warmup_prefix`, so that the two add up to
    # `epochs`. A cosine keeps its place in the whole training: after a warm-up it begins below the top.
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
    """timm's schedules that fall in steps: at milestones, after each epoch, or by no clock of their own."""
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
