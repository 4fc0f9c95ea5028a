"""The forecast of a dry run: costs as an earlier run knew them, or from a few steps that take seconds."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from search.backends.backend import Capacity
from search.backends.resources import resolve_resources
from search.energy.gpus import visible_gpus
from search.forecast import Costs, Forecast, earlier_costs, forecast_search
from search.forecast.probe import ProbeError, points_to_probe, probe_costs
from search.output import Output
from search.sampling.proposal import Sampler
from search.space import Space
from search.trial.task import task_for
from search.trial.worker_env import offer_worker_env


def forecast_here(
    space: Space,
    defaults: Mapping[str, Any],
    results: Path,
    make_sampler: Callable[[Space], Sampler],
    output: Output,
) -> Forecast | None:
    """Forecast a search of `space` on this machine; None where rungs are measured in joules.

    Where costs cannot be measured only trials and epochs are forecast, with a warning that says why.
    """

    if space.ladder.joules:
        return None
    here = Capacity(num_cpus=len(os.sched_getaffinity(0)), num_gpus=len(visible_gpus(os.environ).uuids))
    space = replace(space, resources=resolve_resources(space.resources, here))
    return forecast_search(space, _measure_costs(space, defaults, results, output), make_sampler)


def _measure_costs(space: Space, defaults: Mapping[str, Any], results: Path, output: Output) -> Costs | None:

    if (costs := earlier_costs(space, results)) is not None:
        return costs
    if space.trainable.command:
        output.note("what a script's epoch takes is known when one has been run")
        return None
    offer_worker_env()
    task = task_for(space, trial_id="probe", hparams=defaults, seed=space.training.seed, folder=results)
    try:
        with output.status("trying two steps of some configurations"):
            points = points_to_probe(space, defaults)
            return probe_costs(space, task, points, worker="search.backends.ray.worker")
    except ProbeError as error:
        output.warn(f"no time forecast: {error}")
        return None
