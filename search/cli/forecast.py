"""What a dry run foretells: costs as an earlier run knew them, or a look of some seconds."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from search.forecast import Costs, Forecast
    from search.output import Output
    from search.sampling.proposal import Sampler
    from search.space import Space


def foretold(
    space: Space,
    defaults: Mapping[str, Any],
    results: Path,
    make_sampler: Callable[[Space], Sampler],
    output: Output,
) -> Forecast | None:
    """What a search of `space` on this machine will take; None where rungs are measured in joules.

    Where it cannot be measured, trials and epochs are foretold, with a warning that says why.
    """
    from search.backends.backend import Capacity
    from search.backends.resources import resolve_resources
    from search.energy.gpus import visible_gpus
    from search.forecast import forecast_search

    if space.ladder.joules:
        return None
    here = Capacity(num_cpus=len(os.sched_getaffinity(0)), num_gpus=len(visible_gpus(os.environ).uuids))
    space = replace(space, resources=resolve_resources(space.resources, here))
    return forecast_search(space, _costs(space, defaults, results, output), make_sampler)


def _costs(space: Space, defaults: Mapping[str, Any], results: Path, output: Output) -> Costs | None:
    from search.forecast import earlier_costs
    from search.forecast.probe import ProbeError, points_to_probe, probe_costs
    from search.trial.task import task_for
    from search.trial.worker_env import offer_worker_env
    from trainables.core.load import command_of

    if (costs := earlier_costs(space, results)) is not None:
        return costs
    if command_of(space.trainable):
        output.note("what a script's epoch takes is known when one has been run")
        return None
    offer_worker_env()
    task = task_for(space, trial_id="probe", hparams=defaults, seed=space.seed, folder=results)
    try:
        with output.status("trying two steps of some configurations"):
            points = points_to_probe(space, defaults)
            return probe_costs(space, task, points, worker="search.backends.ray.worker")
    except ProbeError as error:
        output.warn(f"no time is foretold: {error}")
        return None
