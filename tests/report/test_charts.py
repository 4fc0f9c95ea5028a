"""The figures of a run's page, and two runs in one."""

from __future__ import annotations

from pathlib import Path

import plotly.graph_objects as go
import pytest

from search.report.charts.plotly_figure import plotly_figure
from search.report.page import write_comparison, write_page
from search.report.page.run_data import read_run
from search.run import Run
from tests.support.report_pages import Page, charts, toy_run, words


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return toy_run(tmp_path_factory.mktemp("page"))


def test_every_figure_is_one_that_plotly_accepts_and_has_titles(run: Run) -> None:
    found = charts(run)
    assert set(found) == {
        *("timeline", "history_epochs", "history_trials", "curves", "importance", "contour", "parallel"),
        *("slice_1_lr", "slice_2_batch_size", "energy_front", "energy_outcome", "rank_correlation"),
    }
    for chart in found.values():
        go.Figure(plotly_figure(chart))
        assert chart.title
        assert chart.x.title
        assert chart.y.title or chart.y.ticks


def test_the_best_over_epochs_ends_with_the_trial_that_ranks_first(run: Run) -> None:
    line, *points = charts(run)["history_epochs"].series
    best = run.ranking.best()
    assert best is not None
    assert line.y[-1] == best.value("val_accuracy")
    assert sum(len(series.x) for series in points) == sum(
        row.ended_rung is not None for trial in run.history.trials.values() for row in trial.rows
    )
    assert line.x[-1] == sum(len(trial.rows) for trial in run.history.trials.values())


def test_curves_have_a_colour_for_each_rung(run: Run) -> None:
    series = charts(run)["curves"].series
    assert [each.name for each in series] == ["rung 0 (1 epoch)", "rung 1 (3 epochs)", "rung 2 (9 epochs)"]
    assert len({each.colour for each in series}) == 3


def test_a_few_epochs_have_a_tick_each(run: Run) -> None:
    assert plotly_figure(charts(run)["curves"])["layout"]["xaxis"]["dtick"] == 1
    assert "dtick" not in plotly_figure(charts(run)["history_epochs"])["layout"]["xaxis"]


def test_a_slice_marks_the_ends_of_the_space_on_the_space_s_own_scale(run: Run) -> None:
    lr, batch_size = charts(run)["slice_1_lr"], charts(run)["slice_2_batch_size"]
    assert lr.x.is_log
    assert [(mark.at, mark.text) for mark in lr.marks] == [(1e-4, "lower bound"), (1.0, "upper bound")]
    assert [at for at, _ in batch_size.x.ticks] == [16, 32, 64, 128]


def test_each_plot_has_its_png(run: Run) -> None:
    written = write_page(run.ledger.folder)
    assert written.warnings == []
    drawn = {path.stem: path.read_bytes()[:4] for path in (run.ledger.folder / "plots").glob("*.png")}
    assert drawn == dict.fromkeys(charts(run), b"\x89PNG")


def test_two_runs_stand_on_one_page_with_what_differs_between_their_spaces(run: Run, tmp_path: Path) -> None:
    other = toy_run(tmp_path / "b", ("search.limits.trials=6", "parameters.lr.max=0.5"))
    out = tmp_path / "both.html"
    write_comparison(run.ledger.folder, other.ledger.folder, out)
    page = Page(out.read_text())
    assert len(page.of("tr")) == 1 + 2 + 1 + 12 + 1 + 6 + 1 + 2
    assert "parameters.lr.max" in page.text
    assert "search.limits.trials" in page.text
    assert "search.seed" not in page.text
    assert (tmp_path / "both-plots" / "compare_epochs.png").is_file()


def test_runs_of_two_metrics_share_no_axis(run: Run, tmp_path: Path) -> None:
    from search.report.page.compare import comparison

    one = read_run(run.ledger.folder)
    other = read_run(toy_run(tmp_path / "b", ("search.limits.trials=2",)).ledger.folder)
    object.__setattr__(other.space, "metric", "val_loss")
    (best,) = [section for section in comparison(one, other) if section.key == "history"]
    assert words(best) == "Left out: the objective of one run is val_accuracy, of the other val_loss."


def test_a_comparison_begins_with_why_the_two_do_not_compare(run: Run, tmp_path: Path) -> None:
    from search.report.page.compare import comparison

    one = read_run(run.ledger.folder)
    other = read_run(
        toy_run(tmp_path / "b", ("search.limits.trials=2", "search.ladder.epochs=[1, 2]")).ledger.folder
    )
    assert comparison(one, one)[0].elements[0].kind == "table"
    object.__setattr__(other.space, "mode", "min")
    object.__setattr__(one, "environment", {"data": {"num_examples": 5}})
    object.__setattr__(other, "environment", {"data": {"num_examples": 4}})
    metrics, data, budgets, *_ = comparison(one, other)[0].elements
    assert all(part.is_warning for part in (metrics, data, budgets))
    names = [str(each.ledger.folder) for each in (one, other)]
    assert metrics.text == (
        f"The metrics differ: {names[0]} has val_accuracy (max); {names[1]} has val_accuracy (min). "
        "Scores of the two cannot be compared."
    )
    assert data.text.startswith("The data have the same name but changed between the runs: none.")
    assert f"{names[1]} has 1 epoch, then 2 epochs (horizon full)" in budgets.text
