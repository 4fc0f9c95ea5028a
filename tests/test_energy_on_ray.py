"""Trials that share a GPU on a real Ray session, with the fake NVML under the real nvidia-ml-py."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

pytest_plugins = ["fake_nvml_library"]
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
SEARCH = ROOT / "scripts" / "search.py"  # preflight asks torch for the GPU, and the fake one is NVML's alone
SLOW = """
import time
from dataclasses import dataclass
from trainables.contract import Trainable

@dataclass(frozen=True, kw_only=True)
class Hparams:
    score: float = 0.5
    pause_s: float = 0.4

class Slow:
    def __init__(self, hparams):
        self.hparams, self.epochs_done = hparams, 0
    def run_epoch(self, budget):
        time.sleep(self.hparams.pause_s)
        self.epochs_done += 1
        return {"val_accuracy": self.hparams.score + 0.01 * self.epochs_done, "num_samples": 100}
    def test(self):
        return {"test_accuracy": self.hparams.score}
    def notes(self):
        return {}
    def state_dict(self):
        return {"epochs_done": self.epochs_done}
    def load_state_dict(self, state):
        self.epochs_done = state["epochs_done"]

TRAINABLE = Trainable(hparams=Hparams, metric="val_accuracy", mode="max",
                      start=lambda hparams, horizon, env: Slow(hparams))
"""
SPACE = """
parameters: {score: {min: 0.0, max: 0.9}}
search:
  trainable: ./slow.py
  data: none
  ladder: {epochs: [2, 4]}
  limits: {trials: 8}
  resources: {gpus_per_trial: 0.25, cpus_per_trial: 0.5, workers: 4}
"""


def searched(folder: Path, library: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """The search of SPACE on a machine with one GPU that draws 100 W and 300 W in turns."""
    (folder / "slow.py").write_text(SLOW)
    (folder / "space.yaml").write_text(SPACE)
    since_us = int(time.time() * 1e6)
    (folder / "nvml.txt").write_text(
        f"count 1\n0.uuid GPU-fake\n0.name Fake GPU\ndriver_version 999.1\n0.power_limit_mw 400000\n"
        f"0.temperature_c 61\n0.profile {since_us} 20 100000:500 300000:500\n"
    )
    env = {
        **os.environ,
        "LD_LIBRARY_PATH": str(library.parent),
        "FAKE_NVML_SCRIPT": str(folder / "nvml.txt"),
        "NO_COLOR": "1",
    }
    return subprocess.run(
        [sys.executable, SEARCH, "--skip-preflight", "--space", "./space.yaml", "--name", "run", *flags],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_four_trials_of_a_quarter_gpu_add_up_to_the_devices_counter(
    tmp_path: Path, fake_nvml_library: Path
) -> None:
    done = searched(tmp_path, fake_nvml_library)
    assert done.returncode == 0, done.stdout + done.stderr
    folder = tmp_path / "results" / "run"
    trials, devices = pd.read_csv(folder / "trials.csv"), pd.read_csv(folder / "devices.csv")
    gpu = devices[devices["device"] == "GPU-fake"]
    assert len(gpu) == 1
    row = gpu.iloc[0]
    parts = ("trials", "external", "idle", "unaccounted")
    total_mj = sum(round(row[f"energy_{part}_j"] * 1000) for part in parts)
    assert total_mj == row["counter_end_mj"] - row["counter_start_mj"]
    assert row["residual_j"] == 0
    assert round(trials["energy_gpu_j"].sum() * 1000) == round(row["energy_trials_j"] * 1000)
    assert trials["energy_gpu_j"].gt(0).all()
    assert set(trials["gpu_source"]) == {"nvml_counter"}
    assert set(trials["gpu_model"]) == {"Fake GPU"}
    assert added_up(folder)


def added_up(run: Path) -> bool:
    check = subprocess.run(
        [sys.executable, ROOT / "scripts" / "check_energy.py", run],
        capture_output=True,
        text=True,
        check=False,
    )
    return (check.returncode, check.stderr) == (0, "")


def test_with_solo_slices_a_search_ends_and_still_adds_up(tmp_path: Path, fake_nvml_library: Path) -> None:
    flags = ["search.metering.solo_slices=true", "search.ladder.epochs=[20]", "search.scheduler.mode=none"]
    sets = [part for flag in flags for part in ("--set", flag)]
    done = searched(tmp_path, fake_nvml_library, *sets, "--trials", "2", "--workers", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    trials = pd.read_csv(tmp_path / "results" / "run" / "trials.csv")
    assert set(trials["status"]) == {"finished"}
    assert trials["seconds"].max() > 20 * 0.4 + 3  # who came first held while the other had its slice of 5 s
    assert added_up(tmp_path / "results" / "run")


def test_accuracy_and_joules_give_a_front_that_no_stopped_trial_is_on(
    tmp_path: Path, fake_nvml_library: Path
) -> None:
    changes = ["parameters.pause_s={values: [0.2, 0.4, 0.8]}", "search.objective=[val_accuracy, energy]"]
    flags = [flag for change in changes for flag in ("--set", change)]
    done = searched(tmp_path, fake_nvml_library, *flags, "--trials", "12", "--gpus-per-trial", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    folder = tmp_path / "results" / "run"
    front, trials = pd.read_csv(folder / "pareto.csv"), pd.read_csv(folder / "trials.csv")
    rows = list(front.itertuples())
    assert rows
    assert not [(one, other) for one in rows for other in rows if is_better(one, other)]
    assert set(front["rung"]) == {1}
    early = trials[trials["rung"] == 0]
    assert len(early) >= 3
    own_j = pd.read_csv(folder / "energy.csv").groupby("trial_id")["energy_gpu_j"].sum()
    epochs_j = early["energy_projected_full_j"] / 2  # two epochs of four, all alike
    assert (epochs_j <= early["trial_id"].map(own_j) + 0.001).all()
    four_epochs_j = 4 * trials["pause_s"] * 100  # at the lower power
    assert (trials["energy_projected_full_j"] > 0.9 * four_epochs_j).all()
    assert "J of full training" in done.stdout
    assert not set(front["trial_id"]) & set(early["trial_id"])


def is_better(one: Any, other: Any) -> bool:
    """Whether one is nowhere worse, and somewhere better by more than is uncertain."""
    cheaper_j = other.objective_j - one.objective_j
    tied = abs(cheaper_j) <= one.objective_uncert_j + other.objective_uncert_j
    gain = one.val_accuracy - other.val_accuracy
    return bool(gain >= 0 and (tied or cheaper_j > 0) and (gain > 0 or not tied))
