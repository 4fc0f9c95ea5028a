"""Whole runs through the commands, on a local Ray session. Slow: each starts Ray."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from tests.support.processes import typed
from tests.support.toy_runs import FATEFUL, toy_file

pytestmark = pytest.mark.slow


@pytest.fixture
def space(tmp_path: Path) -> Path:
    return toy_file(tmp_path)


def test_a_search_leaves_a_ranked_table_and_its_promotion_a_comparison(tmp_path: Path, space: Path) -> None:
    done = typed("search", "--space", space, "--name", "run", "--trials", 8, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "ended: all 8 trials done" in done.stdout
    folder = tmp_path / "results" / "run"
    table = pd.read_csv(folder / "trials.csv")
    assert len(table) == 8
    assert set(table["status"]) <= {"finished", "stopped"}
    assert table["rank"].tolist() == list(range(1, 9))
    assert json.loads((folder / "environment.json").read_text())["packages"]["ray"]

    again = typed("promote", "run", "--top", 2, "--seeds", 2, folder=tmp_path)
    assert again.returncode == 0, again.stderr
    rows = pd.read_csv(folder / "promoted.csv")
    assert rows["num_seeds"].tolist() == [2] * len(rows)
    assert rows["is_default"].sum() == 1
    assert len(list((folder / "promotion" / "trials").glob("*/final.pt"))) == 2 * len(rows)


def test_missing_weights_end_a_search_before_its_first_trial(tmp_path: Path) -> None:
    model = ("--set", "parameters.model={value: resnet10t}", "--set", "parameters.weights={value: hub}")
    run = ("search", "--space", "lr_bs", *model, "--name", "run")
    done = typed(*run, folder=tmp_path, HF_HOME=str(tmp_path / "hf"))
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"preflight: weights: timm/resnet10t.c3_in1k/model.safetensors is not in {tmp_path}/hf/hub; "
        f"fetch it: jouletune preflight --space lr_bs {shlex.join(model)} --download "
        "(--skip-preflight starts anyway)"
    ]
    assert not (tmp_path / "results").exists()


def test_a_trial_without_its_weights_fails_at_once_and_says_so(tmp_path: Path) -> None:
    model = ("--set", "parameters.model={value: resnet10t}", "--set", "parameters.weights={value: hub}")
    limits = ("--trials", 1, "--name", "run", "--skip-preflight")
    done = typed("search", "--space", "lr_bs", *model, *limits, folder=tmp_path, HF_HOME=str(tmp_path / "hf"))
    assert done.returncode == 1
    (trial,) = pd.read_csv(tmp_path / "results/run/trials.csv").to_dict("records")
    assert trial["status"] == "failed"
    assert trial["cause"] == "weights_missing"


def fated(
    folder: Path, *fates: str, backend: str = "ray", **env: str
) -> tuple[pd.DataFrame, subprocess.CompletedProcess[str]]:
    """A search over the default fate and these ones; its table by fate."""
    (folder / "fateful.py").write_text(FATEFUL)
    space = folder / "fates.yaml"
    space.write_text(
        "method: grid\n"
        f"parameters: {{fate: {{values: [fine, {', '.join(fates)}]}}}}\n"
        "search: {trainable: ./fateful.py, data: none, ladder: {epochs: [1, 3]}}\n"
    )
    done = typed("search", "--space", space, "--name", "run", "--backend", backend, folder=folder, **env)
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(folder / "results/run/trials.csv", keep_default_na=False)
    return table.set_index("fate"), done


@pytest.mark.parametrize("backend", ["ray", "ray-core"])
def test_a_trial_that_raises_one_that_returns_nan_and_one_that_exits_leave_labelled_rows(
    backend: str, tmp_path: Path
) -> None:
    table, _ = fated(tmp_path, "raise", "nan", "exit", backend=backend)
    statuses = {"fine": "finished", "raise": "failed", "nan": "diverged", "exit": "failed"}
    assert dict(table["status"]) == statuses
    causes = {"fine": "", "raise": "crash", "nan": "diverged", "exit": "lost_worker"}
    assert dict(table["cause"]) == causes
    assert dict(table["attempts"]) == {"fine": 1, "raise": 1, "nan": 1, "exit": 2}
    log = (tmp_path / "results/run/trials" / table.loc["raise", "trial_id"] / "log.txt").read_text()
    assert "KeyError: 'a mistake in the training code'" in log
    assert "Traceback" in log


def test_a_model_outside_its_bound_ends_before_it_trains_and_the_others_have_a_front(tmp_path: Path) -> None:
    space = tmp_path / "small.yaml"
    space.write_text(
        "search:\n"
        "  trainable: classification\n"
        "  data: digits\n"
        "  objective: [val_accuracy, macs_g]\n"
        "  constraints: {params_m: {max: 1}}\n"
        "  trials: [{model: mnist_cnn}, {model: resnet20}]\n"
        "  ladder: {epochs: [1], subset: 0.1, resolution: 14}\n"
        "  resources: {workers: 1}\n"
    )
    done = typed("search", "--space", space, "--name", "run", "--no-report", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "1 of 2 trials are infeasible" in done.stdout
    folder = tmp_path / "results" / "run"
    trials = pd.read_csv(folder / "trials.csv").set_index("model")
    large = trials.loc["mnist_cnn"]
    assert (large["status"], large["cause"], large["epochs"]) == ("infeasible", "constraint", 0)
    assert large["message"] == f"params_m is {large['params_m']:.4g}, must be at most 1"
    front = pd.read_csv(folder / "pareto.csv")
    assert front["model"].tolist() == ["resnet20"]
    assert front["macs_g"].tolist() == trials.loc[["resnet20"], "macs_g"].tolist()


@pytest.mark.parametrize("backend", ["ray", "ray-core"])
def test_a_worker_killed_by_rays_memory_monitor_is_one_failed_trial(backend: str, tmp_path: Path) -> None:
    sizes_kib = dict(re.findall(r"(\w+): +(\d+) kB", Path("/proc/meminfo").read_text()))
    total_kib, available_kib = int(sizes_kib["MemTotal"]), int(sizes_kib["MemAvailable"])
    threshold = (total_kib - available_kib + 3 * 2**20) / total_kib
    table, _ = fated(
        tmp_path,
        "oom",
        backend=backend,
        RAY_memory_usage_threshold=f"{threshold:.3f}",
        RAY_memory_monitor_refresh_ms="50",
    )
    assert dict(table["status"]) == {"fine": "finished", "oom": "failed"}
    assert table.loc["oom", "cause"] == "out_of_memory"
    assert table.loc["oom", "attempts"] == 1
