"""Trials that share a GPU on a real Ray session, with the fake NVML under the real nvidia-ml-py."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.support.gpus import UNSEEN_BY_TORCH, made_gpu
from tests.support.slow_searches import added_up, run_in, searched, slow_space

pytest_plugins = ["tests.support.fake_nvml_library"]
pytestmark = pytest.mark.slow


def shared(folder: Path, library: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """A search of which four trials at a time share one GPU."""
    quarter = {"gpus_per_trial": 0.25, "cpus_per_trial": 0.5, "workers": 4}
    slow_space(folder, ladder={"epochs": [2, 4]}, limits={"trials": 8}, resources=quarter)
    return searched(folder, UNSEEN_BY_TORCH, *flags, **made_gpu(folder, library))


def test_four_trials_of_a_quarter_gpu_add_up_to_the_devices_counter(
    tmp_path: Path, fake_nvml_library: Path
) -> None:
    done = shared(tmp_path, fake_nvml_library)
    assert done.returncode == 0, done.stdout + done.stderr
    folder = run_in(tmp_path)
    trials, devices = pd.read_csv(folder / "trials.csv"), pd.read_csv(folder / "devices.csv")
    gpu = devices[devices["device"] == "GPU-one"]
    assert len(gpu) == 1
    row = gpu.iloc[0]
    parts = ("trials", "starts", "external", "idle", "unaccounted")
    total_mj = sum(round(row[f"energy_{part}_j"] * 1000) for part in parts)
    assert total_mj == row["counter_end_mj"] - row["counter_start_mj"]
    assert row["residual_j"] == 0
    assert round(trials["energy_gpu_j"].sum() * 1000) == round(row["energy_trials_j"] * 1000)
    assert trials["energy_gpu_j"].gt(0).all()
    assert set(trials["gpu_sensor"]) == {"nvml_counter"}
    assert set(trials["gpu_model"]) == {"Fake one"}
    assert added_up(folder)


def test_with_exclusive_slots_a_search_ends_and_still_adds_up(
    tmp_path: Path, fake_nvml_library: Path
) -> None:
    flags = [
        "search.metering.exclusive_slots=true",
        "search.ladder.epochs=[20]",
        "search.scheduler.mode=none",
    ]
    sets = [part for flag in flags for part in ("--set", flag)]
    done = shared(tmp_path, fake_nvml_library, *sets, "--trials", "2", "--workers", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    trials = pd.read_csv(run_in(tmp_path) / "trials.csv")
    assert set(trials["status"]) == {"finished"}
    held_s = trials["overhead_s"].max()
    assert held_s > 3  # who came first held while the other had its slice of 5 s
    assert added_up(run_in(tmp_path))


def test_accuracy_and_joules_give_a_front_that_no_stopped_trial_is_on(
    tmp_path: Path, fake_nvml_library: Path
) -> None:
    changes = ["parameters.pause_s={values: [0.2, 0.4, 0.8]}", "search.objective=[val_accuracy, energy]"]
    flags = [flag for change in changes for flag in ("--set", change)]
    done = shared(tmp_path, fake_nvml_library, *flags, "--trials", "12", "--gpus-per-trial", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    folder = run_in(tmp_path)
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
    cheaper_j = other.energy - one.energy
    tied = abs(cheaper_j) <= one.energy_uncertainty_j + other.energy_uncertainty_j
    gain = one.val_accuracy - other.val_accuracy
    return bool(gain >= 0 and (tied or cheaper_j > 0) and (gain > 0 or not tied))


def test_the_joules_of_a_trial_on_two_gpus_are_those_of_both(tmp_path: Path, fake_nvml_library: Path) -> None:
    both = {"gpus_per_trial": 2, "cpus_per_trial": 1}
    slow_space(tmp_path, ladder={"epochs": [2, 4]}, limits={"trials": 2}, resources=both)
    made = made_gpu(tmp_path, fake_nvml_library, others=["two"])
    done = searched(tmp_path, UNSEEN_BY_TORCH, **made)
    assert done.returncode == 0, done.stdout + done.stderr
    folder = run_in(tmp_path)
    trials, devices = pd.read_csv(folder / "trials.csv"), pd.read_csv(folder / "devices.csv")
    gpus = devices[devices["device"].isin(["GPU-one", "GPU-two"])]
    assert len(gpus) == 2
    assert gpus["energy_trials_j"].gt(0).all()
    assert set(gpus["residual_j"]) == {0}
    assert round(trials["energy_gpu_j"].sum() * 1000) == round(gpus["energy_trials_j"].sum() * 1000)
    assert set(trials["gpu_attribution"]) == {"exclusive"}
    assert added_up(folder)
