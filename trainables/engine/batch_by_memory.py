"""Choosing batch_size "auto": the largest power of two whose training step fits into memory.

On a GPU steps are measured, each size in a training of its own: two steps and a scored batch, by torch's own
peak. On a CPU nothing is measured: the memory of a Python process differs from machine to machine, and a
search that depended on it could not be repeated elsewhere. There the size follows from what a step keeps for
its backward pass, which is counted on two examples and the same everywhere; on a GPU this count is the first
guess.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from trainables.core.contract import Budget, Training, TrainingContext
from trainables.core.gpu import release_memory
from trainables.core.optional import probed_memory
from trainables.engine.memory import is_out_of_memory

Start = Callable[[Any, Budget, TrainingContext], Training]

SHARE = 0.85  # of the memory: the rest is for fragmentation and later growth, such as averaged weights
LARGEST, SMALLEST = 1024, 2  # beyond the first, steps get no faster; BatchNorm refuses a single example
CPU_MIB = 4096.0  # what a trial on a CPU may take, whatever the machine has
_COPIES = 4  # of the weights: themselves, their gradients, and two in AdamW's state
_MIB = 2**20
# Hyperparameters that save memory in some trials, at values that save none; and random weights, as no file
# is needed for the count.
_WORST = {"freeze_fraction": 0.0, "unfreeze_epoch": None, "weights": "none"}
_PLAIN = {"effective_batch_size": None, "grad_accum_steps": 1}


@dataclass(frozen=True, kw_only=True)
class StepMemory:
    """Memory that a training step keeps until its backward pass has ended.

    Attributes:
        weights_mib: Memory of the model, its gradients and the optimiser's state, whatever the batch.
        example_mib: Memory of each example.
        num_examples: Number of examples in an epoch at the budget that was examined.
    """

    weights_mib: float
    example_mib: float
    num_examples: int

    def mib(self, size: int) -> float:
        """Memory of a step on `size` examples at once."""
        return self.weights_mib + size * self.example_mib


class Memory(Protocol):
    """The memory of a device, and how much of it steps take."""

    whole_mib: float
    words: str  # what `whole_mib` is, for a sentence

    def used_mib(self, size: int) -> float:
        """Memory that a training step on `size` examples takes; infinite if there is not that much."""
        ...


def choose_batch_size(
    start: Start, hparams: Any, budgets: Sequence[Budget], context: TrainingContext, gpu_share: float = 1.0
) -> str:
    """Choose the batch size for "auto" in `hparams`, with the reason, as "64: ...".

    The largest resolution of the budgets decides, as a trial has one batch size at all rungs; frozen layers
    count as trained, and weights as random.

    Args:
        start: The trainable's `start`, which returns what `assembly.assemble` made.
        budgets: Budgets of the rungs, the largest last.
        gpu_share: Fraction of a GPU's memory that the trial has.
    """
    names = {field.name for field in dataclasses.fields(hparams)}
    plain = {name: value for name, value in {**_WORST, **_PLAIN}.items() if name in names}
    hparams = replace(hparams, **plain, batch_size=SMALLEST)
    counted = [_counted(start, hparams, budget, context) for budget in (budgets[0], budgets[-1])]
    most = max(SMALLEST, _power_of_two(min(LARGEST, *(each.num_examples for each in counted))))
    memory: Memory
    if context.device.startswith("cuda"):
        memory = _Gpu(start, hparams, budgets[-1], context, gpu_share)
    else:
        memory = _Counted(counted[-1], CPU_MIB, "that a trial on a CPU may take")
    guess = _guess(counted[-1], SHARE * memory.whole_mib, most)
    return chosen(memory, guess=guess, most=most, num_examples=counted[0].num_examples)


def chosen(memory: Memory, *, guess: int, most: int, num_examples: int) -> str:
    """The largest power of two up to `most` whose step stays below 85 % of the memory, with the reason.

    Args:
        guess: The size to try first; a power of two up to `most`.
        num_examples: Number of examples in an epoch of the lowest rung, which no batch exceeds.
    """
    limit_mib, used_mib = SHARE * memory.whole_mib, {}
    size = guess
    while True:
        used_mib[size] = memory.used_mib(size)
        step = 2 if used_mib[size] <= limit_mib else 0.5
        following = int(size * step)
        if following in used_mib or not SMALLEST <= following <= most:
            break
        size = following
    fitting = [each for each, mib in used_mib.items() if mib <= limit_mib]
    if not fitting:
        return f"{SMALLEST}: even {SMALLEST} examples take more than {limit_mib:.0f} MiB, {_of(memory)}"
    best = max(fitting)
    text = f"{best}: a step takes {used_mib[best]:.0f} MiB of {memory.whole_mib:.0f} MiB {memory.words}"
    if best == LARGEST:
        return f"{text}; no more are taken"
    if best == most:
        return f"{text}; the first rung has {num_examples} examples"
    return f"{text}; {2 * best} would take {_amount(used_mib[2 * best])}, over {SHARE:.0%}"


def _of(memory: Memory) -> str:
    return f"{SHARE:.0%} of the {memory.whole_mib:.0f} MiB {memory.words}"


def _amount(mib: float) -> str:
    return f"{mib:.0f} MiB" if mib < float("inf") else "more than there is"


@dataclass
class _Counted:
    """A memory of a given size, with steps as counted."""

    step: StepMemory
    whole_mib: float
    words: str

    def used_mib(self, size: int) -> float:
        return self.step.mib(size)


class _Gpu:
    """The GPU that torch computes on by default."""

    words = "of the GPU's memory"

    def __init__(
        self, start: Start, hparams: Any, budget: Budget, context: TrainingContext, share: float
    ) -> None:
        self.whole_mib = min(1.0, share) * torch.cuda.mem_get_info()[1] / _MIB
        self._start, self._hparams, self._budget, self._context = start, hparams, budget, context

    def used_mib(self, size: int) -> float:
        context = replace(self._context, folder=None)
        try:  # the training is bound to no name: it must be gone when its memory is released
            started = partial(self._start, replace(self._hparams, batch_size=size), self._budget, context)
            found = probed_memory(started(), self._budget)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            found = None
        release_memory()
        # A batch that had to be halved was too large; so was one that could not be halved.
        return float("inf") if found is None or "memory" in found.notes else found.peak_mib


def _counted(start: Start, hparams: Any, budget: Budget, context: TrainingContext) -> StepMemory:
    """Count what a step of the training keeps, on the meta device if all of its parts work there."""
    context = replace(context, precision="fp32", folder=None, is_rehearsal=True)
    try:
        return _step_memory(start, hparams, budget, replace(context, device="meta"))
    except Exception:  # as in a rehearsal: some operators cannot run on meta tensors, so the CPU decides
        return _step_memory(start, hparams, budget, replace(context, device="cpu"))


def _step_memory(start: Start, hparams: Any, budget: Budget, context: TrainingContext) -> StepMemory:
    training: Any = start(hparams, budget, context)
    with kept_for_backward(training.model) as kept:
        sizes = training.rehearse(budget)
    weights = sum(each.numel() * each.element_size() for each in training.model.parameters())
    return StepMemory(
        weights_mib=_COPIES * weights / _MIB,
        example_mib=sum(kept.values()) / sum(sizes) / _MIB,
        num_examples=training.num_examples(budget),
    )


@contextmanager
def kept_for_backward(model: nn.Module) -> Iterator[dict[int, int]]:
    """Count the bytes of each storage, weights aside, that forward passes keep for the backward pass."""
    weights = {_key(parameter) for parameter in model.parameters()}
    kept: dict[int, int] = {}
    storages = []  # held, so that no other storage takes the address of one that was counted

    def count(tensor: Tensor) -> Tensor:
        if (key := _key(tensor)) not in weights and key not in kept:
            storages.append(tensor.untyped_storage())
            kept[key] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        yield kept


def _key(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)  # works for meta tensors too, which have no address


def _guess(step: StepMemory, limit_mib: float, most: int) -> int:
    fits = (limit_mib - step.weights_mib) / max(step.example_mib, 1e-9)
    return min(most, max(SMALLEST, _power_of_two(int(min(fits, LARGEST)))))


def _power_of_two(number: int) -> int:
    """The largest power of two up to `number`; 0 below 1."""
    return 1 << number.bit_length() - 1 if number > 0 else 0
