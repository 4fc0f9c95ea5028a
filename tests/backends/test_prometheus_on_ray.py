"""The gauges of a run as a metrics collector fetches them from a node."""

from __future__ import annotations

import re
import time
import urllib.request
from pathlib import Path

import pytest

from tests.support.gpus import UNSEEN_BY_TORCH, made_gpu
from tests.support.ray_clusters import cluster_env, free_port, head_node
from tests.support.slow_searches import searching, slow_space

pytest_plugins = ["tests.support.fake_nvml_library"]
pytestmark = pytest.mark.slow

NAMES = {"device_watts", "energy_joules", "running_trial_joules", "used_kwh", "trials", "best"}


def fetched(port: int) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=2) as answer:
            return str(answer.read().decode())
    except OSError:  # not up yet
        return ""


def test_a_node_exports_what_the_run_shows(tmp_path: Path, fake_nvml_library: Path) -> None:
    env = {**cluster_env(), **made_gpu(tmp_path, fake_nvml_library)}
    port, seen = free_port(), dict[str, list[float]]()
    slow_space(
        tmp_path,
        ladder={"epochs": [2, 6]},
        limits={"trials": 6},
        resources={"gpus_per_trial": 1, "workers": 2},
    )
    flags = ("--num-cpus=2", "--num-gpus=1", f"--metrics-export-port={port}")
    with head_node(env, *flags) as address:
        search = searching(tmp_path, UNSEEN_BY_TORCH, "--address", address, **env)
        while search.poll() is None:
            for name, value in re.findall(r"^ray_jouletune_(\w+)\{.*\} (\S+)$", fetched(port), re.MULTILINE):
                seen.setdefault(name, []).append(float(value))
            time.sleep(0.5)
        output, _ = search.communicate()
    assert search.returncode == 0, output
    assert seen.keys() >= NAMES
    assert 100 <= max(seen["device_watts"]) <= 300  # what the fake GPU draws
