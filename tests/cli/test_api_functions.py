"""The library's functions beside `search`: typed calls on a small real run, without Ray."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from search import api
from search.cli import search as search_command
from search.export import ExportError
from search.ledger import LedgerError, RunFolder
from search.output import Output
from search.preflight import PreflightError
from search.run import Run
from search.space import Space, SpaceError
from search.training import TrainingRequest
from tests.support.run_without_ray import search_without_ray
from tests.support.toy_runs import Calling
from trainables.core.checkpoint import load_checkpoint

SPACE: dict[str, Any] = {
    "name": "toy",
    "parameters": {
        "lr": {"distribution": "log_uniform_values", "min": 1e-4, "max": 1.0},
        "batch_size": {"values": [16, 32, 64]},
    },
    "search": {
        "trainable": "toy",
        "data": "none",
        "ladder": {"epochs": [1, 3]},
        "scheduler": {"mode": "asha_stopping"},
        "limits": {"trials": 4},
    },
}
RUNGS_OF_JOULES = {"ladder": {"resource": "energy_j", "joules": [100, 300], "epochs": 9}}
QUIET = Output.silent()
CLIPPED = """
from dataclasses import dataclass
from trainables.core.contract import Trainable
from trainables.toy import ToyTraining

@dataclass(frozen=True, kw_only=True)
class Hparams:
    lr: float = 0.1
    max_grad_norm: float | None = 0.1
    batch_size: int = 64
    noise: float = 0.0

class Clipped(ToyTraining):
    def run_epoch(self, budget):
        return {**super().run_epoch(budget), "is_clipped": float(self._hparams.max_grad_norm is not None)}

TRAINABLE = Trainable(
    hparams=Hparams,
    start=lambda hparams, budget, context: Clipped(hparams, context),
    metric="val_accuracy",
    mode="max",
)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, without Ray."""
    search_without_ray(monkeypatch)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(folder: Path) -> api.Result:
    """A run of four trials in results/mine."""
    return api.search(SPACE, name="mine", seed=3, is_quiet=True)


# promote


def test_promoting_trains_the_best_and_the_default_in_full_and_gives_the_rows_of_its_table(
    run: api.Result,
) -> None:
    promotion = api.promote("mine", top=1, seeds=2, epochs=5, should_report=False, output=QUIET)
    assert run.best is not None
    assert promotion.is_complete
    assert promotion.folder == run.folder / "promotion"
    table = pd.read_csv(run.folder / "promoted.csv")
    assert table["trial_id"].tolist() == [row["trial_id"] for row in promotion.rows]
    assert set(table["trial_id"]) == {run.best.trial_id, "trial-0000"}
    assert table["num_seeds"].tolist() == [2] * len(table)
    trials = RunFolder(promotion.folder).read_history().trials
    assert {(trial.status, trial.epochs) for trial in trials.values()} == {("finished", 5)}
    assert len(trials) == 2 * len(table)
    assert not (run.folder / "report.html").exists()


def test_promoting_again_is_another_run_beside_the_first(run: api.Result) -> None:
    settings: dict[str, Any] = {"top": 1, "seeds": 1, "epochs": 2, "should_report": False, "output": QUIET}
    folders = [api.promote(run.folder, **settings).folder.name for _ in range(2)]
    assert folders == ["promotion", "promotion-2"]


@pytest.mark.parametrize("is_old", [False, True])
def test_a_promotion_without_its_table_is_not_trained_again(run: api.Result, *, is_old: bool) -> None:
    """As a full disk leaves it, or a kill: without the table, or with that of an earlier call."""
    settings: dict[str, Any] = {"top": 1, "seeds": 1, "epochs": 2, "should_report": False, "output": QUIET}
    rows = api.promote(run.folder, **settings).rows
    table = run.folder / "promoted.csv"
    text = table.read_text()
    table.unlink()
    if is_old:
        table.write_text("of an earlier call")
        os.utime(table, (0, 0))
    again = api.promote(run.folder, **settings)
    assert (again.folder.name, again.rows, table.read_text()) == ("promotion", rows, text)


def ended_by(folder: Path) -> list[str]:
    """The trials of a run's journal in the order in which they ended, in all its sessions."""
    events = map(json.loads, (folder / "journal.jsonl").read_text().splitlines())
    return [event["trial"] for event in events if event["event"] == "trial_ended"]


def test_a_promotion_that_was_killed_is_resumed_by_the_same_call(run: api.Result) -> None:
    """Killed as its second training began: the first is not trained again."""
    settings: dict[str, Any] = {"top": 2, "seeds": 2, "epochs": 2, "should_report": False, "output": QUIET}
    rows = api.promote("mine", **settings).rows
    journal = run.folder / "promotion/journal.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    cut = 1 + next(i for i, line in enumerate(lines) if '"trial_asked"' in line and "trial-0001" in line)
    journal.write_text("".join(lines[:cut]))
    for unborn in ("trial-0002", "trial-0003"):
        shutil.rmtree(run.folder / "promotion/trials" / unborn)
    resumed = api.promote("mine", **settings)
    assert resumed.folder == run.folder / "promotion"
    assert not (run.folder / "promotion-2").exists()
    assert sorted(ended_by(resumed.folder)) == [f"trial-{number:04}" for number in range(4)]
    assert [row["num_seeds"] for row in resumed.rows] == [2, 2]
    scores = [{name: row[name] for name in row if name.startswith(("test_", "gain_"))} for row in rows]
    assert scores
    assert [
        {name: row[name] for name in each} for row, each in zip(resumed.rows, scores, strict=True)
    ] == scores
    assert api.promote("mine", **settings).folder == run.folder / "promotion-2"  # it had them all


def test_after_a_signal_in_the_last_epoch_of_the_last_training_no_baseline_begins(
    run: api.Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end_with_the_last(promotion: Run) -> None:
        promotion.observe(
            Calling(
                lambda event: (
                    promotion.interrupt("SIGINT received")
                    if (event["event"], event.get("trial")) == ("trial_ended", "trial-0001")
                    else None
                )
            )
        )

    search_without_ray(monkeypatch, end_with_the_last)
    monkeypatch.setattr("search.full_training._baselines", lambda space, trials, names: {"knn": space})
    monkeypatch.setattr("search.full_training._run_baseline", lambda *_: pytest.fail("a baseline began"))
    settings: dict[str, Any] = {"top": 2, "seeds": 1, "epochs": 2, "should_report": False, "output": QUIET}
    promotion = api.promote("mine", baselines="knn", **settings)
    assert promotion.answer["ended"] == "SIGINT received"
    assert [row["num_seeds"] for row in promotion.rows] == [1, 1]
    assert not promotion.is_complete


def test_more_seeds_are_added_to_what_was_promoted(run: api.Result) -> None:
    settings: dict[str, Any] = {"top": 2, "epochs": 2, "should_report": False, "output": QUIET}
    first = ended_by(api.promote("mine", seeds=1, **settings).folder)
    more = api.promote("mine", seeds=2, **settings)
    assert more.folder == run.folder / "promotion"
    assert len(first) == 2
    assert len(ended_by(more.folder)) == 4
    assert [row["num_seeds"] for row in more.rows] == [2, 2]
    assert api.promote("mine", seeds=2, **{**settings, "epochs": 3}).folder == run.folder / "promotion-2"


@pytest.mark.parametrize(
    ("name", "settings", "cause", "message"),
    [
        ("nothing", {}, LedgerError, "nothing holds no run"),
        ("mine", {"overrides": {"search.trainable": "toi"}}, SpaceError, "did you mean toy?"),
        ("mine", {"top": 0}, LedgerError, "top must be a whole number above 0, got 0"),
        ("mine", {"seeds": -1}, LedgerError, "seeds must be a whole number above 0, got -1"),
        (
            "mine",
            {"background_share": 0.5},
            None,
            "--background-share sets how much --background SPACE takes",
        ),
    ],
)
def test_what_cannot_be_promoted_is_a_value_error_with_the_commands_words(
    run: api.Result, name: str, settings: dict[str, Any], cause: type[Exception] | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message.replace("?", r"\?")) as refused:
        api.promote(name, output=QUIET, **settings)
    assert cause is None or isinstance(refused.value.__cause__, cause)
    assert not (run.folder / "promotion").exists()


# train


def test_training_gives_the_rows_of_the_epochs_that_it_prints(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = api.train(TrainingRequest(space=SPACE, hparams={"lr": 0.1, "batch_size": 64}))
    assert [(row.epoch, row.rung, row.completes_rung) for row in rows] == [
        (1, 0, True),
        (2, 1, False),
        (3, 1, True),
    ]
    printed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch ")]
    assert [line.split("  ")[:2] for line in printed] == [
        [f"epoch {n}", f"rung {r}"] for n, r in ((1, 0), (2, 1), (3, 1))
    ]
    assert not list(folder.iterdir())


def test_training_keeps_what_it_is_asked_to_keep_and_resumes_from_it(folder: Path) -> None:
    request = TrainingRequest(space=SPACE, seed=7, out=folder / "out", should_test=True, is_full=True)
    rows = api.train(request, output=QUIET)
    assert [row.epoch for row in rows] == [1, 2, 3]
    assert rows[-1].test is not None
    scores = json.loads((folder / "out" / "test.json").read_text())
    assert scores["test_accuracy"] == rows[-1].test["test_accuracy"]
    assert yaml.safe_load((folder / "out" / "config.yaml").read_text())["seed"] == 7
    assert load_checkpoint(folder / "out" / "final.pt")["epochs_done"] == 3
    again = api.train(request, output=QUIET)  # nothing is left to train: the last row, as a replay
    assert [(row.epoch, row.is_replay) for row in again] == [(3, True)]


def test_a_trial_of_a_run_is_trained_by_its_name(run: api.Result, folder: Path) -> None:
    assert run.best is not None
    rows = api.train(
        TrainingRequest(space=SPACE, trial=f"results/mine:{run.best.trial_id}", seed=3), output=QUIET
    )
    trial = RunFolder(run.folder).read_history().trials[run.best.trial_id]
    assert [row.metrics for row in rows][: len(trial.curve)] == [row.metrics for row in trial.curve.values()]


def test_a_value_of_null_is_a_trial_s_value_too(folder: Path) -> None:
    (folder / "clipped.py").write_text(CLIPPED)
    parameters = {"max_grad_norm": {"values": [None, 0.1]}, "lr": {"value": 0.1}}
    listed = {"trainable": "./clipped.py", "data": "none", "trials": [{"max_grad_norm": None}]}
    space = {"name": "clipped", "parameters": parameters, "search": listed}
    api.search(space, name="mine", is_quiet=True)
    [row, *_] = api.train(TrainingRequest(space=space, trial="results/mine:trial-0001"), output=QUIET)
    assert row.metrics["is_clipped"] == 0.0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hparams": {"lr": -1.0}}, "lr and batch_size must be above 0"),
        ({"trial": "trial-0000"}, "--trial must be RUN:TRIAL"),
        ({"resume": Path("gone.pt")}, "--resume: gone.pt does not exist"),
    ],
)
def test_a_training_that_cannot_be_is_a_value_error(
    folder: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        api.train(TrainingRequest(space=SPACE, **settings), output=QUIET)


DEVICE = """
from trainables.core.contract import Trainable
from trainables.toy import Hparams, start

def check_device(device):
    if device != "cuda":
        raise RuntimeError("no such device\\nand more of it")
    return ()

about = {"metric": "val_accuracy", "mode": "max", "start": start, "check_device": check_device}
TRAINABLE = Trainable(hparams=Hparams, **about)
"""


def test_a_device_that_is_not_there_is_unusable_input(folder: Path) -> None:
    (folder / "on_cuda.py").write_text(DEVICE)
    space = {**SPACE, "search": {**SPACE["search"], "trainable": "./on_cuda.py"}}
    with pytest.raises(ValueError, match=r"^--device: tpu: no such device; or use cpu$"):
        api.train(TrainingRequest(space=space, device="tpu"), output=QUIET)


# forecast


def test_a_forecast_counts_the_searchs_trials_and_starts_no_run(run: api.Result) -> None:
    before = sorted(run.folder.rglob("*"))
    found = api.forecast(
        SPACE,
        overrides={"search.limits.trials": 9, "search.resources.workers": 1},
        should_preflight=False,
        output=QUIET,
    )
    assert found is not None
    assert (found.num_trials.low, found.num_trials.high) == (9, 9)
    assert found.rung_trials[0].median == 9
    assert (found.is_endless, found.reason) == (False, "all 9 trials done")
    assert found.seconds is not None
    assert "mine" in found.source  # its epochs were seen there
    assert sorted(run.folder.rglob("*")) == before
    assert [path.name for path in run.folder.parent.iterdir()] == ["mine"]


def test_a_dry_run_of_a_run_that_is_there_looks_at_what_that_began_with(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Path] = []

    def noted(space: Space, run: Path, output: Output) -> Space:
        asked.append(run)
        return space

    monkeypatch.setattr(api, "with_portfolio", noted)
    space = folder / "joules.yaml"
    space.write_text(yaml.safe_dump(SPACE | {"search": SPACE["search"] | RUNGS_OF_JOULES}))
    options = ["--space", str(space), "--results", str(folder), "--skip-preflight", "--quiet", "--dry-run"]
    for more in (["--name", "mine"], ["--name", "mine", "--fresh"], []):
        search_command.main(search_command.parser().parse_args([*options, *more]))
    assert asked[0] == folder.absolute() / "mine"
    assert [run.name.startswith("toy-") for run in asked] == [False, True, True]


def test_rungs_of_joules_have_no_forecast(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    space = {**SPACE, "search": {**SPACE["search"], **RUNGS_OF_JOULES}}
    assert api.forecast(space, should_preflight=False) is None
    assert "300 J or 9 epochs" in capsys.readouterr().out  # the plan is printed all the same


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"overrides": {"search.limits.trials": -1}}, "search.limits.trials: must be at least 1, got -1"),
        ({"warm_start": ["nothing"]}, "nothing holds no run"),
        ({"background_share": 0.5}, "--background-share sets how much"),
    ],
)
def test_a_forecast_of_what_cannot_be_searched_is_a_value_error(
    folder: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        api.forecast(SPACE, should_preflight=False, output=QUIET, **settings)


# preflight


def test_preflight_gives_the_reports_of_each_space_and_no_problem_where_there_is_none(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.undo()  # the local backend of tests checks nothing
    monkeypatch.chdir(folder)
    monkeypatch.setattr("search.preflight.local._FIRST_LINE_S", 0.0)
    (folder / "toy.yaml").write_text(yaml.safe_dump(SPACE))
    (folder / "other.yaml").write_text(yaml.safe_dump({**SPACE, "name": "other"}))
    reports, problems = api.preflight([Path("./toy.yaml"), "./other.yaml"])
    assert problems == []
    assert [(space, len(found)) for space, found in reports.items()] == [("toy.yaml", 1), ("./other.yaml", 1)]
    printed = capsys.readouterr().out.splitlines()
    assert [line for line in printed if line in ("toy", "other")] == ["toy", "other"]
    assert printed[-1] == "ready: no problem found"
    assert any(re.fullmatch(r"note: preflight: .+ \(\d+ s so far\)", line) for line in printed)


def test_preflight_names_the_problems_of_all_spaces_together(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    (folder / "broken.py").write_text("from trainables.toy import TRAINABLE\nimport no_such_module\n")
    bad = {**SPACE, "search": {**SPACE["search"], "limits": {"trials": 1}}, "name": "bad"}
    (folder / "bad.yaml").write_text(yaml.safe_dump(bad))
    with pytest.raises(ValueError, match="broken") as refused:
        api.preflight("./bad.yaml", overrides="search.trainable=./broken.py", output=QUIET)
    assert not isinstance(refused.value.__cause__, PreflightError)
    assert "no_such_module" in str(refused.value)


# export


def test_an_export_writes_what_is_asked_for_and_nothing_twice(run: api.Result, folder: Path) -> None:
    api.export("mine", optuna=str(folder / "study.db"), sweep=folder / "sweep.yaml", output=QUIET)
    with sqlite3.connect(folder / "study.db") as study:
        assert study.execute("select count(*) from trials").fetchone() == (4,)
    sweep = yaml.safe_load((folder / "sweep.yaml").read_text())
    assert sweep["parameters"]["batch_size"] == {"values": [16, 32, 64]}
    with (folder / "sweep-runs.csv").open() as table:
        assert len(list(csv.DictReader(table))) == 4
    before = (folder / "study.db").read_bytes()
    with pytest.raises(ValueError, match=r"study\.db") as refused:
        api.export("mine", optuna=folder / "study.db", tensorboard=folder / "events", output=QUIET)
    assert isinstance(refused.value.__cause__, ExportError)
    assert (folder / "study.db").read_bytes() == before
    assert not (folder / "events").exists()


def test_a_run_that_is_not_there_cannot_be_exported(folder: Path) -> None:
    with pytest.raises(ValueError, match="nothing holds no run"):
        api.export("nothing", optuna=folder / "study.db", output=QUIET)
    assert not (folder / "study.db").exists()
