"""The local backend: a search in this process, without Ray, where a debugger stops."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from random import Random

import pandas as pd
import pytest

import jouletune
from search import cli
from search.accounting.unreported import node_kind
from search.backends import local
from search.backends.backend import Backend, LaunchableBackend
from search.backends.costs import Costs
from search.backends.errors import SessionError
from search.backends.local import LocalBackend, LocalMeters, execute_here
from search.backends.simulated import SimulatedBackend, VirtualClock
from search.energy.node import CpuWatts
from search.energy.reading import EnergySummary
from search.launch import chosen_backend
from search.ledger import Ledger
from search.run import Run
from search.trial.failure import Failure
from tests.support.toy_runs import SteadyMeter, fateful_space, listed, made_space, sampler_for, toy_file

ROOT = Path(__file__).parents[2]

BREAKING = """
from dataclasses import dataclass
from trainables.core.contract import Trainable

@dataclass(frozen=True, kw_only=True)
class Hparams:
    lr: float = 0.25

class Breaking:
    def __init__(self, hparams):
        self.hparams, self.epochs_done = hparams, 0
    def run_epoch(self, budget):
        self.epochs_done += 1
        {stop}
        return {{"val_accuracy": self.hparams.lr, "num_examples": 10}}
    def test(self):
        return {{}}
    def state_dict(self):
        return {{"epochs_done": self.epochs_done}}
    def load_state_dict(self, state):
        self.epochs_done = state["epochs_done"]

TRAINABLE = Trainable(hparams=Hparams, metric="val_accuracy", mode="max",
                      start=lambda hparams, budget, context: Breaking(hparams))
"""
BREAKING_SPACE = """
parameters: {lr: {min: 0.25, max: 0.5}}
search:
  {trainable: ./breaking.py, data: none, ladder: {epochs: [1]}, limits: {trials: 1}, scheduler: {mode: none}}
"""


def breaking(folder: Path, stop: str = "breakpoint()") -> tuple[str, ...]:
    """The command that searches a space whose trainable stops in its epoch."""
    (folder / "breaking.py").write_text(BREAKING.format(stop=stop))
    (folder / "breaking.yaml").write_text(BREAKING_SPACE)
    return (
        *(
            str(ROOT / "scripts" / "search.py"),
            "--space",
            str(folder / "breaking.yaml"),
            "--backend",
            "local",
        ),
        *("--results", str(folder / "results"), "--name", "run", "--skip-preflight", "--no-report"),
    )


def python(*words: str, folder: Path, typed: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        input=typed,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def events(folder: Path) -> list[dict[str, object]]:
    return list(map(json.loads, (folder / "results/run/journal.jsonl").read_text().splitlines()))


def test_a_search_in_this_process_never_imports_ray(tmp_path: Path) -> None:
    toy_file(tmp_path)
    flags = ["--space", "./toy.yaml", "--backend", "local", "--trials", "4", "--name", "run"]
    code = (
        "import sys; sys.path.insert(0, sys.argv.pop(1))\n"
        "from search import cli\n"
        f"status = cli.run('search', {flags})\n"
        "assert 'ray' not in sys.modules, 'Ray was imported'\n"
        "sys.exit(status)"
    )
    done = python("-c", code, str(ROOT), folder=tmp_path)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "results" / "run"
    assert len(pd.read_csv(folder / "trials.csv")) == 4
    assert (folder / "report.html").is_file()
    assert "ended: all 4 trials done" in done.stdout
    assert (folder / "trials/trial-0000/log.txt").read_text().startswith("epoch 1  rung 0  ")


def test_a_breakpoint_in_a_trainable_stops(tmp_path: Path) -> None:
    typed = "p 'lr is', self.hparams.lr\ncontinue\n"
    done = python(*breaking(tmp_path), folder=tmp_path, typed=typed)
    assert done.returncode == 0, done.stderr
    assert "('lr is', 0.25)" in done.stdout
    assert "ended: all 1 trials done" in done.stdout


def test_under_pdb_a_breakpoint_set_from_outside_stops(tmp_path: Path) -> None:
    command = breaking(tmp_path, stop="pass")
    line = 1 + BREAKING.split("{stop}", maxsplit=1)[0].count("\n")
    typed = f"b {tmp_path / 'breaking.py'}:{line}\nc\np 'epochs', self.epochs_done\nclear 1\nc\nq\n"
    done = python("-m", "pdb", *command, folder=tmp_path, typed=typed)
    assert "('epochs', 1)" in done.stdout, done.stdout + done.stderr
    assert events(tmp_path)[-1]["reason"] == "all 1 trials done"


@pytest.mark.slow
def test_leaving_the_debugger_ends_the_search_and_fails_no_trial(tmp_path: Path) -> None:
    done = python(*breaking(tmp_path), folder=tmp_path, typed="q\n")
    assert done.returncode == 130, done.stderr
    assert "resume: " in done.stdout
    assert "attempt_failed" not in {event["event"] for event in events(tmp_path)}
    again = python(*breaking(tmp_path, stop="pass"), folder=tmp_path)
    assert again.returncode == 0, again.stderr
    assert events(tmp_path)[-1]["reason"] == "all 1 trials done"


def test_python_searches_in_this_process_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = jouletune.search(
        str(toy_file(tmp_path)), trials=3, name="run", backend="local", is_quiet=True, should_preflight=False
    )
    assert found.ended == "all 3 trials done"
    command = json.loads((found.folder / "environment.json").read_text())["command"]
    assert command[-2:] == ["--backend", "local"]


def test_a_run_of_the_local_backend_is_resumed_as_any_other(tmp_path: Path) -> None:
    flags = ["--space", str(toy_file(tmp_path)), "--results", str(tmp_path), "--name", "run"]
    flags += ["--backend", "local", "--skip-preflight", "--no-report", "--quiet"]
    assert cli.run("search", [*flags, "--trials", "2"]) == 0
    assert cli.run("search", [*flags, "--trials", "5"]) == 0
    assert len(pd.read_csv(tmp_path / "run" / "trials.csv")) == 5


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--address", "127.0.0.1:6379"], "--address: only Ray has it"),
        (["--dashboard"], "--dashboard: only Ray has it"),
        (["--address", "127.0.0.1:6379", "--dashboard"], "--address and --dashboard: only Ray has it"),
    ],
)
def test_what_only_ray_has_is_refused(
    flags: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--space", str(toy_file(tmp_path)), "--results", str(tmp_path), "--backend", "local", *flags]
    assert cli.run("search", words) == 2
    assert message in capsys.readouterr().err


def test_a_background_workload_needs_ray(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    space = str(toy_file(tmp_path))
    words = ["--space", space, "--results", str(tmp_path), "--backend", "local", "--skip-preflight"]
    assert cli.run("search", [*words, "--background", space]) == 2
    assert "--background needs a process of its own beside the trials" in capsys.readouterr().err
    assert not list(tmp_path.glob("*/journal.jsonl"))


def test_a_backend_that_is_not_there_is_refused() -> None:
    with pytest.raises(SessionError, match="there is no backend 'slurm': use one of ray, ray-core, local"):
        chosen_backend("slurm")


def test_every_backend_is_one(tmp_path: Path) -> None:
    backends: list[LaunchableBackend] = [chosen_backend(), chosen_backend("local")]
    simulated = SimulatedBackend(Costs.of_nothing(1), VirtualClock(), Random(0), is_learning=False)
    executors: list[Backend] = [*backends, simulated]
    assert [backend.is_in_process for backend in backends] == [False, True]
    assert len(executors) == 3


def test_local_trains_one_trial_at_a_time(tmp_path: Path) -> None:
    with LocalBackend().started(remedy="") as capacity:
        assert (capacity.max_workers, capacity.has_room_beside) == (1, False)


def test_an_error_leaves_its_traceback_in_the_log(tmp_path: Path) -> None:
    run = Run(fateful_space(tmp_path), listed({"fate": "raise"}), Ledger.create(tmp_path / "run"))
    execute_here(run, SteadyMeter())
    log = (run.ledger.trial_folder("trial-0000") / "log.txt").read_text()
    assert log.endswith("KeyError: 'a mistake in the training code'\n")


def test_an_error_that_leaves_the_process_unusable_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failure = Failure(cause="cuda", message="an illegal memory access", traceback="", is_sticky=True)
    monkeypatch.setattr(local, "classify", lambda error: failure)
    run = Run(fateful_space(tmp_path), listed(*[{"fate": "raise"}] * 3), Ledger.create(tmp_path / "run"))
    reason = execute_here(run, SteadyMeter())
    assert reason == "cuda: an illegal memory access; it leaves this process unusable"
    assert run.has_failed
    assert len(run.history.trials) == 1


def test_what_a_trainable_draws_unseeded_comes_from_the_seed_of_its_trial(tmp_path: Path) -> None:
    breaking(tmp_path, "import random; return {'val_accuracy': random.random(), 'num_examples': 10}")
    space = made_space(tmp_path, (tmp_path / "breaking.yaml").read_text(), ["search.limits.trials=3"])
    run = Run(space, listed(*[{"lr": 0.3}] * 3), Ledger.create(tmp_path / "run"))
    execute_here(run, SteadyMeter())
    assert len({trial.value("val_accuracy") for trial in run.history.trials.values()}) == 1


def test_the_joules_of_a_trial_are_those_of_its_window(tmp_path: Path) -> None:
    meters = LocalMeters()
    space = made_space(tmp_path)
    run = Run(space, sampler_for(space), Ledger.create(tmp_path / "run"), metering=meters)
    task = run.next_task()
    assert task
    meter = meters.open_window(task)
    with meter.starting():
        pass
    meter.read()
    [closed] = meters.close_windows(task.trial_id)
    assert isinstance(closed, EnergySummary)
    assert closed.window == meter.window
    assert closed.trial == "trial-0000"
    assert meters.close_windows(task.trial_id) == []
    meters.close()


def test_windows_of_two_sessions_have_two_names(tmp_path: Path) -> None:
    space = made_space(tmp_path)
    task = Run(space, sampler_for(space), Ledger.create(tmp_path / "run")).next_task()
    assert task
    names = set()
    for _ in range(2):
        meters = LocalMeters()
        names.add(meters.open_window(task).window)
        meters.close()
    assert len(names) == 2


def test_windows_are_named_after_the_node_of_their_devices(tmp_path: Path) -> None:
    """Otherwise no joule of a killed session would seem to have been reported by its trials."""
    space = made_space(tmp_path)
    task = Run(space, sampler_for(space), Ledger.create(tmp_path / "run")).next_task()
    assert task
    meters = LocalMeters(CpuWatts(idle_w=1.0, max_w=2.0))
    window, rows = meters.open_window(task).window, meters.device_rows()
    meters.close()
    assert rows
    assert {node_kind(row)[0] for row in rows} == {window.partition("/")[0]}
