"""A run as other programs' files: W&B, TensorBoard, MLflow, and the command that writes them."""

from __future__ import annotations

import contextlib
import csv
import sqlite3
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import yaml
from tensorboardX.proto.event_pb2 import Event

from search import cli
from search.backends.local import execute_here
from search.export import ExportError
from search.export.sweep import export_sweep, run_table, sweep_of, unsupported_parts
from search.export.tracked_trial import LoggedTrial, Point, logged
from search.export.trackers import export_mlflow, export_tensorboard, missing_mlflow
from search.ledger import Ledger
from search.run import Run
from search.space import load_space
from tests.support.toy_runs import SteadyMeter, as_searched, executed, fateful_space, listed, made_space

WANDB = """
program: train.py
method: bayes
metric: {name: val_accuracy, goal: maximize}
run_cap: 7
early_terminate: {type: hyperband, max_iter: 9, s: 2, eta: 3, strict: true}
parameters:
  lr: {distribution: log_uniform_values, min: 1e-4, max: 1.0}
  batch_size: {values: [16, 32]}
  noise: {distribution: q_uniform, min: 0.0, max: 0.5, q: 0.1}
search: {trainable: toy, data: none, ladder: {epochs: [1, 3, 9]}, scheduler: {mode: asha_stopping}}
"""


def failed_and_finished(folder: Path) -> Run:
    points = [{"fate": "fine", "score": 0.5}, {"fate": "raise", "score": 0.1}]
    return executed(fateful_space(folder), folder, listed(*points))[0]


def kept_run(folder: Path) -> Path:
    """A run in results/mine as search.py leaves it."""
    space = fateful_space(folder)
    ledger = Ledger.create(folder / "results" / "mine")
    execute_here(Run(space, listed({"fate": "fine", "score": 0.5}), ledger), SteadyMeter())
    as_searched(space, ledger)
    return ledger.folder


def test_an_exported_sweep_equals_the_sweep_file_that_was_read(tmp_path: Path) -> None:
    space = made_space(tmp_path, WANDB)
    assert sweep_of(space) == {
        "program": "train.py",
        "name": "made",
        "method": "bayes",
        "metric": {"name": "val_accuracy", "goal": "maximize"},
        "parameters": {
            "lr": {"distribution": "log_uniform_values", "min": 1e-4, "max": 1.0},
            "batch_size": {"values": [16, 32]},
            "noise": {"distribution": "q_uniform", "min": 0.0, "max": 0.5, "q": 0.1},
        },
        "run_cap": 7,
        "early_terminate": {"type": "hyperband", "max_iter": 9, "s": 2, "eta": 3, "strict": True},
    }
    assert unsupported_parts(space) == []


def test_an_exported_sweep_can_be_searched_again(tmp_path: Path) -> None:
    space = made_space(tmp_path, WANDB)
    export_sweep(space, [], tmp_path / "sweep.yaml")
    section = [f"search.{key}" for key in ("trainable=toy", "data=none", "ladder={epochs: [1, 3, 9]}")]
    again = load_space(str(tmp_path / "sweep.yaml"), overrides=section, spaces_dir=tmp_path)
    assert (again.parameters, again.metric, again.limits.trials) == (space.parameters, "val_accuracy", 7)


COMMAND = """
parameters:
  net:
    parameters:
      lr: {distribution: log_uniform_values, min: 1e-5, max: 1e-2}
      eps: {values: [1e-8, 1e-6]}
  policy: {values: ["on", "off"]}
  when: {values: ["2024-01-01", "12:30", "010", "no"]}
  sizes: {values: [[8, 16], null]}
  seen: {value: {a: 1e22}}
metric: {name: val_acc, goal: maximize}
search:
  trainable: command
  command:
    run: "{python} fit.py"
    defaults: {net: {lr: 1e-4, eps: 1e-8}, policy: "on", when: "no", sizes: null}
  ladder: {epochs: [1]}
"""


def test_pyyaml_reads_an_exported_sweep_as_the_space_that_it_is_of(tmp_path: Path) -> None:
    (tmp_path / "fit.py").touch()
    export_sweep(made_space(tmp_path, COMMAND), [], tmp_path / "sweep.yaml")
    read = yaml.safe_load((tmp_path / "sweep.yaml").read_text())
    assert read["program"] == "fit.py"
    assert read["parameters"] == {
        "net": {
            "parameters": {
                "lr": {"distribution": "log_uniform_values", "min": 1e-5, "max": 1e-2},
                "eps": {"values": [1e-8, 1e-6]},
            }
        },
        "policy": {"values": ["on", "off"]},
        "when": {"values": ["2024-01-01", "12:30", "010", "no"]},
        "sizes": {"values": [[8, 16], None]},
        "seen": {"value": {"a": 1e22}},
    }


def test_a_sweeps_own_command_survives_its_export(tmp_path: Path) -> None:
    (tmp_path / "fit.py").touch()
    text = """
program: fit.py
command: ['${env}', 'A=1', '${interpreter}', '${program}', 'x={y}', '${envvar:HOME}', '${args_no_hyphens}']
metric: {name: val_acc, goal: maximize}
parameters: {epochs: {value: 9}, seed: {value: 7}, lr: {values: [0.1, 0.2]}}
"""
    space = made_space(tmp_path, text)
    exported = sweep_of(space)
    assert (exported["program"], exported["parameters"]["epochs"]) == ("fit.py", {"value": 9})
    assert exported["command"] == [
        *("${env}", "A=1", "${interpreter}", "${program}", "x={y}", "${envvar:HOME}", "${args_no_hyphens}")
    ]
    export_sweep(space, [], tmp_path / "sweep.yaml")
    again = load_space(str(tmp_path / "sweep.yaml"), spaces_dir=tmp_path)
    assert (again.trainable, again.parameters) == (space.trainable, space.parameters)


@pytest.mark.parametrize(
    ("early", "epochs"),
    [
        ("", [1, 3, 9, 27, 81]),
        ("early_terminate: {type: hyperband, min_iter: 3}", [3, 9, 27, 81]),
        ("early_terminate: {type: hyperband, min_iter: 3, eta: 2}", [3, 6, 12, 24]),
        ("early_terminate: {type: hyperband, max_iter: 100, s: 3}", [3, 11, 33, 100]),
        ("early_terminate: {type: hyperband, max_iter: 27, s: 9}", [1, 3, 9, 27]),
    ],
)
def test_the_rungs_of_a_sweep_survive_its_export(tmp_path: Path, early: str, epochs: list[int]) -> None:
    (tmp_path / "fit.py").touch()
    text = f"program: fit.py\nmetric: {{name: val_acc}}\nparameters: {{lr: {{values: [0, 0.1]}}}}\n{early}"
    space = made_space(tmp_path, text)
    export_sweep(space, [], tmp_path / "sweep.yaml")
    again = load_space(str(tmp_path / "sweep.yaml"), spaces_dir=tmp_path)
    assert (space.ladder.ends, again.ladder) == (epochs, space.ladder)
    assert (again.trainable, again.scheduler) == (space.trainable, space.scheduler)


def test_places_of_a_command_have_what_a_full_training_gets(tmp_path: Path) -> None:
    (tmp_path / "fit.py").touch()
    run = "{python} fit.py --epochs {epochs} --seed={seed} --rate {net.lr} --out {checkpoint_dir}"
    space = made_space(tmp_path, COMMAND, [f'search.command.run="{run}"', "search.ladder={epochs: [1, 5]}"])
    exported = sweep_of(space)
    assert exported["command"] == [
        *("${interpreter}", "${program}", "--epochs", "5", "--seed=0", "--out", "checkpoint"),
        "${args_no_boolean_flags}",
    ]
    assert unsupported_parts(space)[:2] == [
        "left out: --rate {net.lr} in run; W&B passes net.lr with the others",
        "{checkpoint_dir} is the folder checkpoint for all runs; give each its own",
    ]


def test_what_a_sweep_cannot_express_is_noted_in_it(tmp_path: Path) -> None:
    overrides = [
        "search.objective=[val_accuracy, energy]",
        "search.ladder={epochs: [2, 3, 9], subset: [0.5, 1.0, 1.0]}",
        "search.when={noise: {batch_size: [16]}}",
        "search.limits={hours: 2, kwh: 0.5}",
        "search.initial_points=[{lr: 0.5}]",
    ]
    space = made_space(tmp_path, WANDB, overrides)
    notes = export_sweep(space, [], tmp_path / "sweep.yaml")
    assert notes == [
        "left out: the conditions of noise; W&B always searches them",
        "left out: energy beside val_accuracy; W&B has one metric",
        "left out: the rungs; W&B's hyperband has them at max_iter, max_iter / eta and so on",
        "left out: subset and resolution of the rungs; W&B's bands are of epochs",
        "left out: the limits hours, kwh; W&B has a number of runs alone",
        "left out: the initial points; W&B chooses which it tries first",
    ]
    head = (tmp_path / "sweep.yaml").read_text().splitlines()[:7]
    assert head == [
        "# W&B starts program once per point, with the parameters as flags: --lr=0.1",
        *(f"# {note}" for note in notes),
    ]


def test_a_list_of_points_is_no_sweep(tmp_path: Path) -> None:
    text = "search: {trainable: toy, data: none, trials: [{lr: 0.1}, {lr: 0.2}]}\n"
    with pytest.raises(ExportError, match="searches no parameters"):
        export_sweep(made_space(tmp_path, text), [], tmp_path / "sweep.yaml")
    assert not (tmp_path / "sweep.yaml").exists()


def test_the_table_of_runs_has_config_and_summary_beside_their_states(tmp_path: Path) -> None:
    run = failed_and_finished(tmp_path)
    trials = [logged(trial) for trial in run.history.trials.values()]
    columns, rows = run_table(run.space, trials)
    assert columns == [
        *("Name", "State", "Tags", "Created", "Runtime", "Sweep", "Notes", "fate", "score"),
        *("val_accuracy", "num_examples", "epochs", "seconds", "start_s", "energy_j"),
    ]
    fine, failed = rows
    assert (fine["Name"], fine["State"], fine["Tags"], fine["val_accuracy"], fine["epochs"]) == (
        *("trial-0000", "finished", "finished"),
        *(0.53, 3),
    )
    assert (failed["State"], failed["Notes"]) == (
        "failed",
        "crash: KeyError: 'a mistake in the training code'",
    )
    assert "val_accuracy" not in failed
    trial = run.history.trials["trial-0000"]
    trial.ended_at = trial.asked_at - 3600  # the clock was set back meanwhile
    assert logged(trial).ended_at == logged(trial).points[-1].at > trial.asked_at


def events(folder: Path) -> Iterator[Event]:
    """The events of the one file in `folder`: records of length, checksum, data, checksum."""
    (file,) = folder.glob("events.out.tfevents.*")
    content, at = file.read_bytes(), 0
    while at < len(content):
        (length,) = struct.unpack_from("<Q", content, at)
        yield Event.FromString(content[at + 12 : at + 12 + length])
        at += 12 + length + 4


def test_every_trial_has_its_curves_and_hparams_as_events(tmp_path: Path) -> None:
    run = failed_and_finished(tmp_path)
    trials = [logged(trial) for trial in run.history.trials.values()]
    assert export_tensorboard(trials, tmp_path / "events", metric="val_accuracy") == 2
    assert sorted(path.name for path in (tmp_path / "events").iterdir()) == ["trial-0000", "trial-0001"]
    seen = list(events(tmp_path / "events" / "trial-0000"))
    curve = [
        (event.step, round(value.simple_value, 6), event.wall_time)
        for event in seen
        for value in event.summary.value
        if value.tag == "val_accuracy"
    ]
    assert curve == [
        (point.epoch, round(point.metrics["val_accuracy"], 6), point.at) for point in trials[0].points
    ]
    tags = {value.tag for event in seen for value in event.summary.value}
    assert tags == {
        *("_hparams_/experiment", "_hparams_/session_start_info", "_hparams_/session_end_info"),
        *("val_accuracy", "num_examples", "epoch_s", "epoch_j", "epochs", "seconds", "start_s", "energy_j"),
    }


class FakeClient:
    """What MlflowClient was called with, in order."""

    calls: list[tuple[Any, ...]] = []  # noqa: RUF012

    def __init__(self, tracking_uri: str) -> None:
        self.calls.append(("client", tracking_uri))

    def create_experiment(self, name: str, artifact_location: str) -> str:
        self.calls.append(("experiment", name))
        return "1"

    def create_run(self, experiment: str, start_time: int, run_name: str, tags: dict[str, str]) -> Any:
        self.calls.append(("run", experiment, run_name, tags["status"], tags["cause"]))
        return SimpleNamespace(info=SimpleNamespace(run_id=run_name))

    def log_batch(self, run_id: str, params: Any = (), metrics: Any = ()) -> None:
        self.calls.append(("params", run_id, list(params)) if params else ("metrics", run_id, list(metrics)))

    def set_terminated(self, run_id: str, status: str, end_time: int) -> None:
        self.calls.append(("ended", run_id, status))


@pytest.fixture
def fake_mlflow(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    module: Any = ModuleType("mlflow")
    module.__spec__ = SimpleNamespace(name="mlflow")
    module.MlflowClient = FakeClient
    module.entities = SimpleNamespace(
        Param=lambda key, value: (key, value),
        Metric=lambda key, value, timestamp, step: (key, round(value, 6), step),
    )
    monkeypatch.setitem(sys.modules, "mlflow", module)
    monkeypatch.setattr(FakeClient, "calls", [])
    return FakeClient.calls


def test_every_trial_is_a_run_of_mlflow(tmp_path: Path, fake_mlflow: list[tuple[Any, ...]]) -> None:
    run = failed_and_finished(tmp_path)
    trials = [logged(trial) for trial in run.history.trials.values()]
    assert export_mlflow(trials, tmp_path / "ml", name="mine") == 2
    fine = [call for call in FakeClient.calls if call[1] == "trial-0000" or call[0] != "run"]
    assert FakeClient.calls[:3] == [
        ("client", f"sqlite:///{tmp_path}/ml/mlflow.db"),
        ("experiment", "mine"),
        ("run", "1", "trial-0000", "finished", ""),
    ]
    assert ("params", "trial-0000", [("fate", "fine"), ("score", "0.5")]) in fine
    (metrics,) = (call[2] for call in FakeClient.calls if call[:2] == ("metrics", "trial-0000"))
    assert [metric for metric in metrics if metric[0] == "val_accuracy"] == [
        ("val_accuracy", 0.51, 1),
        ("val_accuracy", 0.52, 2),
        ("val_accuracy", 0.53, 3),
    ]
    assert ("epochs", 3, 3) in metrics
    assert [call for call in FakeClient.calls if call[0] == "ended"] == [
        ("ended", "trial-0000", "FINISHED"),
        ("ended", "trial-0001", "FAILED"),
    ]


def test_names_are_written_as_mlflow_takes_them(tmp_path: Path, fake_mlflow: list[tuple[Any, ...]]) -> None:
    metrics = ["metrics/mAP50(B)", "metrics/mAP50[B]", "../up", "a//b", "val_acc", "é" * 300]
    trial = LoggedTrial(
        trial_id="trial-0000",
        status="finished",
        hparams={"--lr": 0.1, "net[0].width": "x" * 9000},
        points=(Point(epoch=1, at=1.0, metrics=dict.fromkeys(metrics, 0.5)),),
        summary={},
        started_at=0.0,
        ended_at=1.0,
        cause="",
        message="",
    )
    export_mlflow([trial], tmp_path / "ml", name="mine")
    (params,) = (call[2] for call in FakeClient.calls if call[0] == "params")
    assert params == [("--lr", "0.1"), ("net_0_.width", "x" * 6000)]
    (found,) = (call[2] for call in FakeClient.calls if call[0] == "metrics")
    assert [name for name, *_ in found] == [
        *("metrics/mAP50_B_", "metrics/mAP50_B_-1", "up", "a/b", "val_acc", "é" * 250)
    ]


def test_without_mlflow_one_line_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    line = f"--mlflow: mlflow is not installed; install it: {sys.executable} -m pip install mlflow"
    assert missing_mlflow() == [line]
    with pytest.raises(ExportError, match="mlflow is not installed"):
        export_mlflow([], tmp_path / "ml", name="mine")
    assert not (tmp_path / "ml").exists()


def test_the_command_writes_all_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept_run(tmp_path)
    monkeypatch.chdir(tmp_path)
    flags = ("--optuna", "study.db", "--sweep", "sweep.yaml", "--tensorboard", "events")
    assert cli.run("export", ["mine", *flags]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "sweep.yaml and sweep-runs.csv: 1 run",
        "study.db: 1 trial; optuna-dashboard sqlite:///study.db shows them",
        "events: 1 trial; tensorboard --logdir events shows them",
    ]
    with Path("sweep-runs.csv").open(newline="") as file:
        assert [row["Name"] for row in csv.DictReader(file)] == ["trial-0000"]


def test_a_study_may_lie_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept_run(tmp_path)
    monkeypatch.chdir(tmp_path)
    Path("what? {this} is%20").mkdir()
    assert cli.run("export", ["mine", "--optuna", "what? {this} is%20/study.db"]) == 0
    assert "optuna-dashboard 'sqlite:///what? {this} is%20/study.db' shows" in capsys.readouterr().out
    with contextlib.closing(sqlite3.connect("what? {this} is%20/study.db")) as study:
        assert study.execute("select count(*) from trials").fetchone() == (1,)
    assert cli.run("export", ["mine", "--tensorboard", "results/mine/journal.jsonl/events"]) == 2
    assert "is not a folder that you may write to" in capsys.readouterr().err


def test_everything_that_is_in_the_way_is_reported_at_once_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept_run(tmp_path)
    monkeypatch.chdir(tmp_path)
    Path("study.db").write_text("mine already")
    Path("events").mkdir()
    Path("events/file").touch()
    flags = ("--optuna", "study.db", "--sweep", "no/sweep.yaml", "--tensorboard", "events")
    assert cli.run("export", ["mine", *flags]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "--optuna: study.db already exists; remove it or choose another name",
        f"--sweep: the folder {tmp_path}/no does not exist; create it or choose another",
        "--tensorboard: events is not empty; choose a new folder, so that runs do not mix",
    ]
    assert Path("study.db").read_text() == "mine already"


def test_a_command_without_a_target_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        cli.run("export", ["mine"])
    assert refused.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        "export.py: error: give at least one of --optuna, --sweep, --tensorboard, --mlflow"
    )
