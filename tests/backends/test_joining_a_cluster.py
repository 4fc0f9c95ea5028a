"""A search on a running Ray cluster."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from tests.support.processes import typed
from tests.support.ray_clusters import another_node, cluster_env, head_node
from tests.support.toy_runs import toy_file


@pytest.fixture
def cluster() -> Iterator[tuple[str, dict[str, str]]]:
    """The address of a running head node and the environment that may join it."""
    env = cluster_env()
    with head_node(env, "--num-cpus=2") as address:
        yield address, env


def wait_for_nodes(address: str, env: dict[str, str], num_nodes: int) -> None:
    """Wait until a driver at the head sees this many nodes."""
    seen = (
        "import ray, sys, time\n"
        "ray.init(address=sys.argv[1], log_to_driver=False)\n"
        "while len(ray.nodes()) < int(sys.argv[2]):\n"
        "    time.sleep(0.1)\n"
    )
    subprocess.run([sys.executable, "-c", seen, address, str(num_nodes)], env=env, check=True, timeout=60)


def search(address: str, folder: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    words = ("--space", toy_file(folder), "--name", "run", "--trials", 6, "--address", address)
    return typed("search", *words, folder=folder, **env)


@pytest.mark.slow
def test_a_search_joins_a_cluster_and_leaves_it_running(
    cluster: tuple[str, dict[str, str]], tmp_path: Path
) -> None:
    """It needs the token alone: the mode, without which Ray refuses the token, it sets itself."""
    address, env = cluster
    del env["RAY_AUTH_MODE"]
    for name in ("first", "second"):
        folder = tmp_path / name
        folder.mkdir()
        done = search(address, folder, env)
        assert done.returncode == 0, done.stderr
        table = pd.read_csv(folder / "results/run/trials.csv")
        assert table["rank"].tolist() == [1, 2, 3, 4, 5, 6]


@pytest.mark.slow
def test_without_the_token_of_the_cluster_it_says_what_is_missing(
    cluster: tuple[str, dict[str, str]], tmp_path: Path
) -> None:
    address, env = cluster
    del env["RAY_AUTH_TOKEN"], env["RAY_AUTH_MODE"]
    done = search(address, tmp_path, env)
    assert done.returncode == 2
    assert f"no Ray cluster joined at {address}: " in done.stderr
    assert done.stderr.splitlines()[-1].endswith(
        "; if its nodes were started with a token, set RAY_AUTH_TOKEN to the same, before Ray is imported"
    )


@pytest.mark.slow
def test_preflight_checks_every_node_in_the_environment_of_its_workers(
    cluster: tuple[str, dict[str, str]], tmp_path: Path
) -> None:
    address, env = cluster
    with another_node(address, env, "--num-cpus=1"):
        wait_for_nodes(address, env, num_nodes=2)
        model = ("--set", "parameters.model={value: resnet10t}", "--set", "parameters.weights={value: hub}")
        moved = {**env, "HF_HOME": str(tmp_path / "moved")}
        words = ("--space", "lr_bs", *model, "--address", address)
        done = typed("preflight", *words, folder=tmp_path, **moved)
    assert done.returncode == 2
    lines = done.stdout.splitlines()
    checked = [
        match for line in lines if (match := re.fullmatch(r"checked in (\d+\.\d) s on ([\d.]+/\w{8})", line))
    ]
    assert len(checked) == len({match[2] for match in checked}) == 2
    assert all(float(match[1]) > 0 for match in checked)
    assert done.stderr.splitlines() == [
        f"preflight: weights: timm/resnet10t.c3_in1k/model.safetensors is not in {tmp_path}/moved/hub; "
        f"fetch it: jouletune preflight --space lr_bs {shlex.join(model)} --download",
    ]


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("127.0.0.1:1", "no Ray cluster answers at 127.0.0.1:1 (Connection refused)"),
        (
            "ray://10.0.0.5:10001",
            "an address is HOST:PORT of a Ray head node, such as 10.0.0.5:6379, got 'ray://10.0.0.5:10001'; "
            "ray:// is Ray's client",
        ),
    ],
)
def test_a_cluster_that_does_not_answer_is_named_and_nothing_is_created(
    address: str, message: str, tmp_path: Path
) -> None:
    done = search(address, tmp_path, {})
    assert done.returncode == 2
    assert message in done.stderr
    assert not (tmp_path / "results").exists()
