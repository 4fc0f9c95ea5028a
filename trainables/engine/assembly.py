"""From hyperparameters to a training: the parts that every trainable needs, chosen and put together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

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
    """A training of `model` at epoch 0, whose schedule spans `budget.epochs`.

    With the horizon "anytime" the rate stays up, and averaged weights are scored. A training that is to
    overfit is scored after every epoch, and never stops early.

    Args:
        model: On the device already.
        head: The part of `model` that learns at lr and is never frozen.
        metric: The value of `run_epoch` that ranks epochs, and whether more or less is better.
        notes: Choices of the trainable's own.
        late_notes: Those that are made as it trains; asked for after each epoch.
        details: What to know of the test set beyond its scores.
        portable: What the model is when it is used without its training; its weights and number format are
            filled in at the end.
    """
    # A switch of the whole process, so it is set for each training: a worker runs one trial after the other.
    torch.set_float32_matmul_precision("high" if hparams.tf32 else "highest")
    # Before the optimiser is built, which takes only what is trainable then.
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
        model.compile()  # after the copy for the average, which is scored as it is
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
    """The averaged weights that are scored, if any: of "anytime" its own, else as `ema_decay` says."""
    if context.horizon == "anytime":
        return WeightAverage(model)
    return None if hparams.ema_decay is None else WeightAverage(model, decay=hparams.ema_decay)


def _stopping(hparams: TrainingHparams, context: TrainingContext, metric: str, mode: Mode) -> Stopping:
    """When the training is done before its epochs are; what is to overfit never is."""
    if context.is_overfit:
        return Stopping(metric=metric, mode=mode)
    return Stopping(metric=metric, mode=mode, patience=hparams.patience, max_steps=hparams.max_steps)


def _schedule(
    hparams: TrainingHparams, budget: Budget, context: TrainingContext, optimizer: torch.optim.Optimizer
) -> Schedule:
    """The learning rate over `budget.epochs`, or a constant one where no end is known."""
    thaw = hparams.unfreeze_epoch
    # To overfit takes a hundred epochs of a step each, after which seven tenths an epoch would be 1e-16.
    stays = context.horizon == "anytime" or (context.is_overfit and hparams.schedule == "exponential")
    return Schedule(
        optimizer,
        name="none" if stays else hparams.schedule,
        epochs=budget.epochs,
        # A warm-up given in trainings is one of epochs here; a rung of its own horizon has its own.
        warmup_epochs=hparams.warmup_epochs or hparams.warmup_fraction * budget.epochs,
        decay_milestones=hparams.decay_milestones,
        decay_rate=hparams.decay_rate,
        min_lr_ratio=hparams.min_lr_ratio,
        unified_lr_epoch=hparams.unified_lr_epoch,
        falls={} if thaw is None else {thaw: hparams.unfreeze_lr_ratio},
    )


def _notes(hparams: TrainingHparams, context: TrainingContext) -> dict[str, str]:
    """What the choices of this module come to, for the trial's row."""
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
