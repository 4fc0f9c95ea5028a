"""A search over two real Ray nodes of this machine, each with a GPU of its own from the fake NVML."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from tests.support.gpus import UNSEEN_BY_TORCH, made_gpu
from tests.support.ray_clusters import another_node, cluster_env, end_group, head_node
from tests.support.slow_searches import energy_checked, events_in, run_in, searching, slow_space

pytest_plugins = ["tests.support.fake_nvml_library"]
pytestmark = pytest.mark.slow


@contextlib.contextmanager
def two_nodes(folder: Path, library: Path) -> Iterator[tuple[str, dict[str, str], subprocess.Popen[bytes]]]:
    """The cluster's address, what a driver needs to join, and the second node's process."""
    env = cluster_env()
    first = {**env, **made_gpu(folder, library, "one")}
    lesser = made_gpu(folder, library, "two", profile="50000:300 150000:700", driver="999.2")
    with (
        head_node(first, "--num-cpus=1", "--num-gpus=1") as address,
        another_node(address, {**env, **lesser}, "--num-cpus=1", "--num-gpus=1") as node,
    ):
        wait_for_gpus(address, first, num_gpus=2)
        yield address, first, node


def wait_for_gpus(address: str, env: dict[str, str], num_gpus: int) -> None:
    seen = (
        "import ray, sys, time; ray.init(address=sys.argv[1], log_to_driver=False, logging_level='ERROR')\n"
        "while ray.cluster_resources().get('GPU', 0) < int(sys.argv[2]): time.sleep(0.1)\n"
    )
    subprocess.run([sys.executable, "-c", seen, address, str(num_gpus)], env=env, check=True, timeout=60)


def joined(folder: Path, address: str, env: dict[str, str], *flags: str) -> subprocess.Popen[str]:
    """A search of two trials at a time, each with a GPU, under way on the cluster."""
    whole = {"gpus_per_trial": 1, "cpus_per_trial": 1, "workers": 2}
    slow_space(folder, ladder={"epochs": [2, 6]}, limits={"trials": 6}, resources=whole)
    return searching(folder, UNSEEN_BY_TORCH, "--address", address, *flags, **env)


def test_the_trials_of_two_nodes_add_up_to_both_counters(tmp_path: Path, fake_nvml_library: Path) -> None:
    with two_nodes(tmp_path, fake_nvml_library) as (address, env, _):
        search = joined(tmp_path, address, env)
        output, _ = search.communicate(timeout=180)
    assert search.returncode == 0, output
    run = run_in(tmp_path)
    trials = pd.read_csv(run / "trials.csv", dtype={"gpu_driver_version": str})
    devices = pd.read_csv(run / "devices.csv")
    gpus = devices[devices["kind"] == "gpu"].set_index("device")
    assert sorted(gpus.index) == ["GPU-one", "GPU-two"]
    assert gpus["node"].nunique() == 2
    assert gpus["residual_j"].tolist() == [0, 0]
    assert gpus["is_closed"].tolist() == [True, True]
    for name in ("one", "two"):  # a trial that was promoted may have trained on both
        assert gpus.loc[f"GPU-{name}", "energy_trials_j"] > 0
        assert trials["gpu_model"].str.contains(f"Fake {name}").any()
    for _, trial in trials.iterrows():
        drivers = trial["gpu_model"].replace("Fake one", "999.1").replace("Fake two", "999.2")
        assert trial["gpu_driver_version"] == drivers
    assert trials["cpu_model"].notna().all()
    total_mj = round(gpus["energy_trials_j"].sum() * 1000)
    assert round(trials["energy_gpu_j"].sum() * 1000) == total_mj
    check = energy_checked(run)
    assert (check.returncode, check.stderr) == (0, "")


def test_a_node_killed_in_the_middle_costs_a_note_and_not_the_run(
    tmp_path: Path, fake_nvml_library: Path
) -> None:
    run = run_in(tmp_path)
    with two_nodes(tmp_path, fake_nvml_library) as (address, env, node):
        long = ("--set", "search.ladder.epochs=[15]")  # 6 s: the kill is in the middle of one
        search = joined(tmp_path, address, env, *long, "--trials", "3")
        wait_for_epoch_on_gpu(tmp_path, "Fake two", search)
        end_group(node, signal.SIGKILL)
        output, _ = search.communicate(timeout=240)
    assert search.returncode == 0, output
    trials, devices = pd.read_csv(run / "trials.csv"), pd.read_csv(run / "devices.csv")
    assert set(trials["status"]) <= {"finished", "paused"}
    assert sorted(trials["attempts"]) == [1, 1, 2]
    gpus = devices[devices["kind"] == "gpu"].set_index("device")
    assert gpus["is_closed"].to_dict() == {"GPU-one": True, "GPU-two": False}
    assert gpus["residual_j"].tolist() == [0, 0]
    lost = trials[trials["energy_reason"].str.contains("was lost", na=False)]
    assert lost["attempts"].tolist() == [2]
    check = energy_checked(run)
    assert (check.returncode, check.stderr) == (0, "")
    # What the lost meter had given and no trial reported is moved to unaccounted, so the two may be equal: it
    # depends on which came last, its reading or an epoch's report.
    is_known = gpus["energy_trials_j"].sum() == pytest.approx(trials["energy_gpu_j"].sum(), abs=1e-6)
    assert ("lost" in check.stdout) == (not is_known)


def wait_for_epoch_on_gpu(folder: Path, model: str, search: subprocess.Popen[str]) -> None:
    """Until a trial has reported an epoch on that GPU."""
    for _ in range(600):
        rows = [event["row"] for event in events_in(folder) if event["event"] == "epoch"]
        if any(row.get("sensors", {}).get("gpu_model") == model for row in rows):
            return
        assert search.poll() is None, search.communicate()[0]
        time.sleep(0.1)
    raise TimeoutError(f"no trial trained on {model}")
