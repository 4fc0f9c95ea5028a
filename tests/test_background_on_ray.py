"""A pair on a real Ray session: its joules on the fake NVML, and that nothing of it outlives the run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from test_energy_on_ray import SLOW, added_up

pytest_plugins = ["fake_nvml_library"]
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
FOREGROUND = """
parameters: {score: {min: 0.0, max: 0.9}}
search:
  trainable: ./slow.py
  data: none
  ladder: {epochs: [5]}
  limits: {trials: 2}
"""
LOAD = """
parameters: {pause_s: {value: 0.3}}
search: {trainable: ./load.py, data: none, ladder: {epochs: [2]}, limits: {trials: 1}}
"""
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


def written(folder: Path, more: str = "") -> Path:
    """The two spaces with their trainables."""
    (folder / "slow.py").write_text(SLOW)
    (folder / "load.py").write_text(SLOW + LEAVES_LINES + more)
    (folder / "space.yaml").write_text(FOREGROUND)
    (folder / "load.yaml").write_text(LOAD)
    (folder / "epochs").touch()
    return folder


def with_gpu(folder: Path, library: Path) -> dict[str, str]:
    """An environment with one GPU that draws 100 W and 300 W in turns."""
    (folder / "nvml.txt").write_text(
        f"count 1\n0.uuid GPU-fake\n0.name Fake GPU\ndriver_version 999.1\n"
        f"0.profile {int(time.time() * 1e6)} 20 100000:500 300000:500\n"
    )
    return {"LD_LIBRARY_PATH": str(library.parent), "FAKE_NVML_SCRIPT": str(folder / "nvml.txt")}


def started(folder: Path, env: dict[str, str], *flags: str) -> subprocess.Popen[str]:
    # Preflight asks torch for the GPU, and the fake one is NVML's alone.
    command = [sys.executable, ROOT / "scripts" / "search.py", "--name", "run", "--skip-preflight"]
    return subprocess.Popen(
        [*command, "--space", "./space.yaml", "--background", "./load.yaml", *flags],
        cwd=folder,
        env={**os.environ, **env, "NO_COLOR": "1"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def events(folder: Path) -> list[dict[str, object]]:
    journal = folder / "results" / "run" / "journal.jsonl"
    lines = journal.read_text().splitlines(keepends=True) if journal.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def wait_for(condition: Callable[[], bool], *, most_s: float) -> None:
    end_s = time.monotonic() + most_s
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.1)


def wait_for_first_epoch(folder: Path, searching: subprocess.Popen[str]) -> int:
    """Until a trial has trained beside the load; gives the load's process."""
    wait_for(
        lambda: searching.poll() is not None or any(event["event"] == "epoch" for event in events(folder)),
        most_s=120,
    )
    assert searching.poll() is None, searching.communicate()[0]
    (pid,) = set((folder / "epochs").read_text().split())
    return int(pid)


def is_alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_the_joules_of_a_pair_add_up_to_the_devices_counter(tmp_path: Path, fake_nvml_library: Path) -> None:
    env = with_gpu(written(tmp_path), fake_nvml_library)
    searching = started(tmp_path, env)
    said, _ = searching.communicate(timeout=240)
    assert searching.returncode == 0, said
    run = tmp_path / "results" / "run"
    trials, devices = pd.read_csv(run / "trials.csv"), pd.read_csv(run / "devices.csv")
    (gpu,) = devices[devices["device"] == "GPU-fake"].to_dict("records")
    parts = ("trials", "background", "external", "idle", "unaccounted")
    total_mj = sum(round(gpu[f"energy_{part}_j"] * 1000) for part in parts)
    assert total_mj == gpu["counter_end_mj"] - gpu["counter_start_mj"]
    assert gpu["residual_j"] == 0
    assert round(trials["energy_gpu_j"].sum() * 1000) == round(gpu["energy_trials_j"] * 1000)
    assert sorted(trials["trial_id"]) == ["trial-0000", "trial-0001"]
    assert set(trials["gpu_attribution"]) == {"reserved"}  # the fake driver names no process
    assert trials["exclusive_frac"].max() == 0
    assert trials["notes"].str.contains("load was trained again and again on 0.5 of the same GPU").all()
    # Five epochs of 0.4 s at 200 W on average, half of it the load's, are 200 J.
    assert trials["energy_gpu_j"].between(150, 600).all()
    (ended,) = [event for event in events(tmp_path) if event["event"] == "background_ended"]
    assert ended["energy"]["gpu_mj"] == round(gpu["energy_background_j"] * 1000)  # type: ignore[index]
    epochs = (tmp_path / "epochs").read_text().split()
    assert len(epochs) > 4  # a training has two
    assert "background: load trains on 1 CPUs and 0.5 of the GPU, beside 1 trial(s) at a time" in said
    assert "background" in said.split("energy by outcome")[1]
    assert added_up(run)


def test_without_a_gpu_the_pair_shares_the_cpus(tmp_path: Path) -> None:
    written(tmp_path)
    watts = ("search.metering.cpu_watts_idle=10", "search.metering.cpu_watts_max=100")
    sets = [part for watt in watts for part in ("--set", watt)]
    searching = started(tmp_path, {"CUDA_VISIBLE_DEVICES": ""}, *sets)
    said, _ = searching.communicate(timeout=240)
    assert searching.returncode == 0, said
    run = tmp_path / "results" / "run"
    trials, devices = pd.read_csv(run / "trials.csv"), pd.read_csv(run / "devices.csv")
    assert devices["energy_background_j"].gt(0).all()
    assert trials["notes"].str.contains("on 1 cores of the same CPUs").all()
    assert added_up(run)


def test_a_load_that_fails_ends_the_run_loudly(tmp_path: Path) -> None:
    written(tmp_path, FAILS)
    searching = started(tmp_path, {"CUDA_VISIBLE_DEVICES": ""}, "--set", "search.ladder.epochs=[500]")
    said, _ = searching.communicate(timeout=240)
    assert searching.returncode == 1, said
    assert "the background load failed: crash: KeyError: 'a mistake in the load' (see " in said
    log = tmp_path / "results" / "run" / "background" / "log.txt"
    assert "KeyError: 'a mistake in the load'" in log.read_text()
    trials = pd.read_csv(tmp_path / "results" / "run" / "trials.csv")
    assert set(trials["status"]) == {"interrupted"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_load_goes_on_after_its_driver(tmp_path: Path, number: signal.Signals) -> None:
    written(tmp_path)
    searching = started(tmp_path, {"CUDA_VISIBLE_DEVICES": ""}, "--set", "search.ladder.epochs=[500]")
    load = wait_for_first_epoch(tmp_path, searching)
    assert is_alive(load)
    searching.send_signal(number)
    searching.wait(60)
    wait_for(lambda: not is_alive(load), most_s=10)
    trained = (tmp_path / "epochs").read_text()
    time.sleep(1.0)
    assert (tmp_path / "epochs").read_text() == trained
