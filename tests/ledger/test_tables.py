"""trials.csv and energy.csv."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from search.ledger.trial_energy import TrialEnergy
from search.tables import Tables, energy_rows, promoted_columns, promoted_rows, trial_columns, trial_rows
from tests.support.fake_clock import FakeClock
from tests.support.toy_runs import FATEFUL, executed, fateful_space, listed, made_space


def test_the_largest_budget_ranks_first_and_failures_last(tmp_path: Path) -> None:
    points = [
        {"fate": "fine", "score": 0.1},
        {"fate": "fine", "score": 0.3},
        {"fate": "raise"},
        {"fate": "fine", "score": 0.2},
        {"fate": "nan"},
    ]
    run, _ = executed(fateful_space(tmp_path), tmp_path, listed(*points))
    rows = trial_rows(run.space, run.history)
    assert [(row["rank"], row["trial_id"], row["rung"], row["status"]) for row in rows] == [
        (1, "trial-0001", 1, "finished"),
        (2, "trial-0000", 1, "finished"),
        (3, "trial-0003", 0, "stopped"),
        (None, "trial-0002", None, "failed"),
        (None, "trial-0004", 0, "diverged"),
    ]
    assert [row["val_accuracy"] for row in rows] == [
        0.3 + 0.03,
        0.1 + 0.03,
        0.2 + 0.01,
        None,
        None,
    ]


def test_a_small_budget_never_outranks_a_larger_one(tmp_path: Path) -> None:
    run, _ = executed(made_space(tmp_path), tmp_path)
    rungs = [row["rung"] for row in trial_rows(run.space, run.history)]
    assert rungs == sorted(rungs, reverse=True)
    assert {0, 2} <= set(rungs)


def test_the_table_opens_in_pandas_with_full_precision(tmp_path: Path) -> None:
    run, _ = executed(made_space(tmp_path), tmp_path)
    Tables(run.ledger, run.space, run.history).write()
    table = pd.read_csv(run.ledger.folder / "trials.csv")
    assert list(table.columns) == trial_columns(run.space, run.history)
    assert len(table) == 12
    by_trial = table.set_index("trial_id")
    for trial in run.history.trials.values():
        assert by_trial.loc[trial.trial_id, "lr"] == trial.hparams["lr"]
        assert by_trial.loc[trial.trial_id, "val_accuracy"] == trial.value("val_accuracy")


def test_joules_per_trial_and_per_rung_add_up_alike(tmp_path: Path) -> None:
    run, _ = executed(made_space(tmp_path), tmp_path)
    by_rung = energy_rows(run.history)
    for row in trial_rows(run.space, run.history):
        mine = [part for part in by_rung if part["trial_id"] == row["trial_id"]]
        assert row["energy_j"] == pytest.approx(sum(part["energy_j"] for part in mine))
        assert row["energy_j"] == pytest.approx(0.12 * row["epochs"])
        assert sum(part["num_examples"] for part in mine) == row["num_examples"]


def test_unknown_energy_is_an_empty_cell_with_its_reason(tmp_path: Path) -> None:
    run, _ = executed(made_space(tmp_path), tmp_path)
    trial = run.history.trials["trial-0000"]
    trial.sensors.update(reason="no sensor")
    trial.rows[:] = []
    trial.joules = TrialEnergy()
    row = next(row for row in trial_rows(run.space, run.history) if row["trial_id"] == "trial-0000")
    assert (row["energy_j"], row["energy_per_example_j"], row["energy_reason"]) == (None, None, "no sensor")


def test_tables_are_written_at_most_every_few_seconds_and_at_the_end(tmp_path: Path) -> None:
    run, _ = executed(made_space(tmp_path), tmp_path)
    clock = FakeClock()
    tables = Tables(run.ledger, run.space, run.history, every_s=2.0, clock=clock)
    path = run.ledger.folder / "trials.csv"

    def is_written(kind: str) -> bool:
        path.unlink(missing_ok=True)
        tables.on_event({"event": kind})
        return path.exists()

    assert is_written("trial_ended")
    assert not is_written("trial_ended")
    clock.now_s += 2.0
    assert not is_written("epoch")
    assert is_written("trial_ended")
    assert is_written("run_ended")


def test_a_hyperparameter_named_like_a_column_has_one_of_its_own(tmp_path: Path) -> None:
    score = "score: float = 0.5"
    lora = FATEFUL.replace(score, f"{score}\n    rank: int = 8\n    seconds: float = 2.5")
    (tmp_path / "lora.py").write_text(lora)
    space = made_space(
        tmp_path,
        "parameters: {rank: {values: [4, 8]}}\n"
        "search: {trainable: ./lora.py, data: none, ladder: {epochs: [1]}}\n",
    )
    run, _ = executed(space, tmp_path, listed({"rank": 8, "seconds": 2.5}, {"rank": 4, "seconds": 2.5}))
    [first, second] = trial_rows(run.space, run.history)
    assert [first["rank"], first["hparams.rank"], second["rank"], second["hparams.rank"]] == [1, 8, 2, 4]
    assert (first["hparams.seconds"], first["seconds"]) == (
        2.5,
        round(run.history.trials[first["trial_id"]].seconds, 3),
    )
    assert {"hparams.rank", "hparams.seconds"} <= set(trial_columns(run.space, run.history))
    trials = list(run.history.trials.values())
    [best, other] = promoted_rows(trials, run.history, run.space)
    assert [best["rank"], best["hparams.rank"], other["rank"], other["hparams.rank"]] == [1, 8, 2, 4]
    assert set(best) == set(promoted_columns(trials))
