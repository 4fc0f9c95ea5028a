"""Three nodes that are taken away one after another: what each costs a search, in attempts and in epochs."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from search.ledger import Ledger
from search.ledger.history import History
from tests.support.processes import ROOT, ran, script, wait_for
from tests.support.ray_clusters import another_node, cluster_env, end_group, head_node
from tests.support.slow_searches import events_in, run_in, searching, slow_space

NUM_EPOCHS, RUNG = 30, 3
QUICK = ("--skip-preflight", "--no-report")


def wait_for_nodes(address: str, num_nodes: int, env: dict[str, str]) -> None:
    words = ("-m", "search.backends.ray.allocation", "await-nodes", address, str(num_nodes))
    subprocess.run([sys.executable, *words], env={**env, "PYTHONPATH": str(ROOT)}, check=True, timeout=120)


def epochs(folder: Path) -> Sequence[tuple[str, int]]:
    """Trial and epoch of each row, those of epochs that were trained twice among them."""
    return [
        (event["trial"], event["row"]["epoch"]) for event in events_in(folder) if event["event"] == "epoch"
    ]


def failures(folder: Path) -> list[dict[str, Any]]:
    return [event["failure"] for event in events_in(folder) if event["event"] == "attempt_failed"]


@pytest.mark.slow
def test_a_preempted_node_costs_no_attempt_a_killed_one_costs_one_and_a_lost_head_none(
    tmp_path: Path,
) -> None:
    slow_space(
        tmp_path,
        ladder={"epochs": list(range(RUNG, NUM_EPOCHS + 1, RUNG))},
        scheduler={"mode": "none"},
        limits={"trials": 3},
        resources={"cpus_per_trial": 1},
    )
    env = {
        **cluster_env(),
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",  # as a Ray before 2.60, which drains no node at SIGTERM
        "RAY_health_check_period_ms": "1000",  # a lost machine is seen after 5 s and not 15
    }
    with contextlib.ExitStack() as stack:
        address = stack.enter_context(head_node(env, "--num-cpus=1"))
        first = stack.enter_context(another_node(address, env, "--num-cpus=1"))
        wait_for_nodes(address, 2, env)  # of two that join one machine at once, one may fail
        second = stack.enter_context(
            another_node(address, env, "--num-cpus=1", "--node-ip-address=127.0.0.3")
        )
        wait_for_nodes(address, 3, env)
        search = searching(tmp_path, *QUICK, "--address", address, **env)
        try:
            wait_for(lambda: len({trial for trial, _ in epochs(tmp_path)}) == 3, most_s=120)
            os.kill(first.pid, signal.SIGTERM)
            wait_for(lambda: len(failures(tmp_path)) == 1, most_s=60)
            end_group(second, signal.SIGKILL)
            wait_for(lambda: len(failures(tmp_path)) == 2, most_s=60)
        finally:
            end_group(search, signal.SIGKILL)  # with the head node, as one machine
            search.wait(30)
    assert [failure["is_preempted"] for failure in failures(tmp_path)] == [True, False]
    done = ran(*script("search"), "--space", "./space.yaml", "--name", "run", *QUICK, folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(failures(tmp_path)) == 2  # the head's loss was none
    history = History(Ledger(run_in(tmp_path)).events())
    assert [trial.status for trial in history.trials.values()] == ["finished"] * 3
    assert all(list(trial.curve) == list(range(1, NUM_EPOCHS + 1)) for trial in history.trials.values())
    trained = epochs(tmp_path)
    # Each of five losses (two trials by a node, three by the head) repeats what came after a rung's end.
    assert len(trained) - len(set(trained)) <= 5 * RUNG
