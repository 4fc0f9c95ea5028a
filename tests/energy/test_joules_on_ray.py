"""A search whose rungs are measured in joules on a real Ray session, with the fake NVML."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from search.ledger import Ledger
from search.ledger.history import History
from tests.support.gpus import made_gpu
from tests.support.slow_searches import added_up, run_in, searched, slow_space

pytest_plugins = ["tests.support.fake_nvml_library"]
pytestmark = pytest.mark.slow

JOULES = (40, 120)


def test_for_the_same_rung_a_cheap_configuration_trains_more_epochs(
    tmp_path: Path, fake_nvml_library: Path
) -> None:
    cheap, costly = {"pause_s": 0.1}, {"pause_s": 0.5}
    slow_space(
        tmp_path,
        parameters={"pause_s": {"values": [0.1, 0.5]}},
        ladder={"resource": "energy_j", "joules": JOULES, "epochs": 60},
        horizon="anytime",
        scheduler={"mode": "none"},
        trials=[cheap, costly, cheap, costly],
        repeats=1,
        resources={"gpus_per_trial": 1, "workers": 1},
    )
    done = searched(tmp_path, **made_gpu(tmp_path, fake_nvml_library, profile="100000:1000"))
    assert done.returncode == 0, done.stdout + done.stderr
    run = run_in(tmp_path)
    trials, energy = pd.read_csv(run / "trials.csv"), pd.read_csv(run / "energy.csv")
    assert set(trials["status"]) == {"finished"}
    assert set(trials["gpu_attribution"]) == {"exclusive"}
    assert trials["energy_rungs_j"].ge(120).all()
    assert trials["energy_rungs_j"].le(trials["energy_gpu_j"]).all()
    epochs = trials.groupby("pause_s")["epochs"]
    assert epochs.min()[0.1] > 2 * epochs.max()[0.5]
    at_low = energy[energy["rung"] == 0].merge(trials[["trial_id", "pause_s"]], on="trial_id")
    low_epochs = at_low.groupby("pause_s")["epochs"]
    assert low_epochs.min()[0.1] > low_epochs.max()[0.5]
    for trial in History(Ledger.open(run).events()).trials.values():
        check_rungs(trial)
    assert added_up(run)


def check_rungs(trial: Any) -> None:
    """Each rung's end is the first row of the journal that has its joules; no row's joules fall."""
    used_j = [row.used.mj / 1000 for row in trial.rows]
    assert used_j == sorted(used_j)
    firsts = [next(number for number, used in enumerate(used_j) if used >= joules) for joules in JOULES]
    assert [number for number, row in enumerate(trial.rows) if row.ended_rung is not None] == sorted(
        set(firsts)
    )
    assert trial.rows[-1].ended_rung == len(JOULES) - 1
