"""Searches with the real command and a slow trainable, in a test's own folder."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.support.processes import begun, typed

# Its hparams set how long an epoch takes and what it scores.
SLOW = """
import time
from dataclasses import dataclass
from trainables.core.contract import Trainable

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
        return {"val_accuracy": self.hparams.score + 0.01 * self.epochs_done, "num_examples": 100}
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
_SCORES = {"score": {"min": 0.0, "max": 0.9}}
_WORDS = ("--space", "./space.yaml", "--name", "run")


def slow_space(
    folder: Path, *, name: str = "space", parameters: Any = _SCORES, trainable: str = SLOW, **settings: Any
) -> None:
    """Write a space of this name and its trainable into `folder`; `settings` go under `search`."""
    (folder / f"{name}.py").write_text(trainable)
    search = {"trainable": f"./{name}.py", "data": "none", **settings}
    (folder / f"{name}.yaml").write_text(json.dumps({"parameters": parameters, "search": search}))


def searched(folder: Path, *flags: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Search space.yaml to the end."""
    return typed("search", *_WORDS, *flags, folder=folder, **env)


def searching(folder: Path, *flags: str, **env: str) -> subprocess.Popen[str]:
    """Start a search of space.yaml."""
    return begun("search", *_WORDS, *flags, folder=folder, **env)


def run_in(folder: Path) -> Path:
    """The folder of the run that such a search writes."""
    return folder / "results" / "run"


def events_in(folder: Path) -> list[dict[str, Any]]:
    """The events in its journal so far, without a line that is still being written."""
    journal = run_in(folder) / "journal.jsonl"
    lines = journal.read_text().splitlines(keepends=True) if journal.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def energy_checked(run: Path) -> subprocess.CompletedProcess[str]:
    return typed("check_energy", run, folder=run)


def added_up(run: Path) -> bool:
    check = energy_checked(run)
    return (check.returncode, check.stderr) == (0, "")
