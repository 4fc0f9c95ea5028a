"""batch_size "auto": which models need a choice, and how the choice changes a trial's hyperparameters.

A trainable chooses ("64: a step takes ...") when preflight asks it on each node. The run writes the choice
into its journal and the number into each trial's hyperparameters, so whatever resumes, reports or promotes
the trial later reads a number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

AUTO = "auto"
Choices = Mapping[str, str]  # for each model (see `model_of`), the number with the reason
UNMEASURED = 32  # the batch size where nothing was chosen


def is_auto(hparams: Mapping[str, Any]) -> bool:
    """Whether the batch size of these hyperparameters is still to be chosen."""
    return hparams.get("batch_size") == AUTO


def model_of(hparams: Mapping[str, Any]) -> str:
    """The model that a choice is made for; empty if a trainable has only one."""
    return str(hparams.get("model", ""))


def points_by_model(points: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """The first point of each model whose batch size is to be chosen."""
    found: dict[str, Mapping[str, Any]] = {}
    for point in filter(is_auto, points):
        found.setdefault(model_of(point), point)
    return found


def smallest_of(choices: Iterable[Choices]) -> dict[str, str]:
    """For each model the smallest number that a node chose, which fits wherever a trial runs."""
    found: dict[str, str] = {}
    for each in choices:
        for model, text in each.items():
            found[model] = min(found.get(model, text), text, key=_size_in)
    return found


def with_batch_size(hparams: Mapping[str, Any], choices: Choices) -> dict[str, Any]:
    """The hyperparameters with "auto" replaced by the number chosen for their model.

    The number is smaller where that makes the batches of an `effective_batch_size` equal.
    """
    if not is_auto(hparams):
        return dict(hparams)
    largest = _size_in(reason_for(hparams, choices))
    step = hparams.get("effective_batch_size") or largest
    return {**hparams, "batch_size": -(-step // -(-step // largest))}


def as_proposed(hparams: Mapping[str, Any], fixed: Mapping[str, Any]) -> Mapping[str, Any]:
    """A trial's hyperparameters as its sampler proposed them, with "auto" where that is fixed.

    A sampler recognises a point by all of its values: given the number, one that was restored from the
    journal would propose the point again.

    Args:
        fixed: The space's fixed values.
    """
    return {**hparams, "batch_size": AUTO} if is_auto(fixed) else hparams


def reason_for(hparams: Mapping[str, Any], choices: Choices) -> str:
    """The choice for the model of these hyperparameters, with its reason."""
    return choices.get(model_of(hparams), f"{UNMEASURED}: nothing was measured for this model")


def _size_in(text: str) -> int:
    return int(text.partition(":")[0])
