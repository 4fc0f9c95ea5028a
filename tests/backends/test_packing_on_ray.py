"""Trials packed by memory on a real Ray session, with each engine: measured, placed, and grown."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from search.ledger import Ledger
from tests.support.slow_searches import SLOW, run_in, searched

pytestmark = pytest.mark.slow

# It holds what its hparams say from its first epoch on, and so much more from the second on.
HOLDING = SLOW.replace("score: float = 0.5", "size_mib: int = 50\n    growth_mib: float = 0.0").replace(
    "        time.sleep(self.hparams.pause_s)\n",
    "        more = self.hparams.growth_mib * (self.epochs_done > 0)\n"
    "        self.held = b'x' * int((self.hparams.size_mib + more) * 2**20)\n",
).replace("self.hparams.score", "0.5")  # fmt: skip
TRIALS = [
    {"size_mib": 50, "growth_mib": 0.0},
    {"size_mib": 50, "growth_mib": 400.0},  # of the same kind, as fractions are not counted
    {"size_mib": 600, "growth_mib": 0.0},
]


@pytest.mark.parametrize("backend", ["ray", "ray-core"])
def test_trials_are_measured_and_one_that_outgrows_its_share_goes_on(tmp_path: Path, backend: str) -> None:
    (tmp_path / "space.py").write_text(HOLDING)
    search = {
        "trainable": "./space.py",
        "data": "none",
        "ladder": {"epochs": [3]},
        "scheduler": {"mode": "none"},
        "trials": TRIALS,
        "resources": {"pack": "memory", "memory_gib": 3, "gpus_per_trial": 0, "cpus_per_trial": 0.5},
    }
    ranges = {"size_mib": {"values": [50, 600]}, "growth_mib": {"min": 0.0, "max": 500.0}}
    (tmp_path / "space.yaml").write_text(json.dumps({"parameters": ranges, "search": search}))
    done = searched(tmp_path, "--backend", backend, "--no-report")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "trials are packed by memory: nodes with " in done.stderr + done.stdout
    table = pd.read_csv(run_in(tmp_path) / "trials.csv").set_index("trial_id").sort_index()
    assert table["status"].tolist() == ["finished"] * 3
    assert table["attempts"].tolist() == [1] * 3
    assert table["epochs"].tolist() == [3] * 3
    held = table["memory_mib"].tolist()
    assert held[1] - held[0] == pytest.approx(400, abs=100)
    assert held[2] - held[0] == pytest.approx(550, abs=100)
    grown = Ledger.open(run_in(tmp_path)).read_history().trials["trial-0001"]
    assert [row.epoch for row in grown.rows] == [1, 2, 3]  # no epoch was repeated
