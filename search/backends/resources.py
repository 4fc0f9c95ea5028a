"""Resources of trials: cores and GPUs of each, how many run at a time, and the workload beside them."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from search.backends.backend import Capacity, NodeCapacity
from search.backends.errors import SessionError
from search.backends.room import NUM_PARTS
from search.printable import counted
from search.space import Resources, Space
from search.trial.background import Background, BackgroundSpec, background_of
from search.trial.task import TrialTask

_DEFAULT_SHARE = 0.5
_STEP = 4  # decimals of a share that Ray distinguishes


def resolve_resources(
    resources: Resources,
    capacity: Capacity,
    *,
    beside: TrialTask | None = None,
    spread_over: int | None = None,
) -> Resources:
    """Return the resources with everything left open chosen to fit the capacity.

    If there are GPUs, each trial gets one, or one for each of its processes. As many trials run at a time as
    cores and GPUs allow; of packed trials, as many as cores allow.

    Args:
        beside: The background workload, which has a share of its own.
        spread_over: Number of trainings there will be; if there are more GPUs, each training may get several.

    Raises:
        SessionError: A single trial needs more than there is.
    """
    if spread_over:
        resources = _over_idle_gpus(resources, capacity, num_trainings=spread_over)
    gpus = resources.gpus_per_trial
    if gpus is None:
        gpus = float(min(capacity.num_gpus, 1) and resources.num_processes)
    # How many fit into a GPU's memory is known only once they are measured; its parts are an upper bound.
    share = min(gpus, 1 / NUM_PARTS) if resources.pack else gpus
    fits = _num_fitting(resources.cores_per_trial, share, capacity, beside)
    if fits < 1:
        raise SessionError(_unfit_text(resources.cores_per_trial, gpus, capacity, beside))
    limits = (fits, resources.workers, capacity.max_workers)
    workers = min(limit for limit in limits if limit is not None)
    return resources.model_copy(update={"gpus_per_trial": gpus, "workers": workers})


def _num_fitting(cpus: float, gpus: float, capacity: Capacity, beside: TrialTask | None) -> int:
    """Count the trials that fit at a time, node by node, since no trial spans two nodes.

    A workload beside them is assumed on the node where it displaces most trials.
    """
    fits = [_num_on(node, cpus, gpus, None) for node in capacity.by_node]
    if beside is None:
        return sum(fits)
    lost = (
        each - _num_on(node, cpus, gpus, beside) for each, node in zip(fits, capacity.by_node, strict=True)
    )
    return sum(fits) - max(lost)


def _num_on(node: NodeCapacity, cpus: float, gpus: float, beside: TrialTask | None) -> int:
    by_cores = (node.num_cpus - _exact(beside.cpus if beside else 0.0)) // _exact(cpus)
    if not gpus:
        return max(0, int(by_cores))
    load = _exact(beside.gpus if beside else 0.0)
    if gpus >= 1:
        return max(0, min(int(by_cores), int((node.num_gpus - math.ceil(load)) // _exact(gpus))))
    # A fraction is always of one GPU: remainders of two GPUs do not add up.
    by_gpus = node.num_gpus * (1 // _exact(gpus))
    if load:
        by_gpus += (1 - load) // _exact(gpus) - 1 // _exact(gpus)
    return max(0, min(int(by_cores), int(by_gpus)))


def _unfit_text(cpus: float, gpus: float, capacity: Capacity, beside: TrialTask | None) -> str:
    load = f" beside a load of {_cores_text(beside.cpus, beside.gpus)}" if beside else ""
    nodes = capacity.by_node
    apart = f" on {len(nodes)} nodes, and a trial is on one" if len(nodes) > 1 else ""
    return (
        f"a trial needs {_cores_text(cpus, gpus)}{load}, "
        f"but there are {_cores_text(capacity.num_cpus, capacity.num_gpus)}{apart}"
    )


def _cores_text(cpus: float, gpus: float) -> str:
    return f"{counted(cpus, 'CPU')} and {counted(gpus, 'GPU')}"


def _over_idle_gpus(resources: Resources, capacity: Capacity, *, num_trainings: int) -> Resources:
    """Return the resources with several GPUs for each of `num_trainings` if there are more GPUs than those.

    Each gets the same number, at most as many as one node has. Nothing changes if trainings share a GPU or
    the space states a number.
    """
    per_training = capacity.num_gpus // num_trainings
    gpus = min(per_training, max(node.num_gpus for node in capacity.by_node))
    is_open = resources.gpus_per_trial in (None, 1) and resources.processes_per_trial is None
    if gpus < 2 or not is_open:
        return resources
    return resources.model_copy(update={"gpus_per_trial": float(gpus)})


def _exact(share: float) -> Fraction:
    """Return the exact fraction: 0.1 fits ten times into 1, but 1 // 0.1 is 9 in floats."""
    return Fraction(str(share))


def resolve_beside_background(
    space: Space, pair: BackgroundSpec, capacity: Capacity, folder: Path
) -> tuple[Space, Background]:
    """Return the space with its trials' resources beside the workload, and the workload with its own.

    Args:
        folder: The run's folder.

    Raises:
        SessionError: They cannot share one device.
    """
    if space.resources.pack:
        text = "--background shares a device by fractions, and search.resources.pack by memory"
        raise SessionError(f"{text}; leave one of them out")
    if not capacity.has_room_beside:
        raise SessionError("--background needs a process of its own beside the trials: use --backend ray")
    if capacity.num_gpus > 1:
        raise SessionError(
            f"--background shares one device with the trials, and there are {capacity.num_gpus} GPUs here; "
            "show one of them: CUDA_VISIBLE_DEVICES=0"
        )
    gpus, share = _shares(space.resources.gpus_per_trial, pair.share, has_gpu=capacity.num_gpus > 0)
    background = background_of(pair.space, gpus=share, folder=folder)
    resources = space.resources.model_copy(update={"gpus_per_trial": gpus})
    return replace(
        space, resources=resolve_resources(resources, capacity, beside=background.task)
    ), background


def _shares(gpus: float | None, share: float | None, *, has_gpu: bool) -> tuple[float | None, float]:
    """Return the GPU fractions of a trial and of the workload: one not given is the other's rest, or half."""
    if not has_gpu or gpus == 0:
        if share is not None:
            raise SessionError(
                "--background-share is a share of a GPU, and the trials use none; without a GPU the load "
                "takes the cores that search.resources.cpus_per_trial of its own space sets"
            )
        return gpus, 0.0
    if gpus is not None and gpus >= 1:
        raise SessionError(
            f"a trial needs {counted(gpus, 'GPU')}, which leaves none for --background; "
            "give --gpus-per-trial 0.5"
        )
    if share is None:
        share = _DEFAULT_SHARE if gpus is None else round(1 - gpus, _STEP)
    return round(1 - share, _STEP) if gpus is None else gpus, share
