"""Searches from Python: the same files and messages as the command's, as objects."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import jouletune
from search import cli
from search.backends.backend import Capacity
from search.backends.errors import SessionError
from search.space import Choice, Real, load_space
from search.trial.worker_env import offer_worker_env
from tests.support.run_without_ray import LocalTestBackend, search_without_ray
from tests.support.sealed_journals import write_sealed
from tests.support.toy_runs import TOY

ROOT = Path(__file__).parents[2]
SPACE: dict[str, Any] = {
    "name": "toy",
    "parameters": {
        "lr": {"distribution": "log_uniform_values", "min": 1e-4, "max": 1.0},
        "batch_size": {"values": (16, 32, 64)},
    },
    "search": {
        "trainable": "toy",
        "data": "none",
        "ladder": {"epochs": [1, 3]},
        "scheduler": {"mode": "asha_stopping"},
    },
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to search in, without Ray."""
    search_without_ray(monkeypatch)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_search_gives_its_trials_ranked_with_the_best_and_its_folder(here: Path) -> None:
    run = jouletune.search(SPACE, trials=6, name="mine", is_quiet=True)
    assert run.folder == here / "results" / "mine"
    assert run.ended == "all 6 trials done"
    table = pd.read_csv(run.folder / "trials.csv")
    assert run.ranked["rank"].tolist() == list(range(1, 7))
    assert run.ranked["trial_id"].tolist() == table["trial_id"].tolist()
    best, first = run.best, table.iloc[0]
    assert best is not None
    assert (best.trial_id, best.value, best.metric) == (
        first["trial_id"],
        first["val_accuracy"],
        "val_accuracy",
    )
    assert (best.hparams["lr"], best.hparams["batch_size"]) == (first["lr"], first["batch_size"])
    assert (best.rung, best.epochs, best.energy_j) == (first["rung"], first["epochs"], first["energy_j"])
    assert repr(run) == (
        f"<jouletune run {run.folder}: 6 trials, best {best.trial_id}: val_accuracy {best.value:.4g}>"
    )


class Size(Enum):
    SMALL = 16
    LARGE = 64


def test_values_of_python_and_numpy_are_taken_as_a_file_would_give_them(here: Path) -> None:
    (here / "photos").mkdir()
    space = {
        "parameters": {
            "lr": {"min": np.float32(0.25), "max": np.float64(1.0)},
            "batch_size": {"values": (Size.SMALL, Size.LARGE)},
            "noise": {"values": np.array([0.0, 0.5])},
        },
        "search": {"trainable": "toy", "data": "none", "ladder": {"epochs": range(1, 4)}},
    }
    overrides = {"search.limits.trials": np.int64(3), "search.seed": np.uint8(5), "name": Path("mine")}
    read = load_space(space, overrides=list(overrides.items()))
    assert read.parameters == {
        "lr": Real(0.25, 1.0),
        "batch_size": Choice((16, 64)),
        "noise": Choice((0.0, 0.5)),
    }
    assert (read.limits.trials, read.training.seed, read.name) == (3, 5, "mine")
    assert [rung.epochs for rung in read.ladder.rungs] == [1, 2, 3]
    run = jouletune.search(space, trials=2, overrides=overrides, is_quiet=True)
    assert set(run.trials["batch_size"]) <= {16, 64}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({16, 32}, "parameters.batch_size.values: must be a number or text, got a set; give a list"),
        (float("nan"), "parameters.batch_size.values: must be finite and below 2**63, got nan"),
        (
            object(),
            "parameters.batch_size.values: must be a number or text, got a object; write a distribution",
        ),
    ],
)
def test_what_no_file_could_hold_is_named(here: Path, value: object, message: str) -> None:
    space = {"parameters": {"batch_size": {"values": value}}, "search": {"trainable": "toy", "data": "none"}}
    with pytest.raises(ValueError, match=re.escape(message)):
        jouletune.search(space)
    if not isinstance(value, float):
        with pytest.raises(ValueError, match=re.escape(message)):
            jouletune.search(SPACE, overrides={"parameters.batch_size.values": value})


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (print, "the space: must be a name, a file's path or a mapping whose search.trainable names what is"),
        (
            {**SPACE, "search": {"trainable": print, "data": "none"}},
            "search.trainable: must be a number or text, got a builtin_function_or_method; a space is plain "
            "data: name the Python file that has it, such as ./my_model.py",
        ),
        (
            {**SPACE, "search": {"trainable": "model", "data": "none"}},
            "); for the file in this folder write ./model.py",
        ),
        (
            {**SPACE, "search": {"trainable": "./m.ipynb", "data": "none"}},
            "; a notebook is not imported: save",
        ),
        (
            {**SPACE, "search": {"trainable": "./m", "data": "none"}},
            "; a trainable of your own is a Python file",
        ),
    ],
)
def test_code_in_place_of_a_file_is_told_what_to_name(here: Path, space: Any, message: str) -> None:
    (here / "model.py").write_text("")
    with pytest.raises(ValueError, match=re.escape(message)):
        jouletune.search(space)


def test_a_space_file_with_overrides_is_the_commands_own_search(here: Path) -> None:
    (here / "toy.yaml").write_text(TOY)
    run = jouletune.search(
        Path("toy.yaml"), trials=3, epochs=18, seed=7, overrides={"parameters.lr.max": 0.3}, is_quiet=True
    )
    flags = ["--trials", "3", "--budget-epochs", "18", "--seed", "7", "--set", "parameters.lr.max=0.3"]
    assert cli.run("search", ["--space", "./toy.yaml", "--name", "typed", *flags]) == 0
    typed = jouletune.open("typed")
    assert run.ranked["lr"].tolist() == typed.ranked["lr"].tolist()
    assert run.ranked["lr"].max() <= 0.3
    assert run.ranked["epochs"].max() == 18


def test_a_run_is_resumed_by_its_name(here: Path) -> None:
    jouletune.search(SPACE, trials=2, name="mine", is_quiet=True)
    again = jouletune.search(SPACE, trials=5, name="mine", is_quiet=True)
    assert len(again.trials) == 5
    assert again.folder == here / "results" / "mine"
    fresh = jouletune.search(SPACE, trials=1, name="mine", is_fresh=True, is_quiet=True)
    assert (fresh.folder.name, len(fresh.trials)) == ("mine-2", 1)


def test_what_earlier_runs_know_is_reported_and_learnt(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jouletune.search(SPACE, trials=2, name="first", is_quiet=True)
    assert capsys.readouterr().out == ""
    jouletune.search(SPACE, trials=1, name="second", warm_start="results/first")
    assert "warm start: 2 of 2 earlier trials lie in this space\n" in capsys.readouterr().out


def test_problems_are_one_value_error_with_the_commands_words(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = {**SPACE, "parameters": {"lrr": {"min": 0.0, "max": 1.0}}}
    with pytest.raises(ValueError, match="the space has 2 problems") as refused:
        jouletune.search(wrong, trials=-1)
    assert str(refused.value).splitlines() == [
        "the space has 2 problems:",
        "  search.limits.trials: must be at least 1, got -1",
        "  parameters.lrr: toy has no such hyperparameter; did you mean lr?",
    ]
    (here / "toy.yaml").write_text(TOY)
    with pytest.raises(ValueError, match=r"toy\.yaml: search\.limits\.hours") as refused:
        jouletune.search("./toy.yaml", hours=-1)
    assert cli.run("search", ["--space", "./toy.yaml", "--hours", "-1"]) == 2
    assert str(refused.value) == capsys.readouterr().err.rstrip("\n")
    assert not (here / "results").exists()


def test_a_machine_that_cannot_is_a_value_error_too(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing(LocalTestBackend):
        @contextmanager
        def started(self, *, remedy: str) -> Iterator[Capacity]:
            raise SessionError("Ray did not start: no room")
            yield

    search_without_ray(monkeypatch, make_backend=Refusing)
    with pytest.raises(ValueError, match="Ray did not start: no room"):
        jouletune.search(SPACE, trials=1, is_quiet=True)


def test_a_daemonic_process_is_a_value_error_as_it_may_start_no_others(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # whatever chooses the backend of tests
    monkeypatch.setitem(multiprocessing.current_process()._config, "daemon", True)  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="this process is daemonic, as those of multiprocessing"):
        jouletune.search(SPACE, results=here, backend="local", is_quiet=True)


def test_a_run_that_is_not_there_is_a_value_error(here: Path) -> None:
    with pytest.raises(ValueError, match=r"nothing holds no run \(no journal.jsonl in it\)"):
        jouletune.open("nothing")


def test_the_report_is_written_when_it_is_asked_for(here: Path) -> None:
    run = jouletune.search(SPACE, trials=2, name="mine", is_quiet=True)
    assert not (run.folder / "report.html").exists()
    assert run.report() == run.folder / "report.html"
    assert "trial-0001" in (run.folder / "report.html").read_text()


def test_a_run_without_a_score_has_no_best(here: Path) -> None:
    run = jouletune.search(SPACE, trials=1, name="mine", is_quiet=True)
    journal = run.folder / "journal.jsonl"
    events = map(json.loads, journal.read_text().splitlines())
    write_sealed(journal, [event for event in events if event["event"] != "epoch"])
    again = jouletune.open(run.folder)
    assert again.best is None
    assert again.ranked.empty
    assert len(again.trials) == 1


def test_a_search_may_run_in_a_thread_of_its_own(here: Path) -> None:
    found: list[jouletune.Result] = []
    thread = threading.Thread(
        target=lambda: found.append(jouletune.search(SPACE, trials=2, name="mine", is_quiet=True))
    )
    thread.start()
    thread.join()
    assert [len(run.trials) for run in found] == [2]


def test_a_search_leaves_the_callers_variables_as_they_were(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("PYTHONPATH", "mine")

    class LikeRay(LocalTestBackend):
        @contextmanager
        def started(self, *, remedy: str) -> Iterator[Capacity]:
            offer_worker_env()
            os.environ["RAY_AUTH_TOKEN"] = "the first one"
            yield Capacity(num_cpus=1, num_gpus=0)

    monkeypatch.setenv("RAY_AUTH_TOKEN", "")
    search_without_ray(monkeypatch, make_backend=LikeRay)
    before = dict(os.environ)
    jouletune.search(SPACE, trials=1, is_quiet=True)
    assert dict(os.environ) == before | {"RAY_AUTH_TOKEN": "the first one"}


def test_a_search_beside_a_ray_of_the_callers_own_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ray.is_initialized", lambda: True)
    monkeypatch.setattr("ray.shutdown", lambda: pytest.fail("it is not ours"))
    with pytest.raises(
        ValueError, match=r"Ray is already running in this Python.*call ray.shutdown\(\) first"
    ):
        jouletune.search(SPACE, trials=1, is_quiet=True, should_preflight=False)


@pytest.mark.parametrize("name", ["search.py", "search/__init__.py", "trainables.py"])
def test_what_hides_the_program_from_workers_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=f"{tmp_path}/{name} hides jouletune's package"):
        jouletune.search(SPACE, trials=1, is_quiet=True, should_preflight=False)


@pytest.mark.parametrize("name", ["search", "trainables"])
def test_a_script_with_the_name_of_a_package_gets_the_package(tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}.py").write_text(
        "import jouletune\n"
        "try:\n    jouletune.open('nothing')\nexcept ValueError as error:\n    print(error)\n"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, f"{name}.py"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert "/nothing holds no run" in done.stdout, done.stderr


def test_a_package_of_the_callers_own_with_such_a_name_is_named(tmp_path: Path) -> None:
    (tmp_path / "search.py").write_text("ONE = 1\n")
    code = "import search, jouletune; jouletune.open('nothing')"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert f"search is jouletune's, and {tmp_path}/search.py was imported under this name" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("how", "names"), [("file", ("one", "two")), ("standard input", ("one",))])
def test_a_plain_script_searches_with_its_own_trainable_and_again(
    tmp_path: Path, how: str, names: tuple[str, ...]
) -> None:
    """Without a __main__ guard, from its own folder, with paths that start there."""
    (tmp_path / "curve.py").write_text("def value(lr, epoch):\n    return lr / 10 + epoch / 100\n")
    toy = (ROOT / "trainables/toy.py").read_text()
    (tmp_path / "mine.py").write_text(f"{toy}\nfrom curve import value\n")
    (tmp_path / "own.py").write_text(
        "import jouletune\n"
        "space = {'parameters': {'lr': {'min': 0.01, 'max': 0.1}}, 'search': {'trainable': './mine.py',\n"
        "    'data': 'none', 'ladder': {'epochs': [1, 2]}}}\n"
        f"for name in {names}:\n"
        "    run = jouletune.search(space, name=name, trials=2, workers=1, is_quiet=True)\n"
        "    print(name, run.ended)\n"
    )
    done = subprocess.run(
        [sys.executable, "own.py" if how == "file" else "-"],
        input=(tmp_path / "own.py").read_text(),
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.stdout == "".join(f"{name} all 2 trials done\n" for name in names), done.stderr


@pytest.mark.slow
def test_a_search_on_ray_from_python(tmp_path: Path) -> None:
    code = (
        "import jouletune\n"
        "if __name__ == '__main__':\n"
        "    run = jouletune.search('lr_bs', trials=2, name='mine', workers=1, is_quiet=True, seed=3,\n"
        "        overrides={'search.data': 'digits', 'search.ladder': {'epochs': [1, 2]}})\n"
        "    assert run.ended == 'all 2 trials done', run.ended\n"
        "    assert 0.05 < run.best.value <= 1, run.best\n"
        "    assert run.ranked['rank'].tolist() == [1, 2]\n"
        "    print(run.folder)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path}/results/mine\n"
