"""What every trainable promises; a new one is found by itself."""

from __future__ import annotations

import dataclasses
import inspect
import math
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch

from tests.support.command_spaces import made_command
from tests.support.slow_trainables import SLOW_DATA, marked
from trainables.command.training import CommandTraining
from trainables.core.checkpoint import load_checkpoint, save_checkpoint
from trainables.core.contract import Budget, Trainable, Training, TrainingContext, unchecked
from trainables.core.deferred import Deferred, deferred
from trainables.core.load import load_trainable, trainable_names
from trainables.core.optional import tables_of_test
from trainables.engine.optimizer import check_groups

ROOT = Path(__file__).parents[2]
TINY = Budget(epochs=2, subset=0.1)
TIMES = {"train_s", "eval_s"}


@pytest.fixture(params=marked([*trainable_names(), "command"], SLOW_DATA))
def trainable(request, tmp_path) -> Trainable:
    """Each by its name; a command, which has no meaning without a script, with one of the tests'."""
    return made_command(tmp_path).load() if request.param == "command" else load_trainable(request.param)


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shared as trials share it: making the data of code takes longer than a tiny epoch of it."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def started(trainable, cache_dir) -> Callable[..., Training]:
    """A function that starts the trainable on the data it is tried out with."""
    example = trainable.example

    def start(seed: int = 0, **changes) -> Training:
        context = TrainingContext(data=example.data, data_seed=0, seed=seed, cache_dir=cache_dir)
        return trainable.start(trainable.hparams(**{**example.hparams, **changes}), TINY, context)

    return start


def without_times(values: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in values.items() if name not in TIMES}


def same(first, second) -> bool:
    """Whether two states are equal to the bit."""
    if isinstance(first, Mapping):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return torch.equal(first, second) if isinstance(first, torch.Tensor) else first == second


def test_a_tiny_epoch_gives_the_metric_as_a_finite_plain_float(trainable, started):
    training = started()
    values = training.run_epoch(TINY)
    assert math.isfinite(values[trainable.metric])
    assert {type(value) for value in values.values()} == {float}
    assert training.epochs_done == 1


def test_the_same_seed_gives_the_same_curve(started):
    curves = []
    for _ in range(2):
        training = started(seed=5)
        curves.append([without_times(training.run_epoch(TINY)) for _ in range(2)])
    assert curves[0] == curves[1]


def test_an_epoch_a_checkpoint_and_an_epoch_equal_two_epochs_to_the_bit(started, tmp_path):
    whole = started()
    whole.run_epoch(TINY)
    save_checkpoint(tmp_path / "state.pt", whole.state_dict())
    expected = without_times(whole.run_epoch(TINY))

    resumed = started()
    resumed.load_state_dict(load_checkpoint(tmp_path / "state.pt"))
    assert resumed.epochs_done == 1
    assert without_times(resumed.run_epoch(TINY)) == expected
    assert same(resumed.state_dict(), whole.state_dict())


def test_half_the_subset_is_half_the_examples(started):
    training = started()
    if isinstance(training, CommandTraining):
        pytest.skip("a process trains with what it was started with; test_command_ends.py has rungs")
    whole, half = (
        training.run_epoch(Budget(epochs=2, subset=subset))["num_examples"] for subset in (0.2, 0.1)
    )
    assert half == pytest.approx(whole / 2, abs=1)


def test_every_trainable_parameter_is_in_exactly_one_group(started):
    training = started()
    if not hasattr(training, "optimizer"):
        pytest.skip("has no optimiser")
    check_groups(training.model, training.optimizer)


def test_all_rates_move_with_the_schedule(trainable, started):
    names = {field.name for field in dataclasses.fields(trainable.hparams)}
    # A schedule that falls, and rates that stay apart: detectors train at a constant one by default.
    wanted = {"backbone_lr_ratio": 0.1, "unified_lr_epoch": None, "schedule": "cosine"}
    training = started(**{name: value for name, value in wanted.items() if name in names})
    if not hasattr(training, "optimizer"):
        pytest.skip("has no optimiser")
    rates = []
    for _ in range(2):
        training.run_epoch(TINY)
        rates.append([group["lr"] for group in training.optimizer.param_groups])
    falls = [later / earlier for earlier, later in zip(*rates, strict=True)]
    assert falls[0] < 1
    assert falls == pytest.approx([falls[0]] * len(falls))


def test_the_test_set_is_scored_on_its_own(trainable, started):
    scores = started().test()
    assert scores
    assert all(name.startswith("test_") for name in scores)


def test_details_of_the_test_are_tables_of_plain_data(started):
    training = started()
    training.test()
    tables = tables_of_test(training)
    cells = [cell for table in tables.values() for row in table.rows for cell in row]
    assert all(name.isidentifier() for name in tables)
    assert {type(cell) for cell in cells} <= {str, int, float, type(None)}


WITHOUT_TORCH = """
import sys, tempfile
from pathlib import Path
sys.modules["torch"] = None  # importing it, in whatever way, is an ImportError from now on
from trainables.core.contract import Budget, TrainingContext
from trainables.core.deferred import Deferred, deferred
from trainables.core.load import load_trainable, trainable_names

for name in trainable_names():
    trainable = load_trainable(name)
    data, hparams = trainable.example.data, trainable.hparams(**trainable.example.hparams)
    context = TrainingContext(data=data, data_seed=0, seed=0, cache_dir=Path(tempfile.mkdtemp()))
    try:
        trainable.start(hparams, Budget(epochs=1), context).run_epoch(Budget(epochs=1))
    except ImportError as error:
        assert "torch" in str(error), error
    else:
        print(name)
"""


def test_a_trainable_that_needs_torch_checks_the_device_before_a_run():
    """Each is trained where torch cannot be imported: however a file writes the import, that shows it."""
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    without_torch = set(done.stdout.split())
    assert without_torch == {"curves", "toy"}
    unable = {name for name in trainable_names() if load_trainable(name).check_device is unchecked}
    assert unable == without_torch


@pytest.mark.parametrize("name", trainable_names())
def test_one_that_has_a_choice_of_formats_says_what_auto_means_before_a_run(name):
    trainable = load_trainable(name)
    checks_gpus = trainable.check_device == deferred("trainables.engine.device_check:check_gpus")
    assert checks_gpus == (
        trainable.choose_precision == deferred("trainables.engine.cpu_precision:choose_precision")
    )


CALLS = ("start", "weights", "check_data", "check_device", "choose_precision", "rehearse")


@pytest.mark.parametrize("name", trainable_names())
def test_what_a_trainable_defers_is_there_and_takes_what_the_contract_gives(name):
    for call in CALLS:
        function = getattr(load_trainable(name), call)
        if isinstance(function, Deferred):
            num_given = {"start": 3, "rehearse": 3}.get(call, 1)
            inspect.signature(function.__wrapped__).bind(*range(num_given))


@pytest.mark.parametrize("name", trainable_names())
def test_a_familys_start_is_in_its_own_folder(name):
    start = load_trainable(name).start
    module = start.target.partition(":")[0] if isinstance(start, Deferred) else start.__module__
    assert module in {f"trainables.{name}", f"trainables.{name}.training"}
