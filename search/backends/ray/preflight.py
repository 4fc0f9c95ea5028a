"""Preflight checks on every node of a cluster, in the runtime environment of its workers.

A problem of a single node (a data folder that is not mounted, weights missing from its cache) would otherwise
show as trials that fail by chance, depending on where Ray places them.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from search.preflight import PreflightRequest, Problem, Report
from search.preflight.machine import nearest_folder
from search.preflight.node_checks import examine

_ANSWER_S = 120.0  # a node may have to import torch from a network disk, or train an epoch
_FETCH_S = 3600.0  # weights of several GB from a hub, over a slow connection


def examine_nodes(request: PreflightRequest) -> list[Report]:
    """Check all live nodes at once and return their reports; a node that does not answer is a problem."""
    with _shared_file(request.task.folder) as shared:
        request = replace(request, shared_file=shared)
        asked = {
            node["NodeID"]: _start_check(node["NodeID"], request) for node in ray.nodes() if node["Alive"]
        }
        return [_answer(node_id, answer, request) for node_id, answer in asked.items()]


@contextlib.contextmanager
def _shared_file(folder: Path) -> Iterator[Path | None]:
    """Create a file beside the results, by which nodes see whether these are on shared storage."""
    path = nearest_folder(folder) / f".{uuid4().hex}.probe"
    try:
        path.touch()
    except OSError:  # the check reports that the folder is not writable
        yield None
        return
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _start_check(node_id: str, request: PreflightRequest) -> Any:
    """Start the check on one node.

    It runs on that very node (`soft=False`), takes no core from anyone (`num_cpus=0`) and is not retried: a
    check that ended its process would end the next one too. Only a check that fetches weights may ask the
    hub; trials never do.
    """
    env = {"env_vars": {"HF_HUB_OFFLINE": "0"}} if request.is_fetching else None
    options = {
        "num_cpus": 0,
        "max_retries": 0,
        "scheduling_strategy": NodeAffinitySchedulingStrategy(node_id, soft=False),
        "runtime_env": env,
    }
    return ray.remote(_examine).options(**options).remote(request)


def _examine(request: PreflightRequest) -> Report:
    """Check the node where this runs, and report it by its address and Ray's id."""
    os.environ.pop("CUDA_VISIBLE_DEVICES", None)  # Ray hides all GPUs from a task that reserves none
    node = f"{ray.util.get_node_ip_address()}/{ray.get_runtime_context().get_node_id()[:8]}"
    return replace(examine(request), node=node)


def _answer(node_id: str, answer: Any, request: PreflightRequest) -> Report:
    """Return one node's report, or a problem that names the node if it gave none.

    A node without the program, or with another Python, fails before the check begins. Ray's message about
    that is long, and the error is its last line.
    """
    try:
        report: Report = ray.get(answer, timeout=_FETCH_S if request.is_fetching else _ANSWER_S)
    except GetTimeoutError:
        what = f"node: {node_id[:8]} gave no answer in {_ANSWER_S:.0f} s"
    except RayError as error:
        what = f"node: {node_id[:8]} cannot run the program: {str(error).strip().splitlines()[-1]}"
    else:
        return report
    problem = Problem(what=what, remedy="see its Ray logs, or take it out of the cluster")
    return Report(node=node_id[:8], problems=(problem,))
