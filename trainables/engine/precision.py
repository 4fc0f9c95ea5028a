"""The number format of a training: autocast, gradient scaling, clipping and the way back to fp32."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from trainables.core.contract import Diverged, TrainingContext
from trainables.engine.cpu_precision import choose_precision

T = TypeVar("T")
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_NOT_IMPLEMENTED = (
    "could not create a primitive"  # oneDNN's error for layers that a processor cannot compute in bf16
)


class _Restorable(Protocol):
    """Anything that can be restored to its state before an epoch."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


def chosen_format(context: TrainingContext) -> tuple[str, str]:
    """The number format of a training ("fp32", "bf16", "fp16") and why."""
    if context.precision != "auto":
        return context.precision, "asked for"
    device = torch.device(context.device)
    if device.type == "cpu":
        # Chosen once for the whole run: trials in two formats would not be comparable.
        name, _, why = (context.auto_precision or choose_precision(context)).partition(": ")
        return name, why
    if device.type != "cuda":
        return "fp32", f"mixed precision is not tried on {device.type}"
    # bf16 has the exponents of fp32, so no gradient is lost and no scaler needed. Emulated bf16 would be
    # slower than fp32, which is why emulation does not count.
    if torch.cuda.is_bf16_supported(including_emulation=False):
        return "bf16", "this GPU computes it, and it needs no gradient scaling"
    return "fp16", "this GPU has no bf16; gradients are scaled"


class MixedPrecision:
    """Runs forward passes in a number format and takes optimiser steps that fit it.

    Args:
        name: "fp32", "bf16" or "fp16".
        is_asked: The user chose it: a checkpoint in another format continues in this one.

    Attributes:
        reason: Which format was chosen and why, in words.
    """

    def __init__(
        self, name: str, device: torch.device, *, why: str = "asked for", is_asked: bool = True
    ) -> None:
        if name == "fp16" and device.type == "cpu":
            raise ValueError("precision fp16 needs a GPU, got device cpu; write fp32, bf16 or auto")
        self.reason = f"{name}: {why}"
        self._device = device
        self._is_asked = is_asked
        self._has_fallen_back = False
        self._proven: set[int | None] = set()  # resolutions at which an epoch has succeeded
        self._use(name)

    @classmethod
    def of(cls, context: TrainingContext) -> MixedPrecision:
        """The precision for a training in `context`."""
        name, why = chosen_format(context)
        return cls(name, torch.device(context.device), why=why, is_asked=context.precision != "auto")

    @property
    def name(self) -> str:
        """The current number format: "fp32", "bf16" or "fp16"."""
        return self._name

    @property
    def is_full(self) -> bool:
        """Whether everything is computed in fp32."""
        return self._dtype == torch.float32

    def fall_back(self, why: str) -> None:
        """Compute in fp32 from now on."""
        self.reason, self._has_fallen_back = why, True
        self._use("fp32")

    def autocast(self) -> AbstractContextManager[Any]:
        """Context for forward passes; losses are computed outside it, in fp32."""
        return torch.autocast(self._device.type, self._dtype, enabled=not self.is_full)

    def backward(self, loss: Tensor) -> None:
        self._scaler.scale(loss).backward()

    def step(self, optimizer: torch.optim.Optimizer, *, max_grad_norm: float | None) -> None:
        """Take one step on the gradients, clipped at their true size, and clear them."""
        if max_grad_norm is not None:
            self._scaler.unscale_(optimizer)  # a norm of scaled gradients would mean nothing
            parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            nn.utils.clip_grad_norm_(parameters, max_grad_norm)
        self._scaler.step(optimizer)
        self._scaler.update()
        optimizer.zero_grad(set_to_none=True)

    def run_epoch(
        self,
        epoch: Callable[[], T],
        training: _Restorable,
        *,
        resolution: int | None,
        has_retry: bool = False,
    ) -> T:
        """Run `epoch` and return its result; if mixed precision may be why it failed, run it again in fp32.

        That is possible on a CPU in the first epoch at each resolution: convolutions of some shapes have
        given NaN in bf16 from finite numbers, and some processors lack the instructions for some layers.

        Args:
            has_retry: Retry in every epoch, until the first that diverges.
        """
        # Shapes decide which kernels run, and shapes change with the resolution: each is proven separately.
        # On a GPU no such kernel is known, so no state is kept for a retry unless the user asks for it.
        is_unproven = self._device.type == "cpu" and resolution not in self._proven
        if self.is_full or not (has_retry or is_unproven):
            return epoch()
        # Weights, optimiser and generators as they are now: the retry sees what the first attempt saw.
        before = copy.deepcopy(training.state_dict())
        try:
            values = epoch()
        except (Diverged, RuntimeError) as error:
            if not may_be_of_precision(error):
                raise
            why = str(error).splitlines()[0]
        else:
            self._proven.add(resolution)
            return values
        training.load_state_dict(before)
        self.fall_back(f"fp32: {why} in mixed precision; the epoch was trained again")
        return epoch()

    def state_dict(self) -> dict[str, Any]:
        """The format with its reason, the gradient scaler, and the resolutions proven to work in it."""
        return {
            "scaler": self._scaler.state_dict(),
            "format": self._name,
            "reason": self.reason,
            "has_fallen_back": self._has_fallen_back,
            "proven": sorted(self._proven, key=str),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue in the saved format, unless another was asked for."""
        if state["has_fallen_back"]:
            self.fall_back(state["reason"])
        elif not self._is_asked:
            self.reason = state["reason"]
            self._use(state["format"])
        self._proven = set(state["proven"])
        if state["scaler"]:  # a disabled scaler has an empty state and refuses it
            self._scaler.load_state_dict(dict(state["scaler"]))

    def _use(self, name: str) -> None:
        """Compute in the named format. Only fp16 needs a scaler: its gradients under 6e-8 become 0."""
        self._name, self._dtype = name, _DTYPES[name]
        self._scaler = torch.amp.GradScaler(self._device.type, enabled=name == "fp16")


def may_be_of_precision(error: Exception) -> bool:
    """Whether mixed precision may be why an epoch failed; with several processes, all of them then fail."""
    return isinstance(error, Diverged) or _NOT_IMPLEMENTED in str(error)
