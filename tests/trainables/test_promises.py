"""Broken promises of a trainable, each named with the place and with what is expected."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from search.budget import Ladder
from search.trial import Checkpointing, run_trial
from tests.support.toy_runs import SteadyMeter
from trainables.core.contract import BadResult, Budget, TrainingContext
from trainables.core.load import load_trainable

GOOD = """
import numpy, torch
from dataclasses import make_dataclass
from trainables.core.contract import Trainable

class Training:
    epochs_done = 0

    def run_epoch(self, budget):
        self.epochs_done += 1
        return {"val_accuracy": 0.5}

    def test(self): return {}
    def notes(self): return {}
    def state_dict(self): return {"epochs_done": self.epochs_done}
    def load_state_dict(self, state): self.epochs_done = state["epochs_done"]

def start(hparams, budget, context):
    return Training()

HPARAMS = make_dataclass("H", [], frozen=True)
TRAINABLE = Trainable(hparams=HPARAMS, metric="val_accuracy", mode="max", start=start)
"""
COUNTS = "        self.epochs_done += 1\n"
RESULT = 'return {"val_accuracy": 0.5}'
STATE = 'return {"epochs_done": self.epochs_done}'
LOADS = 'self.epochs_done = state["epochs_done"]'


def run(folder: Path, old: str = "", new: str = "", *, final: Path | None = None) -> None:
    """Two rungs of a trainable in which `old` is replaced, the second from a checkpoint.

    Args:
        final: Where a full training ends, with its test.
    """
    assert old in GOOD
    (folder / "promises_here.py").write_text(GOOD.replace(old, new) if old else GOOD)
    trainable = load_trainable(str(folder / "promises_here.py"))
    context = TrainingContext(data="none", data_seed=0, seed=0, cache_dir=folder)
    ladder = Ladder((Budget(epochs=1), Budget(epochs=2)))
    for _ in range(2):
        rows = run_trial(
            trainable,
            trainable.hparams(),
            ladder,
            context,
            SteadyMeter(),
            checkpointing=Checkpointing(path=folder / "checkpoint.pt"),
            final=final,
        )
        next(rows)
    assert [row.epoch for row in rows] == [2]


def test_a_trainable_that_keeps_all_is_trained_and_resumed(tmp_path: Path) -> None:
    run(tmp_path)


@pytest.mark.parametrize("method", ["    def test(self): return {}\n", "    def notes(self): return {}\n"])
def test_a_search_needs_neither_a_test_nor_notes(tmp_path: Path, method: str) -> None:
    run(tmp_path, method)


def test_full_training_without_a_test_is_refused_before_its_first_epoch(tmp_path: Path) -> None:
    with pytest.raises(
        BadResult, match=r"promises_here.Training has no test\(\).* write has_test=False in TRAINABLE"
    ):
        run(tmp_path, "    def test(self): return {}\n", final=tmp_path / "final.pt")
    assert not (tmp_path / "checkpoint.pt").exists()


@pytest.mark.parametrize("state", ["torch.ones(2)", "[1, (2.0, None)]", "{'a': {3: b'x'}}", "torch.float32"])
def test_what_a_checkpoint_can_hold_is_a_state(tmp_path: Path, state: str) -> None:
    run(tmp_path, STATE, STATE.replace("}", f", 'more': {state}}}"))


NOT_A_TRAINING = (
    "start must return a training with run_epoch(), state_dict(), load_state_dict(), "
    "epochs_done, a whole number, got None"
)
CURE = "give tensors (torch.from_numpy), numbers, text, dicts and lists (x.tolist())"


@pytest.mark.parametrize(
    ("old", "new", "message", "function"),
    [
        ("return Training()", "Training()", NOT_A_TRAINING, "def start"),
        (
            "    def state_dict(self): " + STATE + "\n",
            "",
            "start must return a training with state_dict(), got promises_here.Training",
            "def start",
        ),
        (
            "    epochs_done = 0\n",
            "    epochs_done = 3\n",
            "a new training must have epochs_done 0, got 3",
            "class Training",
        ),
        (
            COUNTS,
            "        pass\n",
            "run_epoch must count: epochs_done is 0 after epoch 1",
            "def run_epoch",
        ),
        (RESULT, "pass", "run_epoch must return a mapping of names to numbers, got None", "def run_epoch"),
        (
            RESULT,
            "return 0.5",
            "run_epoch must return a mapping of names to numbers, got float",
            "def run_epoch",
        ),
        (RESULT, "return {3: 0.5}", "run_epoch must name its numbers by text, got [3]", "def run_epoch"),
        (
            RESULT,
            'return {"acc": 0.5}',
            "run_epoch must return 'val_accuracy', got only ['acc']",
            "def run_epoch",
        ),
        (
            RESULT,
            'return {"val_accuracy": torch.tensor(0.5), "n": "3"}',
            "run_epoch must return plain numbers, got {'val_accuracy': 'Tensor', 'n': 'str'}; convert "
            "them with float()",
            "def run_epoch",
        ),
        (STATE, "return [1]", "state_dict must return a dict, got list", "def state_dict"),
        (
            STATE,
            STATE.replace("}", ", 'rng': [numpy.random.default_rng(0)], 'best': numpy.ones(2)}"),
            "state_dict has values that a checkpoint cannot hold: ['rng'][0] is "
            f"numpy.random._generator.Generator; ['best'] is numpy.ndarray; {CURE}",
            "def state_dict",
        ),
        (
            STATE,
            STATE.replace("}", ", 'model': self}"),
            "state_dict has values that a checkpoint cannot hold: ['model'] is promises_here.Training; "
            f"{CURE}",
            "def state_dict",
        ),
        (
            LOADS,
            "pass",
            "load_state_dict must restore epochs_done: it is 0, and was 1 when the state was taken",
            "def load_state_dict",
        ),
    ],
)
def test_a_broken_promise_is_named_with_its_place(
    tmp_path: Path, old: str, new: str, message: str, function: str
) -> None:
    with pytest.raises(BadResult) as refused:
        run(tmp_path, old, new)
    line = GOOD.replace(old, new).split(function)[0].count("\n") + 1
    assert str(refused.value) == f"{message} ({tmp_path}/promises_here.py, line {line})"


def test_numbers_of_numpy_are_numbers(tmp_path: Path) -> None:
    values: Any = 'return {"val_accuracy": numpy.float32(0.5), "num_examples": numpy.int64(3)}'
    run(tmp_path, RESULT, values)
