"""What a click on a trial shows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from search.report.page import trial_details as module
from search.report.page.elements import Table, TrialDetails, number_cell, text_cell
from search.report.page.run_data import read_run
from search.report.page.trial_details import trial_details
from search.run import Run
from tests.support.report_pages import fateful_run, page_of, promoted, sections, toy_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return toy_run(tmp_path_factory.mktemp("details"))


def details_of(run: Run) -> TrialDetails:
    return trial_details(read_run(run.ledger.folder))


def test_every_trial_has_its_curve_and_what_differs_from_the_default(run: Run) -> None:
    data = details_of(run).data
    assert list(data["trials"]) == [trial.trial_id for trial in run.ranking.ranked()]
    assert data["names"][:2] == ["lr", "batch_size"]
    default = next(trial for trial in run.history.trials.values() if trial.proposed_by == "default")
    assert data["trials"][default.trial_id][4] == []
    for trial in run.history.trials.values():
        subtitle, epochs, values, rungs, differences, _ = data["trials"][trial.trial_id]
        curve = trial.curve
        assert epochs == list(curve)
        assert values == [row.metrics["val_accuracy"] for row in curve.values()]
        assert rungs == [row.rung for row in curve.values()]
        changed = dict(zip(differences[::2], differences[1::2], strict=True))
        for place, name in enumerate(data["names"]):
            assert (place in changed) == (trial.hparams[name] != default.hparams[name])
        assert f"{trial.epochs} epochs" in subtitle


def test_a_log_is_shown_by_its_last_lines_without_what_a_terminal_obeys(run: Run) -> None:
    best = run.ranking.ranked()[0]
    log = run.ledger.trial(best.trial_id).log
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("".join(f"line {number}\n" for number in range(40)) + "\x1b[2J" + "x" * 900)
    lines = details_of(run).data["trials"][best.trial_id][5].split("\n")
    assert lines[:2] == ["line 29", "line 30"]
    assert lines[-1] == "\\x1b[2J" + "x" * 393
    log.unlink()
    assert details_of(run).data["trials"][best.trial_id][5] == ""


def test_of_many_trials_the_best_and_those_that_failed_have_a_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_LOGS", 2)
    fates = ["fine", "fine", "raise", "raise"]
    failed = fateful_run(tmp_path, *({"fate": fate, "score": n / 10} for n, fate in enumerate(fates)))
    for trial_id in failed.history.trials:
        failed.ledger.trial(trial_id).log.write_text("a line\n")
    trials = details_of(failed).data["trials"]
    assert {name: bool(trial[5]) for name, trial in trials.items()} == {
        "trial-0001": True,
        "trial-0000": False,
        "trial-0002": True,
        "trial-0003": False,
    }
    assert trials["trial-0002"][0].endswith("KeyError: 'a mistake in the training code'")


def test_a_promoted_trial_has_its_full_score_and_confusion(tmp_path: Path) -> None:
    searched = toy_run(tmp_path)
    folder = promoted(searched).ledger.trial_folder("trial-0000")
    (folder / "confusion.csv").write_text("label,a,b\na,4,1\nb,0,5\n")
    (folder / "confusion_normalised.csv").write_text("label,a,b\na,0.8,0.2\nb,0.0,1.0\n")
    found = details_of(searched).data["promoted"]
    matrices = [names and (names, rows) for _, names, rows in found.values()]
    assert (["a", "b"], [["4", "1"], ["", "5"]]) in matrices
    assert all(sentence.startswith("Full training: ") for sentence, *_ in found.values())


def test_a_row_opens_its_trial_by_a_button(run: Run) -> None:
    page = page_of(run)
    named = [each["data-trial"] for each in page.of("button") if "data-trial" in each]
    assert named == [trial.trial_id for trial in run.ranking.ranked()]
    (data,) = [json.loads(text) for text in page.scripts if text.startswith('{"metric"')]
    assert list(data["trials"]) == named
    (table,) = [part for part in sections(run)["trials"].elements if isinstance(part, Table)]
    assert table.trial_place == 1


def test_columns_that_tell_rows_apart_come_first() -> None:
    rows = [[text_cell("a"), number_cell(1), number_cell(3), number_cell(7)],
            [text_cell("a"), number_cell(1), number_cell(4), number_cell(8)]]  # fmt: skip
    table = Table(caption="", columns=["name", "x", "y", "z"], rows=rows).with_constants_last(first=1)
    assert table.columns == ["name", "y", "z", "x"]
    assert [cell.text for cell in table.rows[1]] == ["a", "4", "8", "1"]
