"""The page of a long search: tables are paged, plots are thinned, and both are noted."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from search.report.charts.chart import evenly
from search.report.page import elements, history, slices, write_page
from search.report.page.elements import Cell, Table
from tests.support.report_pages import Page, toy_run


def paged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page_rows: int) -> Page:
    monkeypatch.setattr(elements, "PAGE_ROWS", page_rows)
    run = toy_run(tmp_path / "toy")
    written = write_page(run.ledger.folder, should_draw=False)
    return Page(written.path.read_text(encoding="utf-8"))


def test_a_long_table_has_its_first_page_as_rows_and_all_rows_as_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = paged(tmp_path, monkeypatch, 5)
    assert "rows 1 to 5 of 12" in page.text
    tables = [attributes["data-rows"] for attributes in page.of("table") if "data-rows" in attributes]
    assert "table-trials-2" in tables
    scripts = [json.loads(text) for text in page.scripts if text.startswith('{"page"')]
    data = next(each for each in scripts if len(each["rows"]) == 12)
    assert data["page"] == 5
    names = [row[1] if isinstance(row[1], str) else row[1][0] for row in data["rows"]]
    assert sorted(name.split(" ")[0] for name in names) == [f"trial-{number:04d}" for number in range(12)]


def test_a_table_that_fits_has_no_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = paged(tmp_path, monkeypatch, 12)
    assert all("data-rows" not in attributes for attributes in page.of("table"))
    assert not any(text.startswith('{"page"') for text in page.scripts)


def test_a_cell_of_a_page_keeps_its_text_its_order_and_its_hint() -> None:
    cells = [
        Cell(text="<b>", order="<b>"),
        Cell(text=""),
        Cell(text="0.5", order=0.5),
        Cell(text="nan", order=math.nan),
        Cell(text="", hint="no sensor"),
        Cell(text="failed: x", order="failed", hint="why"),
    ]
    [row] = Table(caption="", columns=["a"] * 6, rows=[cells]).data()["rows"]
    assert row[:4] == ["<b>", "", ["0.5", 0.5], ["nan", "nan"]]
    assert row[4:] == [["", None, "no sensor"], ["failed: x", "failed", "why"]]


def test_thinned_plots_say_of_how_many_they_show_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "_MOST_POINTS", 6)
    monkeypatch.setattr(slices, "_MOST_POINTS", 4)
    run = toy_run(tmp_path / "toy")
    text = write_page(run.ledger.folder, should_draw=False).path.read_text(encoding="utf-8")
    ranked = len(run.ranking.ranked())
    assert (
        f"Score of each trial at its highest rung (6 of {ranked} trials, evenly spaced; the line shows all)"
        in text
    )
    assert f"lr and the score (the best 4 of {ranked} trials)" in text


@pytest.mark.parametrize(
    ("count", "most", "taken"),
    [(3, 5, [0, 1, 2]), (5, 5, [0, 1, 2, 3, 4]), (9, 3, [0, 4, 8]), (101, 2, [0, 100]), (0, 4, [])],
)
def test_an_even_part_has_both_ends(count: int, most: int, taken: list[int]) -> None:
    assert evenly(range(count), most) == taken


def test_the_line_of_the_best_keeps_every_step() -> None:
    points = [(1, 0.1), (2, 0.1), (3, 0.4), (4, 0.4), (5, 0.4), (6, 0.2), (7, 0.2)]
    assert history._corners(points) == [(1, 0.1), (3, 0.4), (6, 0.2), (7, 0.2)]
