"""The same search with Ray Tune and with Ray Core alone; `make test-oldest-ray` has the oldest Ray do it."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pandas as pd
import pytest
import ray

from tests.support.processes import ROOT, ran, typed
from tests.support.toy_runs import toy_file

_DECIDED = ["rank", "trial_id", "status", "proposed_by", "parent_trial", "val_accuracy", "rung", "epochs"]


@pytest.mark.slow
def test_both_engines_take_the_same_decisions_on_one_worker_and_resume_each_others_runs(
    tmp_path: Path,
) -> None:
    space = toy_file(tmp_path)
    words = ("search", "--space", space, "--set", "search.resources.workers=1")
    tables = {}
    for backend in ("ray", "ray-core"):
        done = typed(*words, "--name", backend, "--backend", backend, "--trials", 8, folder=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "ended: all 8 trials done" in done.stdout
        folder = tmp_path / "results" / backend
        tables[backend] = pd.read_csv(folder / "trials.csv")[_DECIDED]
        packages = json.loads((folder / "environment.json").read_text())["packages"]
        assert packages["ray"] == ray.__version__
    pd.testing.assert_frame_equal(tables["ray"], tables["ray-core"])
    more = ("--name", "ray", "--backend", "ray-core", "--trials", 12)
    done = typed(*words, *more, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "ended: all 12 trials done" in done.stdout


def test_the_engine_of_ray_core_loads_nothing_of_ray_tune() -> None:
    code = (
        "import sys; import search.backends.ray.core_controller, search.backends.ray.executor; "
        "print([name for name in sys.modules if re.match(r'ray\\.(tune|train|air)\\b', name)])"
    )
    done = ran(sys.executable, "-c", f"import re; {code}", folder=ROOT)
    assert done.stdout == "[]\n", done.stderr


def test_the_oldest_ray_that_is_tested_is_the_oldest_that_is_allowed() -> None:
    oldest = re.search(r"^OLDEST_RAY := \.ray-(\S+)\.0$", (ROOT / "Makefile").read_text(), re.M)
    allowed = re.search(r'"ray\[default,tune\]>=(\S+),<3"', (ROOT / "pyproject.toml").read_text())
    assert oldest
    assert allowed
    assert oldest[1] == allowed[1]
