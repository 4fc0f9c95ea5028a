"""HRNet-W18 whose weights lie in a hub's cache that was moved, without a network. Slow: it starts Ray."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from tests.support import weight_files
from tests.support.fake_hub import running_hub

ROOT = Path(__file__).parents[2]
FILE = "timm/hrnet_w18.ms_aug_in1k/model.safetensors"
HRNET = (
    "--set",
    "parameters={model: {value: hrnet_w18}, weights: {value: hub}, lr: {values: [0.01, 0.05]}}",
    "--set",
    "search.when={}",
    "--set",
    "search.ladder={epochs: [1], subset: [64], resolution: [64]}",
)

# Any connection raises, so that nothing can come from elsewhere than the cache.
TRAINING = """
import socket, sys
from pathlib import Path
def refuse(*_, **__):
    raise AssertionError("the network was used")
socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse
from trainables.core.contract import Budget, TrainingContext
from trainables.core.load import load_trainable
trainable = load_trainable("person_reid")
context = TrainingContext(
    data="persons", data_seed=0, seed=0, cache_dir=Path(sys.argv[1]), validation_subset=48
)
budget = Budget(epochs=1, subset=32)
training = trainable.start(trainable.hparams(model="hrnet_w18", weights="hub"), budget, context)
print(float(training.model.backbone.conv1.weight.detach().double().sum()))
print(training.run_epoch(budget)["train_loss"])
"""

pytestmark = pytest.mark.slow


def environment(folder: Path, **changes: str) -> dict[str, str]:
    """Variables of a user without a cache of their own, but with one at HF_HOME."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TORCH_HOME"))}
    (folder / "no-cache").mkdir(exist_ok=True)
    moved = {"HOME": str(folder / "no-cache"), "HF_HOME": str(folder / "hf"), "NO_COLOR": "1"}
    return {**clean, **moved, **changes}


def search(folder: Path, **changes: str) -> subprocess.CompletedProcess[str]:
    run = ["--space", "person_reid", *HRNET, "--trials", "1", "--workers", "1", "--name", "run"]
    return subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "search.py"), *run],
        cwd=folder,
        env=environment(folder, **changes),
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )


def test_it_is_searched_from_a_cache_that_was_moved_and_no_hub_is_asked(tmp_path: Path) -> None:
    weight_files.fill_hub_cache(tmp_path / "hf", "hrnet_w18")
    with running_hub({}) as hub:
        done = search(tmp_path, HF_ENDPOINT=hub.url)
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "results" / "run" / "trials.csv")
    assert table["status"].tolist() == ["finished"]
    assert table["val_map"].between(0, 1).all()
    assert hub.requests == []


def test_without_the_file_it_is_refused_before_the_first_trial_with_the_remedy(tmp_path: Path) -> None:
    with running_hub({}) as hub:
        done = search(tmp_path, HF_ENDPOINT=hub.url)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"preflight: weights: {FILE} is not in {tmp_path}/hf/hub; fetch it: "
        f"jouletune preflight --space person_reid {shlex.join(HRNET)} --download "
        "(--skip-preflight starts anyway)"
    ]
    assert not (tmp_path / "results").exists()
    assert hub.requests == []


def test_it_trains_from_that_file_where_every_connection_fails(tmp_path: Path) -> None:
    model = weight_files.fill_hub_cache(tmp_path / "hf", "hrnet_w18")
    done = subprocess.run(
        [sys.executable, "-c", TRAINING, str(tmp_path)],
        env=environment(tmp_path, PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, loss = map(float, done.stdout.split())
    assert first == pytest.approx(float(model.conv1.weight.detach().double().sum()), abs=1e-9)
    assert loss > 0
