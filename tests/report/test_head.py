"""The figures at the head of a page, and tables without what nobody knows."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from search.ledger import Ledger
from search.report.page.conclusion import advice
from search.report.page.elements import Table, hparam_cell, number_cell, text_cell
from search.report.page.head import head
from search.report.page.run_data import RunData, read_run
from search.report.page.trial_table import trial_section
from search.run import Run
from search.space import dump_space
from tests.support.report_pages import promoted, toy_run
from tests.support.toy_runs import executed, made_space


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return toy_run(tmp_path_factory.mktemp("head"))


def data_of(run: Run) -> RunData:
    dump_space(run.space, run.ledger.folder / "space.yaml")
    return read_run(run.ledger.folder)


def figures(run: Run) -> dict[str, tuple[str, str]]:
    return {each.name: (each.value, each.detail) for each in head(data_of(run)).figures}


def test_the_head_has_score_epochs_time_and_energy_each_beside_what_to_hold_it_against(run: Run) -> None:
    found = figures(run)
    assert list(found) == ["best val_accuracy", "epochs", "time", "energy"]
    best = run.ranking.best()
    assert best is not None
    assert found["best val_accuracy"][0] == f"{best.value('val_accuracy'):.4g}"
    assert found["best val_accuracy"][1].startswith(f"{best.trial_id} at rung {best.rung} (")
    assert found["best val_accuracy"][1].endswith("; not promoted yet")
    num_epochs, num_trials = (
        sum(len(one.rows) for one in run.history.trials.values()),
        len(run.history.trials),
    )
    whole = num_trials * run.space.ladder.ends[-1]
    assert found["epochs"][0] == str(num_epochs)
    assert found["epochs"][1].endswith(
        f"trials: {num_epochs / whole:.0%} of {whole}, a full training of each"
    )


def test_energy_that_nothing_measured_is_unknown_with_its_reason(run: Run) -> None:
    value, detail = figures(run)["energy"]
    if run.spent.energy_j is None:
        assert (value, detail) == ("unknown", data_of(run).energy_reason)


def test_energy_has_its_grams_and_money(tmp_path: Path) -> None:
    report = "search.report={region: DEU, price_per_kwh: 0.3, currency: EUR}"
    run, _ = executed(made_space(tmp_path, overrides=[report]), tmp_path)
    data = data_of(run)
    joules = data.spent_j
    assert joules is not None
    energy = {each.name: each for each in head(data).figures}["energy"]
    assert energy.value == f"{joules / 3.6e6:.3g} kWh"
    assert energy.detail == f"{run.space.limits.tariff.text(joules)} at 344.1 g/kWh (DEU 2024)"


def test_a_column_without_a_value_is_left_out_and_named(run: Run) -> None:
    table = Table(
        caption="two",
        columns=["trial", "energy (J)", "lr"],
        rows=[
            [text_cell("a"), number_cell(None), number_cell(0.1)],
            [text_cell("b"), number_cell(None), number_cell(None)],
        ],
    )
    assert table.empty_columns == ["energy (J)"]
    narrow = table.without_empty_columns()
    assert (narrow.columns, [len(row) for row in narrow.rows]) == (["trial", "lr"], [2, 2])
    assert replace(table, rows=[]).without_empty_columns().columns == []


def test_a_hyperparameter_that_is_false_everywhere_is_known_and_is_no_number() -> None:
    cells = [hparam_cell(value) for value in (False, True, 0, 0.5, "sgd", None)]
    assert [(cell.text, cell.order) for cell in cells] == [
        *(("False", "False"), ("True", "True"), ("0", 0), ("0.5", 0.5), ("sgd", "sgd"), ("", None)),
    ]
    assert Table(caption="", columns=["nesterov"], rows=[cells[:1]] * 2).empty_columns == []


def test_the_table_of_trials_shows_what_is_known(run: Run) -> None:
    section = trial_section(data_of(run))
    (table,) = (each for each in section.elements if isinstance(each, Table))
    assert table.empty_columns == []


def test_a_promotion_s_gain_stands_first(tmp_path: Path) -> None:
    searched = toy_run(tmp_path)
    promoted(searched)
    rows = read_run(searched.ledger.folder).promotion.rows  # type: ignore[union-attr]
    winner = next(row for row in rows if not row["is_default"])
    first = head(read_run(searched.ledger.folder)).figures[0]
    assert first.name == "gain over the default"
    assert first.value == f"{winner['gain_mean']:+.3g}"
    default = next(row for row in rows if row["is_default"])
    scores = [
        row["test_mean"] if row["test_mean"] is not None else row["val_mean"] for row in (winner, default)
    ]
    assert first.detail == f"no interval; {scores[0]:.4g} in full, {scores[1]:.4g} for the default"


def test_after_a_promotion_nothing_is_called_not_promoted(tmp_path: Path) -> None:
    searched = toy_run(tmp_path)
    promoted(searched)
    data = read_run(searched.ledger.folder)
    assert data.promotion is not None
    rows = [{**row, "is_default": True} for row in data.promotion.rows]
    first = head(replace(data, promotion=replace(data.promotion, rows=rows))).figures[0]
    assert first.name == "best val_accuracy"
    assert first.detail.endswith("; after full training the default is the best")


def test_a_default_that_is_the_best_is_not_compared_with_itself(run: Run) -> None:
    data = data_of(run)
    best = data.best
    assert best is not None
    for trial in data.trials:
        trial.proposed_by = "default" if trial is best else "sampler"
    assert head(data).figures[0].detail.endswith("; it is the default; not promoted yet")


def test_the_latest_promotion_is_the_one_whose_journal_says_so(tmp_path: Path) -> None:
    """The files of a copied or fetched run have the times of the copy."""
    folder = toy_run(tmp_path).ledger.folder
    for name, at, copied_at in (
        ("promotion-10", 200.0, 1),
        ("promotion-2", 300.0, 2),
        ("promotion", 100.0, 3),
    ):
        journal = Ledger.create(folder / name, clock=lambda at=at: at).journal_file
        os.utime(journal, (copied_at, copied_at))
    promotion = read_run(folder).promotion
    assert promotion is not None
    assert promotion.ledger.folder.name == "promotion-2"


def test_more_seeds_are_advised_for_the_winner_even_if_the_search_ranks_others_before_it(
    tmp_path: Path,
) -> None:
    searched = toy_run(tmp_path)
    promoted(searched, seeds=(5,))
    data = read_run(searched.ledger.folder)
    assert data.promotion is not None
    [row] = [row for row in data.promotion.rows if row["is_default"]]
    place = data.ranks[row["trial_id"]]
    assert place > 1
    won = replace(data.promotion, rows=[{**row, "is_default": False, "conclusion": "tie"}])
    command = f"python scripts/promote.py {searched.ledger.folder} --top {place} --seeds 5"
    assert advice(replace(data, promotion=won))[0] == ("More seeds narrow the interval:", command)
