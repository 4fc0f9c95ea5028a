"""A search over two real Ray nodes of this machine, each with a GPU of its own from the fake NVML."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from made_clusters import another_node, cluster_env, end_group, head_node
from test_energy_on_ray import SLOW

pytest_plugins = ["fake_nvml_library"]
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
SPACE = """
parameters: {score: {min: 0.0, max: 0.9}}
search:
  trainable: ./slow.py
  data: none
  ladder: {epochs: [2, 6]}
  limits: {trials: 6}
  resources: {gpus_per_trial: 1, cpus_per_trial: 1, workers: 2}
"""


@contextlib.contextmanager
def two_nodes(folder: Path, library: Path) -> Iterator[tuple[str, dict[str, str], subprocess.Popen[bytes]]]:
    """The cluster's address, what a driver needs to join, and the second node's process."""
    env = {**cluster_env(), "LD_LIBRARY_PATH": str(library.parent)}
    first, second = (env_with_gpu(env, folder, name) for name in ("one", "two"))
    with (
        head_node(first, "--num-cpus=1", "--num-gpus=1") as address,
        another_node(address, second, "--num-cpus=1", "--num-gpus=1") as node,
    ):
        wait_for_gpus(address, first, num_gpus=2)
        yield address, first, node


def env_with_gpu(env: dict[str, str], folder: Path, name: str) -> dict[str, str]:
    """A node's environment: its GPU draws 100 W and 300 W in turns (one), or 50 W and 150 W (two)."""
    script, since_us = folder / f"nvml-{name}.txt", int(time.time() * 1e6)
    watts, driver = {
        "one": ("100000:500 300000:500", "999.1"),
        "two": ("50000:300 150000:700", "999.2"),
    }[name]
    script.write_text(
        f"count 1\n0.uuid GPU-{name}\n0.name Fake {name}\ndriver_version {driver}\n"
        f"0.power_limit_mw 400000\n0.profile {since_us} 20 {watts}\n"
    )
    return {**env, "FAKE_NVML_SCRIPT": str(script)}


def wait_for_gpus(address: str, env: dict[str, str], num_gpus: int) -> None:
    seen = (
        "import ray, sys, time; ray.init(address=sys.argv[1], log_to_driver=False, logging_level='ERROR')\n"
        "while ray.cluster_resources().get('GPU', 0) < int(sys.argv[2]): time.sleep(0.1)\n"
    )
    subprocess.run([sys.executable, "-c", seen, address, str(num_gpus)], env=env, check=True, timeout=60)


def search(folder: Path, address: str, env: dict[str, str], *more: str) -> subprocess.Popen[str]:
    (folder / "slow.py").write_text(SLOW)
    (folder / "space.yaml").write_text(SPACE)
    script = ROOT / "scripts" / "search.py"
    flags = ("--skip-preflight", "--space", "./space.yaml", "--name", "run", "--address", address)
    return subprocess.Popen(
        [sys.executable, script, *flags, *more],
        cwd=folder,
        env=env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def checked(run: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "scripts" / "check_energy.py", run]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_trials_of_two_nodes_add_up_to_both_counters(tmp_path: Path, fake_nvml_library: Path) -> None:
    with two_nodes(tmp_path, fake_nvml_library) as (address, env, _):
        searching = search(tmp_path, address, env)
        said, _ = searching.communicate(timeout=180)
    assert searching.returncode == 0, said
    run = tmp_path / "results" / "run"
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
    check = checked(run)
    assert (check.returncode, check.stderr) == (0, "")


def test_a_node_killed_in_the_middle_costs_a_note_and_not_the_run(
    tmp_path: Path, fake_nvml_library: Path
) -> None:
    run = tmp_path / "results" / "run"
    with two_nodes(tmp_path, fake_nvml_library) as (address, env, node):
        long = (
            "--set",
            "search.ladder.epochs=[15]",
            "--trials",
            "3",
        )  # 6 s: the kill is in the middle of one
        searching = search(tmp_path, address, env, *long)
        wait_for_epoch_on_gpu(run, "Fake two", searching)
        end_group(node, signal.SIGKILL)
        said, _ = searching.communicate(timeout=240)
    assert searching.returncode == 0, said
    trials, devices = pd.read_csv(run / "trials.csv"), pd.read_csv(run / "devices.csv")
    assert set(trials["status"]) <= {"finished", "paused"}
    assert sorted(trials["attempts"]) == [1, 1, 2]
    gpus = devices[devices["kind"] == "gpu"].set_index("device")
    assert gpus["is_closed"].to_dict() == {"GPU-one": True, "GPU-two": False}
    assert gpus["residual_j"].tolist() == [0, 0]
    lost = trials[trials["energy_reason"].str.contains("was lost", na=False)]
    assert lost["attempts"].tolist() == [2]
    check = checked(run)
    assert (check.returncode, check.stderr) == (0, "")
    # What the lost meter had given and no trial reported is moved to unaccounted, so the two may be equal: it
    # depends on which came last, its reading or an epoch's report.
    is_known = gpus["energy_trials_j"].sum() == pytest.approx(trials["energy_gpu_j"].sum(), abs=1e-6)
    assert ("lost" in check.stdout) == (not is_known)


def wait_for_epoch_on_gpu(run: Path, model: str, searching: subprocess.Popen[str]) -> None:
    """Until a trial has reported an epoch on that GPU."""
    journal = run / "journal.jsonl"
    for _ in range(600):
        lines = journal.read_text().splitlines(keepends=True) if journal.exists() else []
        events = [json.loads(line) for line in lines if line.endswith("\n")]
        rows = [event["row"] for event in events if event["event"] == "epoch"]
        if any(row.get("sources", {}).get("gpu_model") == model for row in rows):
            return
        assert searching.poll() is None, searching.communicate()[0]
        time.sleep(0.1)
    raise TimeoutError(f"no trial trained on {model}")
