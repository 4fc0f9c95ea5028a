"""Trials of two processes in warm workers of Ray, and their promotion, which equals one in one process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.support.processes import typed
from tests.support.slow_searches import added_up, run_in

pytestmark = pytest.mark.slow

SPACE: dict[str, Any] = {
    "parameters": {"lr": {"values": [0.01, 0.02]}},
    "search": {
        "trainable": "classification",
        "data": "digits",
        "defaults": {"model": "mnist_cnn", "batch_size": 50, "lr": 0.02},
        "precision": "fp32",
        "ladder": {"epochs": [1, 2], "subset": 101, "resolution": 8},
        "sampler": "grid",
        "scheduler": {"mode": "none"},
        "resources": {"processes_per_trial": 2, "cpus_per_trial": 1, "workers": 1},
        "promote": {"top": 1, "seeds": 1},
    },
}


def test_a_search_over_two_processes_and_a_promotion_that_equals_one_process(tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text(json.dumps(SPACE))
    done = typed("search", "--space", "./space.yaml", "--name", "run", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    run = run_in(tmp_path)
    trials = pd.read_csv(run / "trials.csv")
    assert len(trials) == 2
    assert set(trials["status"]) == {"finished"}
    assert trials["notes"].str.contains("processes: 2: each computes its share").all()
    logs = [path.read_text() for path in run.rglob("log.txt")]
    assert not [log for log in logs if "ended with its trial" in log or "Traceback" in log]
    assert added_up(run)
    for number in (2, 1):
        flags = ("--backend", "local", "--processes-per-trial", number, "--no-report")
        done = typed("promote", "run", *flags, folder=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
    two, one = (pd.read_csv(run / name / "trials.csv").iloc[0] for name in ("promotion", "promotion-2"))
    assert ["processes: 2" in each["notes"] for each in (two, one)] == [True, False]
    for name in ("train_loss", "val_loss", "test_loss", "test_accuracy"):
        assert two[name] == pytest.approx(one[name], abs=1e-5)
