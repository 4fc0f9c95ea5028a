"""An epoch of each model on a tiny budget, before hours are spent."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from search.preflight.request import PreflightRequest, Problem
from search.trial.failure import classify
from trainables.core.contract import BadResult, Budget, Trainable
from trainables.core.promises import check_state, check_training, trained_epoch

_EXAMPLES = 64
_SCORED = 64


def train_test_epochs(
    request: PreflightRequest, trainable: Trainable, *, device: str
) -> tuple[list[Problem], list[str]]:
    """Train each model for one epoch of 64 examples; return what fails, and how long each took.

    A command trains its lowest rung: it takes fractions or counts as in its ladder, and may score only its
    end.
    """
    problems, notes = [], []
    lowest = request.task.ladder.rungs[0]
    is_command = request.task.trainable.command is not None
    budget = lowest if is_command else replace(lowest, epochs=1, subset=_EXAMPLES)
    size = f"{_EXAMPLES} examples"
    if is_command:
        size = "an epoch" if budget.epochs == 1 else f"{budget.epochs} epochs"
    for name, point in _one_a_model(request).items():
        started_s = time.monotonic()
        try:
            value = _train(request, trainable, point, budget, device)
        except (Exception, SystemExit, GeneratorExit) as error:  # the trial would fail in the same way
            failure = classify(error)
            what = f"trial of {name}: {failure.cause}: {failure.message}"
            problems.append(Problem(what=what, remedy="fix it, or leave the value out of the space"))
            continue
        taken_s = time.monotonic() - started_s
        score = f"{request.task.metric} {value:.3g}"
        notes.append(f"trial of {name}: {size} in {taken_s:.1f} s, {score}")
    return problems, notes


def _one_a_model(request: PreflightRequest) -> dict[str, Mapping[str, Any]]:
    """The first point of each model and weights; for a trainable with neither, the default."""
    named: dict[str, Mapping[str, Any]] = {}
    for point in request.points:
        words = [str(point[key]) for key in ("model", "weights") if key in point]
        named.setdefault(" ".join(words) or request.task.trainable.title, point)
    return named


def _train(
    request: PreflightRequest, trainable: Trainable, point: Mapping[str, Any], budget: Budget, device: str
) -> float:
    context = replace(request.task.context(), device=device, validation_subset=_SCORED, folder=None)
    training = trainable.start(trainable.hparams(**point), budget, context)
    check_training(training, trainable.start)
    for _ in range(budget.epochs):
        values = trained_epoch(training, budget)
    check_state(training, training.state_dict())
    if request.task.metric not in values:
        raise BadResult(f"run_epoch must return {request.task.metric!r}, got only {sorted(values)}")
    value = values[request.task.metric]
    if not math.isfinite(value):
        raise ValueError(f"{request.task.metric} is {value} after an epoch")
    return float(value)
