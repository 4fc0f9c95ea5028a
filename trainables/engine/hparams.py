"""The hyperparameters of the training loop, which every trainable that uses it has. No torch here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, get_args

from trainables.engine.choices import BatchSize, ScheduleName, milestones

SCHEDULES: tuple[str, ...] = get_args(ScheduleName)
WITH_FLOOR = ("cosine", "linear", "one_cycle")  # schedules that end at min_lr_ratio
UNCHOSEN_BATCH_SIZE = 32  # what "auto" means if nothing was measured
NO_EFFECT_ANYTIME = ("schedule", "ema_decay")  # there the rate never falls, and another average is scored

Rule = tuple[str, Callable[[Any], bool]]


@dataclass(frozen=True, kw_only=True)
class TrainingHparams:
    """Hyperparameters that can be set or searched in any training: inherit it and add the model's own.

    A subclass changes a default by declaring the field again, and the rules by overriding `problems`.

    Attributes:
        HAS_LAYER_ORDER: Whether models of a subclass may know the order of their layers, as those of timm
            do. If not, layer_decay must be 1.
        optimizer: An optimiser of timm by name, checked at start; "sgd" is Nesterov's, "momentum" plain.
        lr: Learning rate of the head, before any schedule.
        sgd_lr: Replaces lr if the optimiser is "sgd" or "momentum", whose good rates are some 30 times those
            of AdamW: a space with both gives each its own range, under a condition. Null means lr.
        momentum: Momentum of optimisers that have one, such as "sgd".
        weight_decay: Weight decay of matrices and filters, apart from those that a model of timm exempts
            (position embeddings and the like).
        decay_norms_and_biases: Apply weight_decay to every parameter, as papers before about 2018 do.
        batch_size: Examples per forward pass, as long as they fit into memory. "auto" is the largest power of
            two that fits at the largest resolution, chosen once per model of a run
            (`engine.batch_by_memory`).
        schedule: "cosine", "linear", "step", "plateau", "exponential", "one_cycle" or "none". Has no effect
            with the horizon "anytime", where the rate stays constant after warm-up.
        decay_milestones: Where "step" falls: increasing epochs, or fractions of the training if below 1.
        decay_rate: Factor on the rate at each milestone, on each plateau, or after each epoch with
            "exponential"; null means 0.7 for "exponential" and the usual 0.1 for the others.
        min_lr_ratio: Final rate of "cosine", "linear" and "one_cycle", as a fraction of lr.
        warmup_epochs: Epochs over which the rate first rises from 0.
        warmup_fraction: The same as a fraction of the training; one of the two is 0.
        backbone_lr_ratio: Rate of the backbone as a multiple of lr; the new head learns at lr.
        unified_lr_epoch: Epoch from which the backbone learns at lr too; below 1, a fraction of the training;
            null means never.
        layer_decay: Each layer of the backbone learns at this times the rate of the one above it.
        freeze_fraction: Fraction of the backbone, from the input side, that keeps its weights.
        unfreeze_epoch: Number of epochs after which the frozen part learns too; null means never.
        unfreeze_lr_ratio: Factor on all rates once the frozen part learns too.
        max_grad_norm: Maximum norm of all gradients together; null does not clip.
        grad_accum_steps: Batches per optimiser step.
        effective_batch_size: Examples per optimiser step, in equal batches of at most batch_size: what
            matters for learning if batch_size is "auto". Null means batch_size times grad_accum_steps.
        ema_decay: Score an exponential average of the weights with this decay; null scores the weights
            themselves. Has no effect with the horizon "anytime", which has an average of its own.
        patience: Epochs without improvement after which the training ends with its best weights; counted
            at the largest budget only. (The space's `search.patience` stops a trial at any budget.)
        max_steps: Optimiser steps after which the training ends; null means no limit.
        eval_every: Epochs from one validation to the next; a rung's last epoch is always scored.
        fp32_retry: Train an epoch that diverged in mixed precision once more, and all later ones, in fp32.
            This keeps the state before each epoch on the device.
        tf32: Let GPUs compute fp32 matrix products in TF32.
        compile: Compile the model with torch.compile, for long trainings on a GPU. On two busy cores a
            model of two layers took a minute, and each new batch or image size takes that long again.
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
        """Learning rate of the head, before any schedule."""
        is_sgd = self.optimizer in ("sgd", "momentum")
        return self.sgd_lr if is_sgd and self.sgd_lr is not None else self.lr

    @property
    def step_size(self) -> int:
        """Examples per optimiser step."""
        return self.effective_batch_size or self._largest_batch * self.grad_accum_steps

    @property
    def examples_at_once(self) -> int:
        """Examples per forward pass, which split a step into equal batches."""
        return -(-self.step_size // -(-self.step_size // self._largest_batch))

    @property
    def _largest_batch(self) -> int:
        return UNCHOSEN_BATCH_SIZE if self.batch_size == "auto" else self.batch_size

    def __post_init__(self) -> None:
        if problems := self.problems():
            raise ValueError("; ".join(problems))

    def problems(self) -> list[str]:
        """Everything wrong with these values, in words."""
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
        """Contradictions between the settings for the examples of a step."""
        effective, size, problems = self.effective_batch_size, self.batch_size, []
        if effective is not None and self.grad_accum_steps > 1:
            problems.append("give effective_batch_size or grad_accum_steps, and leave the other out")
        if effective is not None and size != "auto" and size > effective:
            problems.append(
                f"effective_batch_size must be batch_size or more, got {effective} with batch_size {size}"
            )
        return problems

    def _schedule_problems(self) -> list[str]:
        """Contradictions between the settings of the learning-rate schedule."""
        problems = []
        if self.schedule == "one_cycle" and (self.warmup_epochs or self.warmup_fraction):
            name = "warmup_epochs" if self.warmup_epochs else "warmup_fraction"
            problems.append(f"one_cycle has its own warm-up; set {name} to 0, got {getattr(self, name)}")
        elif self.warmup_epochs and self.warmup_fraction:
            problems.append("give warmup_epochs or warmup_fraction, and leave the other at 0")
        if self.min_lr_ratio and self.schedule not in WITH_FLOOR:
            problems.append(
                f"min_lr_ratio is for {', '.join(WITH_FLOOR)}; set it to 0 with {self.schedule}, "
                f"got {self.min_lr_ratio}"
            )
        return problems


def broken_rules(hparams: Any, rules: Mapping[str, Rule]) -> list[str]:
    """Messages for the values that break a rule; each rule is about one field."""
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
