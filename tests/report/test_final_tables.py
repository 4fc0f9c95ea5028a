"""Files of promoted trainings that the journal holds all of."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from search import cli
from search.backends.local import execute_here
from search.energy.reading import EnergyReading
from search.ledger import Ledger
from search.promotion import chosen, full_training, proposals
from search.run import Run
from search.sampling.proposal import FixedList
from search.space import dump_space
from search.tables import FinalTables, history_columns, history_rows
from search.tables.history import HistoryFile
from search.trial import EpochRow
from tests.support.toy_runs import TOY, SteadyMeter, executed, made_space


def promotion_of(folder: Path, *, seeds: list[int]) -> Run:
    """A promotion of the default of a search over the toy, about to begin."""
    run, _ = executed(made_space(folder, TOY, ["search.limits.trials=2"]), folder)
    trials = chosen(run.history, run.space, top=1)[:1]
    ledger = Ledger.create(run.ledger.promotion_folder)
    space = full_training(run.space)
    dump_space(space, ledger.space_file)
    return Run(space, FixedList(proposals(trials, seeds)), ledger, should_test=True)


@pytest.fixture
def promotion(tmp_path: Path) -> Run:
    """A promotion of two seeds, with its artefacts."""
    run = promotion_of(tmp_path, seeds=[5, 6])
    run.observe(FinalTables(run))
    execute_here(run, SteadyMeter())
    return run


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_training_leaves_these_files(promotion: Run) -> None:
    for trial_id in promotion.history.trials:
        left = {path.name for path in promotion.ledger.trial_folder(trial_id).iterdir()}
        assert left == {
            *("best.pt", "checkpoint.pt", "config.yaml", "final.pt", "history.csv", "log.txt", "test.json")
        }


def test_the_history_has_every_epoch_with_what_it_brought_and_cost(promotion: Run) -> None:
    trial = promotion.history.trials["trial-0001"]
    rows = table(promotion.ledger.trial_folder("trial-0001") / "history.csv")
    assert [int(row["epoch"]) for row in rows] == list(range(1, 10))
    assert [float(row["val_accuracy"]) for row in rows] == [row.metrics["val_accuracy"] for row in trial.rows]
    assert [float(row["energy_j"]) for row in rows] == pytest.approx([0.12] * 9)
    assert [float(row["energy_gpu_j"]) for row in rows] == pytest.approx([0.1] * 9)
    assert {row["energy_dram_j"] for row in rows} == {""}


def test_the_configuration_has_all_that_a_training_depends_on(promotion: Run) -> None:
    trial = promotion.history.trials["trial-0001"]
    config = YAML(typ="safe").load(promotion.ledger.trial_folder("trial-0001") / "config.yaml")
    assert config["hparams"] == trial.hparams
    assert (config["seed"], config["data_seed"], config["parent_trial"]) == (6, 0, trial.parent_trial)
    assert (config["trainable"], config["data"], config["budget"]) == ("toy", "none", {"epochs": [9]})
    assert set(config["versions"]) == {"python", "packages", "git"}


def test_the_command_in_it_trains_the_same_once_more(
    promotion: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = promotion.ledger.trial_folder("trial-0001")
    first_line = (folder / "config.yaml").read_text().splitlines()[0]
    assert first_line.startswith("# again: python scripts/train.py --space ")
    monkeypatch.chdir(tmp_path)
    assert cli.run("train", first_line.split("scripts/train.py ")[1].split()) == 0
    assert (tmp_path / "again" / "test.json").read_text() == (folder / "test.json").read_text()
    again, first = table(tmp_path / "again" / "history.csv"), table(folder / "history.csv")
    assert [row["val_accuracy"] for row in again] == [row["val_accuracy"] for row in first]


def test_what_a_kill_kept_from_being_written_is_written_at_the_end(tmp_path: Path) -> None:
    run = promotion_of(tmp_path, seeds=[5])
    execute_here(run, SteadyMeter())
    again = Run(run.space, FixedList([]), Ledger.open(run.ledger.folder), should_test=True)
    again.observe(FinalTables(again))
    execute_here(again, SteadyMeter())
    left = {path.name for path in again.ledger.trial_folder("trial-0000").iterdir()}
    assert {"config.yaml", "history.csv"} <= left


def test_a_file_from_before_the_trials_end_is_written_again_and_a_newer_one_stays(tmp_path: Path) -> None:
    """Of a trial that was interrupted and resumed, and had ended when its session was killed."""
    run = promotion_of(tmp_path, seeds=[5, 6])
    execute_here(run, SteadyMeter())
    old, new = (run.ledger.trial_folder(trial_id) for trial_id in run.history.trials)
    for file in (old / "config.yaml", old / "history.csv", new / "config.yaml", new / "history.csv"):
        file.write_text("as it was")
    os.utime(old / "config.yaml", (0, 0))
    again = Run(run.space, FixedList([]), Ledger.open(run.ledger.folder), should_test=True)
    again.observe(FinalTables(again))
    execute_here(again, SteadyMeter())
    assert [row["epoch"] for row in table(old / "history.csv")] == list("123456789")
    assert (old / "config.yaml").read_text().startswith("# again: ")
    assert [(new / name).read_text() for name in ("config.yaml", "history.csv")] == ["as it was"] * 2


def epoch(number: int, accuracy: float | None, *, is_replay: bool = False) -> EpochRow:
    metrics = {"lr": 0.1} | ({} if accuracy is None else {"val_accuracy": accuracy})
    energy = EnergyReading(gpu_mj=1000)
    return EpochRow(epoch=number, rung=0, metrics=metrics, seconds=2.0, energy=energy, is_replay=is_replay)


def test_an_epoch_that_was_repeated_is_one_row_with_all_it_cost() -> None:
    rows = history_rows([epoch(1, 0.5), epoch(2, 0.6), epoch(2, 0.7)])
    assert [(row["epoch"], row["seconds"], row["energy_j"], row["val_accuracy"]) for row in rows] == [
        (1, 2.0, 1.0, 0.5),
        (2, 4.0, 2.0, 0.7),
    ]


def test_a_metric_of_some_epochs_has_a_column() -> None:
    rows = history_rows([epoch(1, None), epoch(2, 0.6)])
    assert history_columns(rows)[-2:] == ["lr", "val_accuracy"]


def test_a_training_that_continues_in_another_process_keeps_its_earlier_epochs(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    first = HistoryFile(path)
    for row in (epoch(1, 0.5), epoch(2, 0.6), epoch(3, 0.7)):
        first.add(row)
    second = HistoryFile(path)
    for row in (epoch(2, 0.6, is_replay=True), epoch(3, 0.8), epoch(4, 0.9)):
        second.add(row)
    assert [(row["epoch"], row["val_accuracy"]) for row in table(path)] == [
        ("1", "0.5"),
        ("2", "0.6"),
        ("3", "0.8"),
        ("4", "0.9"),
    ]
