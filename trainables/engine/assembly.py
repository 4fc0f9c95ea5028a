"""Assembling a training from its hyperparameters: the parts that every trainable needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from trainables.core.contract import Budget, Mode, TrainingContext
from trainables.core.model_folder import PortableModel
from trainables.core.progress import ProgressWriter
from trainables.engine.averaging import WeightAverage
from trainables.engine.freezing import Freezing, freeze
from trainables.engine.hparams import TrainingHparams
from trainables.engine.no_effect import without_effect
from trainables.engine.optimizer import build_optimizer, parameter_groups
from trainables.engine.precision import MixedPrecision
from trainables.engine.protocols import B, Batches, Details, Loss, Metrics
from trainables.engine.schedule import Schedule
from trainables.engine.step import Stepper, outputs_of_images
from trainables.engine.stopping import Stopping
from trainables.engine.supervised import SupervisedTraining

_ENOUGH_CHANNELS = 16  # with 16, 24 and 48 input channels none of 81 shapes crashed, with 8 half did


def assemble(
    hparams: TrainingHparams,
    budget: Budget,
    context: TrainingContext,
    *,
    model: nn.Module,
    head: nn.Module,
    batches: Batches[B],
    loss: Loss[B],
    metrics: Metrics[B],
    metric: str,
    mode: Mode,
    forward: Callable[[nn.Module, B], Any] = outputs_of_images,
    notes: Mapping[str, str] | None = None,
    late_notes: Callable[[], Mapping[str, str]] = dict,
    details: Details[B] | None = None,
    portable: PortableModel | None = None,
) -> SupervisedTraining[B]:
    """Assemble a training of `model` at epoch 0, whose schedule spans `budget.epochs`.

    With the horizon "anytime" the rate never falls, and averaged weights are scored. A training meant
    to overfit is scored after every epoch and never stops early.

    Args:
        model: The model, already on the device.
        head: The part of `model` that learns at lr and is never frozen.
        metric: The value of `run_epoch` that ranks epochs.
        mode: Whether more or less of it is better.
        notes: The trainable's own choices, with their reasons.
        late_notes: Returns the choices made during training; called after each epoch.
        details: Collects details of the test set beyond its scores.
        portable: The model for use without its training; its weights and number format are filled in at
            the end.
    """
    # A process-wide setting, so it is set for each training: a worker runs one trial after another.
    torch.set_float32_matmul_precision("high" if hparams.tf32 else "highest")
    avoid_heap_corruption(model)
    # Before the optimiser is built: it takes only the parameters that are trainable then.
    frozen = freeze(model, head, hparams.freeze_fraction)
    rates: dict[str, Any] = {
        "lr": hparams.base_lr,
        "weight_decay": hparams.weight_decay,
        "backbone_lr_ratio": hparams.backbone_lr_ratio,
        "layer_decay": hparams.layer_decay,
        "decay_norms_and_biases": hparams.decay_norms_and_biases,
    }
    optimizer = build_optimizer(model, head, name=hparams.optimizer, momentum=hparams.momentum, **rates)
    average = _average(hparams, context, model)
    if hparams.compile and context.num_processes == 1:
        # In place, unlike `torch.compile(model)`: names of parameters, and so checkpoints, stay the same.
        model.compile()  # after the copy for the average, which stays uncompiled
    return SupervisedTraining(
        model=model,
        optimizer=optimizer,
        schedule=_schedule(hparams, budget, context, optimizer),
        batches=batches,
        stepper=Stepper(
            model,
            optimizer,
            loss,
            MixedPrecision.of(context),
            forward=forward,
            batch_size=hparams.examples_at_once,
            step_size=hparams.step_size,
            max_grad_norm=hparams.max_grad_norm,
        ),
        metrics=metrics,
        stopping=_stopping(hparams, context, metric, mode),
        freezing=Freezing(
            frozen,
            num_epochs=hparams.unfreeze_epoch,
            groups=lambda: parameter_groups(model, head, **rates),
        ),
        average=average,
        eval_every=1 if context.is_overfit else hparams.eval_every,
        has_retry=hparams.fp32_retry,
        epochs=budget.epochs,
        notes={**(notes or {}), **_notes(hparams, context), **without_effect(hparams, budget, context)},
        late_notes=late_notes,
        details=details,
        portable=portable,
        progress=ProgressWriter(context.progress_file),
    )


def _average(hparams: TrainingHparams, context: TrainingContext, model: nn.Module) -> WeightAverage | None:
    """Averaged weights to score, if any: without a decay for "anytime", else with `ema_decay`."""
    if context.horizon == "anytime":
        return WeightAverage(model)
    return None if hparams.ema_decay is None else WeightAverage(model, decay=hparams.ema_decay)


def _stopping(hparams: TrainingHparams, context: TrainingContext, metric: str, mode: Mode) -> Stopping:
    """The rule that ends the training early; one that is meant to overfit never ends early."""
    if context.is_overfit:
        return Stopping(metric=metric, mode=mode)
    return Stopping(metric=metric, mode=mode, patience=hparams.patience, max_steps=hparams.max_steps)


def _schedule(
    hparams: TrainingHparams, budget: Budget, context: TrainingContext, optimizer: torch.optim.Optimizer
) -> Schedule:
    """The schedule of the learning rate over `budget.epochs`, constant if no end is known."""
    thaw = hparams.unfreeze_epoch
    # Overfitting takes a hundred epochs of one step each, after which 0.7 per epoch would come to 1e-16.
    stays = context.horizon == "anytime" or (context.is_overfit and hparams.schedule == "exponential")
    return Schedule(
        optimizer,
        name="none" if stays else hparams.schedule,
        epochs=budget.epochs,
        # A fraction is of `budget.epochs`: with the horizon "rung" each rung has its own warm-up.
        warmup_epochs=hparams.warmup_epochs or hparams.warmup_fraction * budget.epochs,
        decay_milestones=hparams.decay_milestones,
        decay_rate=hparams.decay_rate,
        min_lr_ratio=hparams.min_lr_ratio,
        unified_lr_epoch=hparams.unified_lr_epoch,
        falls={} if thaw is None else {thaw: hparams.unfreeze_lr_ratio},
    )


def _notes(hparams: TrainingHparams, context: TrainingContext) -> dict[str, str]:
    """Notes on the choices made in this module, for the trial's row."""
    notes = {}
    if context.horizon == "anytime":
        notes["horizon"] = "anytime: a constant rate; averaged weights are scored"
    if hparams.batch_size == "auto":
        notes["batch_size"] = f"{hparams.examples_at_once}: nothing was measured for batch_size auto"
    if hparams.step_size > hparams.examples_at_once:
        notes["grad_accum_steps"] = (
            f"{hparams.step_size} examples a step, {hparams.examples_at_once} at a time"
        )
    return notes


def avoid_heap_corruption(model: nn.Module) -> None:
    """Let strided 1 x 1 convolutions of few channels compute with channels first on a CPU.

    With channels last their backward pass writes beyond its buffers (torch 2.15, AVX-512: 3 to 64 channels,
    stride 2, 96 px), and the process ends with "free(): invalid size". The first layers of RepVGG, MobileOne
    and FastViT are such convolutions.
    """
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d) and _is_at_risk(layer):
            # If either operand is channels last, torch computes so. For a filter of 1 x 1 its strides decide,
            # which `contiguous` leaves as they are.
            layer.weight.data = layer.weight.data.clone(memory_format=torch.contiguous_format)
            layer.register_forward_pre_hook(_channels_first)


def _is_at_risk(layer: nn.Conv2d) -> bool:
    return layer.in_channels < _ENOUGH_CHANNELS and layer.kernel_size == (1, 1) and layer.stride != (1, 1)


def _channels_first(layer: nn.Module, images: tuple[Tensor]) -> tuple[Tensor]:
    return (images[0].contiguous(),) if images[0].device.type == "cpu" else images
