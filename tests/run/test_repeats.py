"""Repeats of a point rank as one configuration, by their mean."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

import jouletune
from search.ledger.history import TrialRecord
from search.promotion import chosen, full_training
from search.ranking import configurations
from search.report.answer import search_answer
from search.report.formatting import mean_text
from search.report.page.compare import comparison
from search.report.page.conclusion import conclusion
from search.report.page.elements import Table
from search.report.page.head import head
from search.report.page.run_data import read_run
from search.report.page.trial_table import trial_section
from search.report.summary import print_summary, print_winner
from search.run import Run
from search.sampling.proposal import FixedList, Proposal
from search.space import dump_space
from search.tables import Tables, trial_rows
from search.trial import EpochRow
from tests.support.recorded_console import console, shown
from tests.support.toy_runs import executed, fateful_space


def trial(
    number: int, lr: float, *values: float, status: str = "finished", proposed_by: str = "list"
) -> TrialRecord:
    """A trial that ended as many rungs as it has values."""
    rows = [
        EpochRow(epoch=rung + 1, rung=rung, completes_rung=True, metrics={"val_accuracy": value}, seconds=1.0)
        for rung, value in enumerate(values)
    ]
    return TrialRecord(
        f"trial-{number:04d}", number, proposed_by, {"lr": lr}, number, 0.0, rows=rows, status=status
    )


def order(*trials: TrialRecord) -> list[tuple[str, float]]:
    found = configurations(trials, "val_accuracy", "max", repeats=3)
    return [(each.first.trial_id, pytest.approx(each.mean)) for each in found]


LUCKY = [trial(0, 0.1, 0.60), trial(2, 0.1, 0.99), trial(4, 0.1, 0.60)]
STEADY = [trial(1, 0.2, 0.80), trial(3, 0.2, 0.82), trial(5, 0.2, 0.84)]


def test_a_lucky_repeat_does_not_beat_a_steady_configuration() -> None:
    assert order(*LUCKY, *STEADY) == [("trial-0001", 0.82), ("trial-0000", 0.73)]
    steady = configurations([*LUCKY, *STEADY], "val_accuracy", "max", repeats=3)[0]
    assert steady.spread == pytest.approx(0.02)
    assert mean_text(steady) == "0.82 ± 0.02 (3 repeats)"


def test_without_repeats_each_trial_ranks_alone() -> None:
    found = configurations([*LUCKY, *STEADY], "val_accuracy", "max")
    assert [each.first.trial_id for each in found][:2] == ["trial-0002", "trial-0005"]
    (alone,) = configurations([trial(0, 0.1, 0.5)], "val_accuracy", "max")
    assert (alone.spread, mean_text(alone)) == (None, "0.5")


def test_repeats_are_compared_at_the_highest_rung_that_all_of_them_ended() -> None:
    climbed = [trial(0, 0.1, 0.5, 0.9), trial(2, 0.1, 0.3), trial(4, 0.1, 0.4)]
    (found,) = configurations(climbed, "val_accuracy", "max", repeats=3)
    assert (found.rung, found.values, found.num_higher) == (0, (0.5, 0.3, 0.4), 1)
    assert mean_text(found) == "0.4 ± 0.1 (3 repeats, at rung 0, which all completed)"
    both = [trial(1, 0.2, 0.1, 0.2), trial(3, 0.2, 0.1, 0.2)]
    assert order(*climbed, *both) == [("trial-0001", 0.2), ("trial-0000", 0.4)]  # the larger budget first


def test_failed_and_unfinished_repeats_are_in_no_mean_and_are_counted() -> None:
    trials = [
        trial(0, 0.1, status="failed"),
        trial(1, 0.1, 0.5),
        trial(2, 0.1, 0.9, status="diverged"),
        trial(3, 0.1, 0.7),
        trial(4, 0.1, status="interrupted"),
    ]
    (found,) = configurations(trials, "val_accuracy", "max", repeats=5)
    assert (found.first.trial_id, found.mean) == ("trial-0001", pytest.approx(0.6))
    assert (len(found.scored), found.num_failed, found.num_open) == (2, 2, 1)
    assert mean_text(found) == "0.6 ± 0.1414 (2 of 5 repeats, 2 failed, 1 without a score)"
    assert configurations([trials[0]], "val_accuracy", "max", repeats=5) == []


def test_one_repeat_with_a_score_has_no_spread() -> None:
    (found,) = configurations(
        [trial(0, 0.1, 0.5), trial(1, 0.1, status="failed")], "val_accuracy", "max", repeats=2
    )
    assert (found.spread, mean_text(found)) == (None, "0.5 (1 of 2 repeats, 1 failed)")


def test_a_loss_ranks_by_the_least_mean_and_equals_by_age() -> None:
    trials = [
        trial(0, 0.1, 2.0),
        trial(1, 0.2, 1.0),
        trial(2, 0.1, 1.0),
        trial(3, 0.2, 2.0),
        trial(4, 0.3, 0.5),
    ]
    found = configurations(trials, "val_accuracy", "min", repeats=2)
    assert [each.first.trial_id for each in found] == ["trial-0004", "trial-0000", "trial-0001"]


def test_1_and_true_are_other_settings() -> None:
    trials = [
        replace(trial(0, 0.1, 0.5), hparams={"on": 1}),
        replace(trial(1, 0.1, 0.7), hparams={"on": True}),
    ]
    assert len(configurations(trials, "val_accuracy", "max", repeats=2)) == 2


def repeated_run(folder: Path) -> Run:
    """The default at 0.2, and 0.5 with a repeat that diverged; three repeats each, through the journal."""
    space = fateful_space(
        folder, ["search.repeats=3", "search.trials=[{score: 0.5}]", "search.scheduler.mode=none"]
    )
    points = [
        Proposal(hparams={"fate": "fine", "score": score}, proposed_by=proposed_by, seed=seed)
        for seed in (1, 2, 3)
        for score, proposed_by in ((0.2, "default"), (0.5, "list"))
    ]
    run, reason = executed(space, folder, FixedList(points))
    dump_space(space, run.ledger.space_file)
    assert reason
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return repeated_run(tmp_path_factory.mktemp("repeats"))


def test_the_ranked_table_has_a_row_a_configuration(run: Run) -> None:
    Tables(run.ledger, run.space, run.history).write()
    with (run.ledger.folder / "configurations.csv").open(newline="") as file:
        best, default = csv.DictReader(file)
    assert (best["rank"], best["trial_id"], best["trials"]) == (
        "1",
        "trial-0001",
        "trial-0001 trial-0003 trial-0005",
    )
    assert (float(best["val_accuracy"]), float(best["value_std"])) == (
        pytest.approx(0.53),
        pytest.approx(0.0),
    )
    assert (best["num_repeats"], best["num_failed"], best["num_open"], best["rung"]) == ("3", "0", "0", "1")
    assert float(best["energy_j"]) == pytest.approx(3 * 3 * 0.12)
    assert (default["rank"], default["proposed_by"]) == ("2", "default")


def test_repeats_share_a_rank_in_the_table_of_trials(run: Run) -> None:
    rows = trial_rows(run.space, run.history)
    assert [(row["rank"], row["trial_id"]) for row in rows] == [
        (1, "trial-0001"),
        (1, "trial-0003"),
        (1, "trial-0005"),
        (2, "trial-0000"),
        (2, "trial-0002"),
        (2, "trial-0004"),
    ]


def test_python_sees_configurations(run: Run) -> None:
    result = jouletune.open(run.ledger.folder)
    assert list(result.ranked["trial_id"]) == ["trial-0001", "trial-0000"]
    assert list(result.ranked["num_repeats"]) == [3, 3]
    assert len(result.trials) == 6
    best = result.best
    assert best
    assert (best.trial_id, best.value, best.num_repeats) == ("trial-0001", pytest.approx(0.53), 3)
    assert best.std == pytest.approx(0.0)
    assert best.energy_j == pytest.approx(3 * 3 * 0.12)


def test_promotion_takes_configurations_and_trains_the_default_once(run: Run) -> None:
    assert [each.trial_id for each in chosen(run.history, run.space, top=1)] == ["trial-0001", "trial-0000"]
    assert [each.trial_id for each in chosen(run.history, run.space, top=5)] == ["trial-0001", "trial-0000"]
    assert full_training(run.space).repeats == 1


def test_the_last_screen_the_answer_and_the_page_give_the_mean(run: Run) -> None:
    output = console(width=200)
    print_summary(run, output)
    print_winner(run, "the space is exhausted", output)
    text = shown(output)
    assert "best: trial-0001, val_accuracy 0.53 ± 0 (3 repeats)" in text
    assert "trial-0003" not in text
    answer = json.loads(json.dumps(search_answer(run, "done")))["best"]
    assert (answer["trial"], answer["value"], answer["num_repeats"]) == ("trial-0001", pytest.approx(0.53), 3)
    run_data = read_run(run.ledger.folder)
    assert "trial-0001 with val_accuracy 0.53 ± 0 (3 repeats)" in conclusion(run_data)[0]
    assert (
        "+0.3, from the means of 3 and 3 seeds; the best was chosen for its score" in conclusion(run_data)[1]
    )
    tables = [part for part in trial_section(run_data).elements if isinstance(part, Table)]
    assert tables[0].caption == "2 configurations, each with its repeats"
    assert [row[3].text for row in tables[0].rows] == ["3 repeats", "3 repeats"]
    assert [row[0].text for row in tables[1].rows] == ["1", "1", "1", "2", "2", "2"]


def test_the_head_and_a_comparison_give_means_too(run: Run) -> None:
    data = read_run(run.ledger.folder)
    for name, value in (
        ("trial-0002", 0.53),
        ("trial-0003", 0.83),
    ):  # a repeat of the default, one of the best
        rows = data.history.trials[name].rows
        rows[-1] = replace(rows[-1], metrics={"val_accuracy": value})
    best = head(data).figures[0]
    assert (best.value, "; 0.33 for the default; " in best.detail) == ("0.63", True)
    summary = comparison(data, data)[0]
    (table,) = (part for part in summary.elements if isinstance(part, Table))
    assert [cell.text for cell in table.rows[0][1:5]] == ["trial-0001", "val_accuracy", "0.63", "1"]
