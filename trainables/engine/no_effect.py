"""Hyperparameters that were set but can have no effect, with the reason."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import timm.optim
import torch

from trainables.core.contract import Budget, TrainingContext
from trainables.engine.hparams import TrainingHparams
from trainables.engine.precision import chosen_format

_DECOUPLED = {"adamw", "nadamw", "lion"}  # they shrink a weight by lr x weight_decay of itself
_MIN_SHRINKAGE = 3e-8  # half the spacing of fp32 numbers: below it w - shrinkage * w is w


def without_effect(hparams: TrainingHparams, budget: Budget, context: TrainingContext) -> dict[str, str]:
    """Reasons why hyperparameters that differ from their defaults have no effect.

    The keys are `no effect of NAME`, for the notes of a trial's row.
    """
    defaults = {field.name: field.default for field in dataclasses.fields(hparams)}
    reasons = dict(_reasons(hparams, budget, context))
    turned = {name for name in reasons if getattr(hparams, name) != defaults[name]}
    return {f"no effect of {name}": reasons[name] for name in sorted(turned)}


def _reasons(hparams: TrainingHparams, budget: Budget, context: TrainingContext) -> Iterator[tuple[str, str]]:
    """(hyperparameter, reason) for each that has no effect with these values, whether it was set or not."""
    yield from _optimizer_reasons(hparams)
    yield from _schedule_reasons(hparams)
    is_all_frozen = hparams.freeze_fraction == 1 and hparams.unfreeze_epoch is None
    if is_all_frozen:
        yield "backbone_lr_ratio", "the whole backbone is frozen"
        yield "layer_decay", "the whole backbone is frozen"
    if hparams.backbone_lr_ratio == 1:
        yield "unified_lr_epoch", "backbone_lr_ratio is 1, so all rates are equal"
    if hparams.unfreeze_epoch is None:
        yield "unfreeze_lr_ratio", "unfreeze_epoch is null, so nothing thaws"
    elif hparams.unfreeze_epoch >= budget.epochs:
        yield "unfreeze_epoch", f"there are {budget.epochs} epochs, so nothing thaws"
    if hparams.unified_lr_epoch is not None and hparams.unified_lr_epoch >= max(1, budget.epochs):
        yield "unified_lr_epoch", f"there are {budget.epochs} epochs, so rates never become equal"
    if torch.device(context.device).type == "cpu":
        yield "tf32", "a CPU has no TF32"
    if context.num_processes > 1:
        yield "compile", "a model that exchanges statistics between processes is not compiled"
    if chosen_format(context)[0] == "fp32":
        yield "fp32_retry", "the precision is fp32 from the start"


def _schedule_reasons(hparams: TrainingHparams) -> Iterator[tuple[str, str]]:
    """Reasons for hyperparameters that need certain schedules or a weight decay."""
    if hparams.schedule != "step":
        yield "decay_milestones", f"the schedule {hparams.schedule} has no milestones"
    if hparams.schedule not in ("step", "exponential", "plateau"):
        yield "decay_rate", f"the schedule {hparams.schedule} does not fall in steps"
    if hparams.weight_decay == 0:
        yield "decay_norms_and_biases", "weight_decay is 0"


def _optimizer_reasons(hparams: TrainingHparams) -> Iterator[tuple[str, str]]:
    """Reasons for hyperparameters that depend on the optimiser."""
    name = hparams.optimizer
    if hparams.base_lr != hparams.lr:
        yield "lr", f"{name} learns at sgd_lr"
    elif hparams.sgd_lr is not None and hparams.base_lr != hparams.sgd_lr:
        yield "sgd_lr", f"{name} learns at lr"
    if not timm.optim.get_optimizer_info(name).has_momentum:
        yield "momentum", f"{name} has no momentum"
    # With lr 1e-4 and weight_decay 1e-4 a step multiplies weights by 1 - 1e-8, which fp32 rounds to 1. A
    # search over such values would rank noise.
    shrinkage = hparams.lr * hparams.weight_decay
    if name in _DECOUPLED and 0 < shrinkage < _MIN_SHRINKAGE:
        yield (
            "weight_decay",
            f"lr x weight_decay is {shrinkage:.1g}, under 3e-08: it changes no fp32 weight",
        )
