"""Workers as Ray actors: where one could be placed, how it is ended, and what its loss means for its trial.

Used by both engines, Ray Tune's controller (`tune_adapter.py`) and Ray Core alone (`core_controller.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ray
from ray.exceptions import OutOfMemoryError, RayActorError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from search.backends.ray.children import end_with_children
from search.backends.ray.cluster import end_orphans_here
from search.backends.trial_log import open_log
from search.printable import counted, first_line
from search.trial.failure import Failure, classify
from search.trial.task import TrialTask

_KINDS = ("CPU", "GPU")
_ENDING_S = 10.0  # a node that has not ended its worker by then is presumably lost


class KilledForMemory(RayActorError):
    """Ray's memory monitor or the kernel killed the worker of a trial."""


def first_sentence(error: OutOfMemoryError) -> str:
    """Return the monitor's first sentence, without the table of processes that follows it."""
    return first_line(error).split(" To see more")[0]


def failure_of(error: Exception, task: TrialTask) -> Failure:
    """Return the trial's failure after a call to its worker raised `error`.

    A worker that died may have left processes of the trial on this machine: these are ended, and the trial's
    log says how many there were.
    """
    if isinstance(error, RayActorError) and (left := end_orphans_here()):
        with open_log(task.log) as log:
            log.write(f"ended with its worker: {len(left)} processes that it had started\n")
    if isinstance(error, OutOfMemoryError):
        error = KilledForMemory(error_msg=first_sentence(error))
    # A RayTaskError wraps the trial's own error.
    return classify(error.cause if isinstance(error, RayTaskError) and error.cause else error)


def end_workers(actors: Sequence[Any]) -> None:
    """Kill workers with everything they started, on whichever nodes they are."""
    here, endings = ray.get_runtime_context().get_node_id(), []
    for actor in actors:
        found = ray._private.state.actors(actor._actor_id.hex())
        if not (pid := found.get("Pid")):  # no process yet
            continue
        if (node_id := found["Address"]["NodeID"]) == here:
            end_with_children(pid)
        else:
            there = NodeAffinitySchedulingStrategy(node_id, soft=False)
            options = {"num_cpus": 0, "max_retries": 0, "scheduling_strategy": there}
            endings.append(ray.remote(end_with_children).options(**options).remote(pid))
    if endings:
        ray.wait(endings, num_returns=len(endings), timeout=_ENDING_S)
    for actor in actors:
        ray.kill(actor)  # whether or not its process was ended


def places_text(cpus: float, gpus: float) -> str:
    """Return what a trial reserves and what each node has free, as text for a waiting user."""
    free = ray._private.state.available_resources_per_node()
    nodes, has_room = [], False
    for node in ray.nodes():
        if node["Alive"]:
            whole, left = node["Resources"], free.get(node["NodeID"], {})
            has_room |= whole.get("CPU", 0.0) >= cpus and whole.get("GPU", 0.0) >= gpus
            have = " and ".join(
                f"{left.get(kind, 0.0):g} of {whole.get(kind, 0.0):g} {kind}s" for kind in _KINDS
            )
            nodes.append(f"{node['NodeManagerAddress']} has {have}")
    why = "" if has_room else "; no node will ever have as much: lower what a trial reserves"
    return f"a worker with {counted(cpus, 'CPU')} and {counted(gpus, 'GPU')}; free: {', '.join(nodes)}{why}"
