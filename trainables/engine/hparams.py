"""The hyperparameters of the training loop, which every trainable that uses it takes. No torch here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, get_args

from trainables.engine.choices import BatchSize, ScheduleName, milestones

SCHEDULES: tuple[str, ...] = get_args(ScheduleName)
WITH_FLOOR = ("cosine", "linear", "one_cycle")  # schedules that end at min_lr_ratio
UNCHOSEN_BATCH_SIZE = 32  # what "auto" is where nothing was measured
NO_EFFECT_ANYTIME = ("schedule", "ema_decay")  # there the rate stays, and an average of its own is scored

Rule = tuple[str, Callable[[Any], bool]]


@dataclass(frozen=True, kw_only=True)
class TrainingHparams:
    """What may be set or searched for in any training: inherit it and add the model's own.

    A subclass gives other defaults by naming the field again, and other rules by `problems`.

    Attributes:
        HAS_LAYER_ORDER: Of a subclass: whether its models may say in what order their layers come, as those
            of timm do. Where they cannot, layer_decay must be 1.
        optimizer: A name timm knows, checked at start; "sgd" is Nesterov's, "momentum" plain.
        lr: Of the head, before any schedule.
        sgd_lr: Takes the place of lr where the optimiser is "sgd" or "momentum", whose good rates are some 30
            times those of AdamW: a space with both gives each a range, under a condition. Null is lr.
        momentum: Of optimisers that have one, such as "sgd".
        weight_decay: Of matrices and filters.
        decay_norms_and_biases: weight_decay is of every parameter, as papers before about 2018 have it.
        batch_size: Examples per forward pass, as long as memory holds them. "auto" is what memory holds at
            the largest resolution, which a run chooses once for each model (`engine.batch_by_memory`).
        schedule: "cosine", "linear", "step", "plateau", "exponential", "one_cycle" or "none". Of no effect
            with the horizon "anytime", where the rate stays up after warm-up.
        decay_milestones: Where "step" falls: rising epochs, or fractions of the training where below 1.
        decay_rate: What the rate is multiplied by at each milestone, on each plateau, and by "exponential"
            after each epoch; null is the usual 0.1, and 0.7 of "exponential".
        min_lr_ratio: "cosine", "linear" and "one_cycle" end at this times lr.
        warmup_epochs: The rate rises from 0 over these first.
        warmup_fraction: The same as a fraction of the training; one of the two is 0.
        backbone_lr_ratio: The backbone learns at this times lr, the new head at lr.
        unified_lr_epoch: From this many epochs on the backbone learns at lr as well; below 1 a fraction
            of the training; null is never.
        layer_decay: Each layer of the backbone learns at this times the rate of the one above it.
        freeze_fraction: Fraction of the backbone, from the input side, that keeps its weights.
        unfreeze_epoch: What is frozen keeps its weights for this many epochs and then learns too; null is for
            ever.
        unfreeze_lr_ratio: Once it learns too, all rates are times this.
        max_grad_norm: Largest norm of all gradients together; null does not clip.
        grad_accum_steps: Batches per optimiser step.
        effective_batch_size: Examples per optimiser step, in equal batches of batch_size at most: what
            decides the learning where batch_size is "auto". Null is batch_size times grad_accum_steps.
        ema_decay: Score an exponential average of the weights, of this decay; null scores them as
            they are. Of no effect with the horizon "anytime", which has an average of its own.
        patience: Epochs without a gain after which the training ends with its best weights; counted
            at the largest budget only. (The space's `search.patience` stops a trial at any.)
        max_steps: Optimiser steps after which the training ends; null is no limit.
        eval_every: Epochs from one validation to the next; a rung's last epoch is scored anyway.
        fp32_retry: Train an epoch that diverged in mixed precision once more, and the rest, in fp32.
            The state before each epoch is kept on the device for it.
        tf32: Let GPUs compute fp32 matrix products in TF32.
        compile: Compile the model with torch.compile: for long trainings on a GPU. On two busy cores a
            model of two layers took a minute, and each new size of a batch or an image takes it again.
    """

    HAS_LAYER_ORDER: ClassVar[bool] = True

    optimizer: str = "sgd"
    lr: float = 0.1
    sgd_lr: float | None = None
    momentum: float = 0.9
    weight_decay: float = 1e-4
    decay_norms_and_biases: bool = False
    batch_size: BatchSize = 128
    schedule: ScheduleName = "cosine"
    decay_milestones: str = "0.5, 0.75"
    decay_rate: float | None = None
    min_lr_ratio: float = 0.0
    warmup_epochs: float = 0.0
    warmup_fraction: float = 0.0
    backbone_lr_ratio: float = 1.0
    unified_lr_epoch: float | None = None
    layer_decay: float = 1.0
    freeze_fraction: float = 0.0
    unfreeze_epoch: int | None = None
    unfreeze_lr_ratio: float = 0.1
    max_grad_norm: float | None = None
    grad_accum_steps: int = 1
    effective_batch_size: int | None = None
    ema_decay: float | None = None
    patience: int | None = None
    max_steps: int | None = None
    eval_every: int = 1
    fp32_retry: bool = False
    tf32: bool = False
    compile: bool = False

    @property
    def base_lr(self) -> float:
        """The rate that the head learns at, before any schedule."""
        is_sgd = self.optimizer in ("sgd", "momentum")
        return self.sgd_lr if is_sgd and self.sgd_lr is not None else self.lr

    @property
    def step_size(self) -> int:
        """Examples per optimiser step."""
        return self.effective_batch_size or self._largest_batch * self.grad_accum_steps

    @property
    def examples_at_once(self) -> int:
        """Examples per forward pass: those of a step in equal batches."""
        return -(-self.step_size // -(-self.step_size // self._largest_batch))

    @property
    def _largest_batch(self) -> int:
        return UNCHOSEN_BATCH_SIZE if self.batch_size == "auto" else self.batch_size

    def __post_init__(self) -> None:
        if problems := self.problems():
            raise ValueError("; ".join(problems))

    def problems(self) -> list[str]:
        """Everything in these values that makes no sense, in words."""
        problems = broken_rules(self, _RULES)
        problems += self._schedule_problems() + self._batch_problems()
        if self.layer_decay < 1 and not self.HAS_LAYER_ORDER:
            problems.append(
                f"layer_decay below 1 needs a classifier of timm; set it to 1, got {self.layer_decay}"
            )
        if self.unfreeze_epoch is not None and not self.freeze_fraction:
            problems.append("unfreeze_epoch needs something frozen; set freeze_fraction above 0")
        return problems

    def _batch_problems(self) -> list[str]:
        """What does not go together in the examples of a step."""
        effective, size, problems = self.effective_batch_size, self.batch_size, []
        if effective is not None and self.grad_accum_steps > 1:
            problems.append("give effective_batch_size or grad_accum_steps, and leave the other out")
        if effective is not None and size != "auto" and size > effective:
            problems.append(
                f"effective_batch_size must be batch_size or more, got {effective} with batch_size {size}"
            )
        return problems

    def _schedule_problems(self) -> list[str]:
        """What does not go together in the learning rate's course."""
        problems = []
        if self.schedule == "one_cycle" and (self.warmup_epochs or self.warmup_fraction):
            name = "warmup_epochs" if self.warmup_epochs else "warmup_fraction"
            problems.append(f"one_cycle rises by itself; set {name} to 0, got {getattr(self, name)}")
        elif self.warmup_epochs and self.warmup_fraction:
            problems.append("give warmup_epochs or warmup_fraction, and leave the other at 0")
        if self.min_lr_ratio and self.schedule not in WITH_FLOOR:
            problems.append(
                f"min_lr_ratio is for {', '.join(WITH_FLOOR)}; set it to 0 with {self.schedule}, "
                f"got {self.min_lr_ratio}"
            )
        return problems


def broken_rules(hparams: Any, rules: Mapping[str, Rule]) -> list[str]:
    """What the rules say of values that break them, each rule of one field."""
    return [
        f"{name} must be {allowed}, got {value!r}"
        for name, (allowed, fits) in rules.items()
        if not fits(value := getattr(hparams, name))
    ]


def _are_milestones(text: str) -> bool:
    try:
        return bool(milestones(text, epochs=1000))
    except ValueError:
        return False


def _or_null(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or fits(value)


_RULES: dict[str, Rule] = {
    "lr": ("above 0", lambda lr: lr > 0),
    "sgd_lr": ("above 0 or null", _or_null(lambda lr: lr > 0)),
    "momentum": ("in [0, 1)", lambda momentum: 0 <= momentum < 1),
    "weight_decay": ("0 or more", lambda decay: decay >= 0),
    "batch_size": ("1 or more, or auto", lambda size: size == "auto" or size >= 1),
    "schedule": (f"one of {', '.join(SCHEDULES)}", lambda name: name in SCHEDULES),
    "decay_milestones": ('rising numbers with commas between, such as "0.5, 0.75"', _are_milestones),
    "decay_rate": ("in (0, 1], or null", _or_null(lambda rate: 0 < rate <= 1)),
    "min_lr_ratio": ("in [0, 1)", lambda ratio: 0 <= ratio < 1),
    "warmup_epochs": ("0 or more", lambda epochs: epochs >= 0),
    "warmup_fraction": ("in [0, 1)", lambda fraction: 0 <= fraction < 1),
    "backbone_lr_ratio": ("above 0", lambda ratio: ratio > 0),
    "unified_lr_epoch": ("0 or more, or null", _or_null(lambda epochs: epochs >= 0)),
    "layer_decay": ("in (0, 1]", lambda decay: 0 < decay <= 1),
    "freeze_fraction": ("in [0, 1]", lambda fraction: 0 <= fraction <= 1),
    "unfreeze_epoch": ("1 or more, or null", _or_null(lambda epochs: epochs >= 1)),
    "unfreeze_lr_ratio": ("above 0", lambda ratio: ratio > 0),
    "max_grad_norm": ("above 0 or null", _or_null(lambda norm: norm > 0)),
    "grad_accum_steps": ("1 or more", lambda batches: batches >= 1),
    "effective_batch_size": ("1 or more, or null", _or_null(lambda size: size >= 1)),
    "ema_decay": ("in (0, 1), or null", _or_null(lambda decay: 0 < decay < 1)),
    "patience": ("1 or more, or null", _or_null(lambda epochs: epochs >= 1)),
    "max_steps": ("1 or more, or null", _or_null(lambda steps: steps >= 1)),
    "eval_every": ("1 or more", lambda epochs: epochs >= 1),
}
