"""What a user should know about a space although it is no error."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from search.space.errors import listed, shown
from search.space.hparams import HparamsCheck
from search.space.parameters import Integer, Real, described, is_same
from search.space.samplers import sampler_notices
from search.space.schema import SweepFile
from search.space.space import Space

# W&B's keys that say nothing of what is searched.
_WITHOUT_EFFECT = (
    *("apiVersion", "kind", "job", "image_uri", "project", "entity", "controller", "scheduler"),
)
_WIDE = 100  # from this ratio on, 90 % of a linear range lies in its last decade
_LOG_NAMES = ("lr", "learning_rate", "weight_decay")


def sweep_notices(
    file: SweepFile, has_epochs: bool, default_epochs: list[int], *, is_command: bool
) -> Iterator[str]:
    """What became of the W&B keys, and what was chosen for keys that are not there.

    Args:
        is_command: The program and the command of the file are what is trained.
    """
    if unused := [key for key in ("program", "command") if getattr(file, key) is not None and not is_command]:
        yield f"{listed(unused)}: ignored; search.trainable says what is trained"
    if unused := [key for key in _WITHOUT_EFFECT if getattr(file, key) is not None]:
        yield f"{listed(unused)}: ignored; they are for W&B's servers"
    if file.method == "custom":
        yield "method: custom is a scheduler of W&B's; search.sampler is tpe here"
    if file.metrics is not None:
        yield "metrics: ignored; trials are ranked by the one under metric"
    if file.metric.target is not None:
        yield "metric.target: ignored; search.limits say when the run ends"
    if file.metric.impute is not None or file.metric.impute_while_running is not None:
        yield "metric.impute: ignored; a failed trial has no score here, and the sampler knows that"
    if file.early_terminate is None and not has_epochs:
        yield f"search.ladder: not given; epochs are {default_epochs}"
    if file.early_terminate is not None and has_epochs:
        yield "early_terminate: its brackets are ignored; search.ladder says the epochs"
    elif file.early_terminate is not None:
        yield f"early_terminate: read as search.ladder.epochs: {file.early_terminate.epochs()}"


def space_notices(space: Space, defaults: Mapping[str, Any], check: HparamsCheck) -> Iterator[str]:
    """What is allowed in the space and yet seldom suggest."""
    if not any((space.limits.trials, space.limits.hours, space.limits.kwh)) and not space.is_listed:
        yield "search.limits: none given; the run continues until it is interrupted"
    if not space.is_listed:
        yield from sampler_notices(
            space.sampler, space.parameters, space.when, space.scheduler.mode, space.cost is not None
        )
    for name, parameter in space.parameters.items():
        where = f"parameters.{name}"
        if isinstance(parameter, Real) and not parameter.log and _is_wide(name, parameter):
            yield f"{where}: most draws will be near {parameter.high}; consider log_uniform_values"
        if isinstance(parameter, Integer) and check.takes_fractions(name):
            yield f"{where}: only whole numbers are tried; write min: {parameter.low}.0 for fractions"
        if not parameter.contains(defaults[name]) and space.is_active(name, defaults):
            value, allowed = shown(defaults[name]), described(parameter)
            yield f"{where}: the default configuration, trial 0, has {value}, which is not {allowed}"
        for other, values in space.when.get(name, {}).items():
            if other in space.fixed and not any(is_same(space.fixed[other], value) for value in values):
                yield f"search.when.{name}: never true, since {other} is {shown(space.fixed[other])}"


def _is_wide(name: str, real: Real) -> bool:
    is_logarithmic = name.rpartition(".")[2].endswith(_LOG_NAMES)
    return is_logarithmic and 0 <= real.low * _WIDE <= real.high
