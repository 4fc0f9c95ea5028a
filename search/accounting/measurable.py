"""Whether this machine measures the joules that a space asks for, before anything starts."""

from __future__ import annotations

import os

from search.energy import EnergySources, meter_for
from search.space import Space, SpaceError
from search.trial.used import why_unfit


def check_measurable(space: Space) -> None:
    """See that this machine has the sensors. On a cluster the first trial's first rung tells.

    Raises:
        SpaceError: It has not; the message lists every key that asks for them.
    """
    is_estimated = space.metering.cpu_watts_max is not None  # good enough to compare, not to end a rung
    is_cost_asked = space.cost is not None and not is_estimated
    if not is_cost_asked and not space.ladder.joules:
        return
    gpus = space.resources.gpus_per_trial
    sources = _sources(gpus)
    problems = []
    if is_cost_asked and not sources.scope:
        text = f"{space.cost} cannot be measured on this machine ({sources.reason}); leave it out"
        problems.append(f"search.objective: {text}")
    why = why_unfit(sources, is_on_gpu=bool(sources.gpu_source if gpus is None else gpus))
    if space.ladder.joules and why:
        text = f"joules cannot end a rung on this machine: of a trial, {why}"
        problems.append(f"search.ladder.resource: {text}; or take epochs")
    if problems:
        raise SpaceError(space.name, problems)


def _sources(gpus: float | None) -> EnergySources:
    """What a trial alone on the machine would have."""
    meter = meter_for(gpus=1.0 if gpus is None or 0 < gpus < 1 else gpus, cpus=os.cpu_count() or 1)
    meter.read()
    sources = meter.sources
    meter.close()
    return sources
