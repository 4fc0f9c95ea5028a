"""The real command, killed without warning and started again. Slow.

JOULETUNE_KILLS=25 kills it 25 times instead of 4.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[1]
NUM_KILLS = int(os.environ.get("JOULETUNE_KILLS", "4"))

# A quarter of a second an epoch, so that kills fall into training as well as between trials.
SLOW = """
import time
from dataclasses import dataclass
from trainables.contract import Trainable
from trainables.toy import Hparams, ToyTraining

class Slow(ToyTraining):
    def run_epoch(self, budget):
        time.sleep(0.25)
        return super().run_epoch(budget)

TRAINABLE = Trainable(hparams=Hparams, metric="val_accuracy", mode="max",
                      start=lambda hparams, horizon, env: Slow(hparams, env))
"""
SPACE = """
parameters:
  lr: {distribution: log_uniform_values, min: 1e-4, max: 1.0}
  batch_size: {values: [16, 32, 64, 128]}
search:
  trainable: ./slow.py
  data: none
  ladder: {epochs: [1, 3, 6]}
  limits: {trials: 30}
  resources: {workers: 1}
"""
COLUMNS = [
    "rank",
    "trial_id",
    "status",
    "val_accuracy",
    "rung",
    "epochs",
    "lr",
    "batch_size",
    "noise",
    "seed",
]

pytestmark = pytest.mark.slow


def started(folder: Path, name: str) -> subprocess.Popen[bytes]:
    log = (folder / f"{name}.log").open("ab")
    return subprocess.Popen(
        [sys.executable, ROOT / "scripts/search.py", "--space", folder / "slow.yaml", "--name", name],
        cwd=folder,
        env={**os.environ, "NO_COLOR": "1"},
        stdout=log,
        stderr=subprocess.STDOUT,
    )


def descendants(pid: int) -> list[int]:
    """All processes below `pid`, workers and Ray's own among them."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it ended meanwhile
            continue
        children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found, frontier = [], [pid]
    while frontier:
        below = children.get(frontier.pop(), [])
        found += below
        frontier += below
    return found


def kill(pids: list[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def workers_of(pids: list[int]) -> list[int]:
    names = {}
    for pid in pids:
        try:
            names[pid] = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
    return [pid for pid, name in names.items() if b"ray::TrialWorker" in name]


def test_killed_at_random_moments_a_search_ends_as_if_undisturbed(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    (tmp_path / "slow.yaml").write_text(SPACE)
    assert started(tmp_path, "whole").wait(300) == 0
    draw = random.Random(0)
    kills = 0
    while kills < NUM_KILLS:
        process = started(tmp_path, "killed")
        time.sleep(draw.uniform(6, 14))
        if process.poll() is not None:
            break
        below = descendants(process.pid)
        if kills % 4 == 3 and workers_of(below):  # a worker alone: the driver goes on by itself
            kill(workers_of(below))
            time.sleep(2)
            below = descendants(process.pid)
        kill([process.pid, *below])
        process.wait(30)
        kills += 1
    assert kills >= min(NUM_KILLS, 3)
    last = started(tmp_path, "killed")
    assert last.wait(300) == 0, (tmp_path / "killed.log").read_text()[-3000:]

    tables = [pd.read_csv(tmp_path / "results" / name / "trials.csv") for name in ("whole", "killed")]
    whole, killed = (table[COLUMNS] for table in tables)
    assert len(killed) == 30
    assert killed["trial_id"].is_unique
    pd.testing.assert_frame_equal(killed, whole)
