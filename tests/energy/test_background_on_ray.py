"""A pair on a real Ray session: its joules on the fake NVML, and that nothing of it outlives the run."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest

from tests.support.gpus import UNSEEN_BY_TORCH, made_gpu
from tests.support.processes import is_alive, wait_for
from tests.support.slow_searches import SLOW, added_up, events_in, run_in, searching, slow_space

pytest_plugins = ["tests.support.fake_nvml_library"]
pytestmark = pytest.mark.slow

NO_GPU = {"CUDA_VISIBLE_DEVICES": ""}
# Each epoch of the load leaves a line with its process.
LEAVES_LINES = """
import os
from pathlib import Path
_pause = time.sleep
def _noted(seconds):
    _pause(seconds)
    with Path(__file__).with_name("epochs").open("a") as lines:
        lines.write(f"{os.getpid()}\\n")
time = type("Time", (), {"sleep": staticmethod(_noted)})
"""
FAILS = """
class Failing(Slow):
    def run_epoch(self, budget):
        if Path(__file__).with_name("epochs").read_text().count("\\n") >= 4:
            raise KeyError("a mistake in the load")
        return super().run_epoch(budget)
TRAINABLE = Trainable(hparams=Hparams, metric="val_accuracy", mode="max",
                      start=lambda hparams, horizon, env: Failing(hparams))
"""


def begun(folder: Path, *flags: str, more: str = "", **env: str) -> subprocess.Popen[str]:
    """The search of two trials beside a load, under way; `more` stands in the load's file."""
    slow_space(folder, ladder={"epochs": [5]}, limits={"trials": 2})
    slow_space(
        folder,
        name="load",
        parameters={"pause_s": {"value": 0.3}},
        trainable=SLOW + LEAVES_LINES + more,
        ladder={"epochs": [2]},
        limits={"trials": 1},
    )
    (folder / "epochs").touch()
    return searching(folder, UNSEEN_BY_TORCH, "--background", "./load.yaml", *flags, **env)


def wait_for_first_epoch(folder: Path, search: subprocess.Popen[str]) -> int:
    """Until a trial has trained beside the load; gives the load's process."""
    wait_for(
        lambda: search.poll() is not None or any(event["event"] == "epoch" for event in events_in(folder)),
        most_s=120,
        every_s=0.1,
    )
    assert search.poll() is None, search.communicate()[0]
    (pid,) = set((folder / "epochs").read_text().split())
    return int(pid)


def test_the_joules_of_a_pair_add_up_to_the_devices_counter(tmp_path: Path, fake_nvml_library: Path) -> None:
    search = begun(tmp_path, **made_gpu(tmp_path, fake_nvml_library))
    output, _ = search.communicate(timeout=240)
    assert search.returncode == 0, output
    run = run_in(tmp_path)
    trials, devices = pd.read_csv(run / "trials.csv"), pd.read_csv(run / "devices.csv")
    (gpu,) = devices[devices["device"] == "GPU-one"].to_dict("records")
    parts = ("trials", "starts", "background", "external", "idle", "unaccounted")
    total_mj = sum(round(gpu[f"energy_{part}_j"] * 1000) for part in parts)
    assert total_mj == gpu["counter_end_mj"] - gpu["counter_start_mj"]
    assert gpu["residual_j"] == 0
    assert round(trials["energy_gpu_j"].sum() * 1000) == round(gpu["energy_trials_j"] * 1000)
    assert sorted(trials["trial_id"]) == ["trial-0000", "trial-0001"]
    assert set(trials["gpu_attribution"]) == {"reserved"}  # the fake driver names no process
    assert trials["exclusive_fraction"].max() == 0
    assert trials["notes"].str.contains("load was trained repeatedly on 0.5 of the same GPU").all()
    # Five epochs of 0.4 s at 200 W on average, half of it the load's, are 200 J.
    assert trials["energy_gpu_j"].between(150, 600).all()
    (ended,) = [event for event in events_in(tmp_path) if event["event"] == "background_ended"]
    of_load_mj = ended["energy"]["gpu_mj"] + ended["start_energy"]["gpu_mj"]
    assert of_load_mj == round(gpu["energy_background_j"] * 1000)
    epochs = (tmp_path / "epochs").read_text().split()
    assert len(epochs) > 4  # a training has two
    assert "background: load trains on 1 CPU and 0.5 of the GPU, beside 1 trial at a time" in output
    assert "background" in output.split("energy by outcome")[1]
    assert added_up(run)


def test_without_a_gpu_the_pair_shares_the_cpus(tmp_path: Path) -> None:
    watts = ("search.metering.cpu_watts_idle=10", "search.metering.cpu_watts_max=100")
    sets = [part for watt in watts for part in ("--set", watt)]
    search = begun(tmp_path, *sets, **NO_GPU)
    output, _ = search.communicate(timeout=240)
    assert search.returncode == 0, output
    run = run_in(tmp_path)
    trials, devices = pd.read_csv(run / "trials.csv"), pd.read_csv(run / "devices.csv")
    assert devices["energy_background_j"].gt(0).all()
    assert trials["notes"].str.contains("on 1 cores of the same CPUs").all()
    assert added_up(run)


def test_a_load_that_fails_ends_the_run_loudly(tmp_path: Path) -> None:
    search = begun(tmp_path, "--set", "search.ladder.epochs=[500]", more=FAILS, **NO_GPU)
    output, _ = search.communicate(timeout=240)
    assert search.returncode == 1, output
    assert "the background load failed: crash: KeyError: 'a mistake in the load' (see " in output
    log = run_in(tmp_path) / "background" / "log.txt"
    assert "KeyError: 'a mistake in the load'" in log.read_text()
    trials = pd.read_csv(run_in(tmp_path) / "trials.csv")
    assert set(trials["status"]) == {"interrupted"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_load_continues_after_its_driver(tmp_path: Path, number: signal.Signals) -> None:
    search = begun(tmp_path, "--set", "search.ladder.epochs=[500]", **NO_GPU)
    load = wait_for_first_epoch(tmp_path, search)
    assert is_alive(load)
    search.send_signal(number)
    search.wait(60)
    wait_for(lambda: not is_alive(load), most_s=10)
    trained = (tmp_path / "epochs").read_text()
    time.sleep(1.0)
    assert (tmp_path / "epochs").read_text() == trained
