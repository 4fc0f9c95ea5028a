"""A minute of checks, one result a line, for every trainable there is."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from PIL import Image

from search import cli
from search.trial.smoke import CheckResult, SmokeTest
from tests.support.command_spaces import made_command
from tests.support.slow_trainables import SLOW_DATA, SLOW_LEARNERS, marked
from trainables.core.contract import TrainingContext
from trainables.core.load import load_trainable, trainable_names
from trainables.toy import ToyTraining

NAMES = [
    "training and validation",
    "test",
    "same seed, same values",
    "checkpoint",
    "resume",
    "precision bf16",
    "overfit",
]


def results(name: str, folder: Path, **changes: object) -> dict[str, CheckResult]:
    trainable = made_command(folder, **changes).load() if name == "command" else load_trainable(name)
    example = trainable.example
    context = TrainingContext(data=example.data, data_seed=0, seed=0, cache_dir=folder)
    found = SmokeTest(trainable, trainable.hparams(**example.hparams), context, resolution=None).results()
    return {result.name: result for result in found}


@pytest.mark.parametrize("name", marked([*trainable_names(), "command"], SLOW_LEARNERS | SLOW_DATA))
def test_every_trainable_passes(name: str, tmp_path: Path) -> None:
    found = results(name, tmp_path)
    assert list(found) == NAMES
    assert [result.text for result in found.values() if result.has_passed is False] == []
    learns = name != "command" and load_trainable(name).overfit is not None
    assert found["overfit"].has_passed is (True if learns else None)
    assert found["resume"].text == "largest difference 0"


def test_a_folder_of_few_photographs_passes(tmp_path: Path) -> None:
    """Of 120 images 18 are for validation, fewer than the 64 that are asked for."""
    for number in range(120):
        shade = Image.new("L", (16, 16), 40 + 100 * (number % 2) + number // 2)
        path = tmp_path / "photos" / ("dark", "light")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        shade.save(path)
    trainable = load_trainable("classification")
    hparams = trainable.hparams(model="mnist_cnn", batch_size=16)
    context = TrainingContext(
        data=f"imagefolder:{tmp_path}/photos", data_seed=0, seed=0, cache_dir=tmp_path, resolution=16
    )
    found = SmokeTest(trainable, hparams, context, resolution=16).results()
    assert [result.text for result in found if result.has_passed is False] == []


def test_each_fault_fails_its_own_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Generators that are not in the checkpoint, a metric that is NaN, a test set that cannot be read."""
    calls = iter(range(100))

    def run_epoch(self, budget):
        self.epochs_done += 1
        return {"val_accuracy": math.nan, "num_examples": float(next(calls))}

    def test(self):
        raise OSError("no such folder")

    monkeypatch.setattr(ToyTraining, "run_epoch", run_epoch)
    monkeypatch.setattr(ToyTraining, "test", test)
    found = results("toy", tmp_path)
    assert {name: result.text for name, result in found.items() if result.has_passed is False} == {
        "training and validation": "val_accuracy is nan",
        "test": "OSError: no such folder",
        "same seed, same values": "num_examples differs by 1, at most 0 is allowed",
        "resume": "num_examples differs by 1, at most 0 is allowed",
        "precision bf16": "val_accuracy is nan",
    }


def test_a_trainable_without_a_test_set_is_not_held_to_one(tmp_path: Path) -> None:
    found = results("command", tmp_path, test=[])["test"]
    assert found == CheckResult(name="test", has_passed=None, text="it has no test set")


def test_a_metric_that_is_not_reported_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run_epoch(self, budget):
        self.epochs_done += 1
        return {"val_acc": 0.5}

    monkeypatch.setattr(ToyTraining, "run_epoch", run_epoch)
    assert results("toy", tmp_path)["training and validation"].text == (
        "val_accuracy is missing, got only val_acc"
    )


def test_the_command_prints_one_result_per_line_and_fails_with_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JOULETUNE_CACHE", str(tmp_path))
    (tmp_path / "s.yaml").write_text(
        "parameters: {lr: {min: 0.1, max: 1.0}}\n"
        "search: {trainable: toy, data: none, ladder: {epochs: [1, 2]}, limits: {trials: 2}}\n"
    )
    assert cli.run("train", ["--space", str(tmp_path / "s.yaml"), "--smoke"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == [
        "not applicable  overfit: the trainable defines no overfit target",
        "smoke test passed",
    ]
    monkeypatch.setattr(ToyTraining, "test", lambda self: {})
    assert cli.run("train", ["--space", str(tmp_path / "s.yaml"), "--smoke"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "failed  test: test_accuracy is missing, got only " in lines
    assert lines[-1] == "smoke test failed: 1 check"
