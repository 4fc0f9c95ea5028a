"""Check whether a training can overfit a handful of examples. One that cannot has a bug."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from trainables.core.contract import Budget, OverfitTarget, Trainable, TrainingContext

# What to check, the most frequent fault first.
CHECKLIST = (
    "labels: do they belong to their examples after every shuffle, split and crop? print ten pairs",
    "boxes and targets: in the units, order and scale that the loss takes?",
    "learning rate: far too small and nothing moves, far too large and the loss jumps; try 10x either way",
    "loss: of the right sign, on logits where it wants logits, over the right axis?",
    "initial weights: is anything frozen, zero, or left out of the optimiser?",
)
_FALLEN_TO = 0.5  # of the first epoch's loss: clearly fallen; 32 overfit examples end under a tenth


@dataclass(frozen=True, kw_only=True)
class OverfitResult:
    """The result of training on a few examples.

    Attributes:
        score: The metric on the examples that were trained on, in the last epoch.
        target: The score it had to reach.
        losses: Training loss of the first epoch and the last; empty if none is reported.
        overrides: Hparams that replaced defaults.
    """

    has_passed: bool
    num_epochs: int
    metric: str
    score: float
    target: float
    losses: tuple[float, ...]
    overrides: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        fell = " to ".join(f"{loss:.3g}" for loss in self.losses)
        loss = f", loss {fell}" if fell else ", no train_loss is reported"
        reached = f"{self.metric} {self.score:.3f} of {self.target:g} after {self.num_epochs} epochs"
        return f"{reached}{loss}{self._others()}"

    def _others(self) -> str:
        named = ", ".join(
            f"{name} {'null' if value is None else value}" for name, value in self.overrides.items()
        )
        return f"; with {named} instead of the defaults" if named else ""


def try_to_overfit(
    trainable: Trainable,
    hparams: Any,
    context: TrainingContext,
    *,
    num_examples: int,
    resolution: int | None = None,
) -> OverfitResult:
    """Train on `num_examples` until the metric on these same examples reaches the trainable's target.

    There is no augmentation and no shuffling: whatever stays unlearnt is the loop's fault. Stops as soon as
    it passes, or gives up after the trainable's `overfit.epochs`. Hparams at their defaults may be replaced
    by those that the target was measured with; the result names them.

    Raises:
        ValueError: The trainable names no target, as nothing in it learns.
        Diverged: The loss became NaN or infinite.
    """
    goal = trainable.overfit
    if goal is None:
        raise ValueError("the trainable defines no overfit target, so there is nothing to check")
    budget = Budget(epochs=goal.epochs, subset=num_examples, resolution=resolution)
    overrides = _overrides(trainable, hparams, goal)
    training = trainable.start(replace(hparams, **overrides), budget, replace(context, is_overfit=True))
    losses: list[float] = []
    for _ in range(goal.epochs):
        values = training.run_epoch(budget)
        losses += _loss(values)
        score = values[trainable.metric]
        has_learnt = score >= goal.score if trainable.mode == "max" else score <= goal.score
        has_passed = has_learnt and _has_fallen(losses)
        if has_passed:
            break
    return OverfitResult(
        has_passed=has_passed,
        num_epochs=training.epochs_done,
        metric=trainable.metric,
        score=score,
        target=goal.score,
        losses=(losses[0], losses[-1]) if losses else (),
        overrides=overrides,
    )


def _overrides(trainable: Trainable, hparams: Any, goal: OverfitTarget) -> dict[str, Any]:
    """The target's overrides for hparams at their default: values that the user set are kept."""
    defaults = trainable.hparams()
    return {
        name: value
        for name, value in goal.overrides(hparams).items()
        if getattr(hparams, name) == getattr(defaults, name) != value
    }


def _loss(values: Mapping[str, float]) -> list[float]:
    return [values["train_loss"]] if math.isfinite(values.get("train_loss", math.nan)) else []


def _has_fallen(losses: list[float]) -> bool:
    return not losses or losses[-1] <= _FALLEN_TO * losses[0]
