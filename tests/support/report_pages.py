"""Runs on disk with their pages, and a parser of these pages."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from search.backends.local import execute_here
from search.ledger import Ledger
from search.promotion import chosen, full_training, proposals
from search.report.charts.chart import Chart
from search.report.page import write_page
from search.report.page.run_data import read_run
from search.report.page.writer import sections_of
from search.run import Run
from search.sampling.proposal import FixedList
from search.space import dump_space
from tests.support.toy_runs import TOY, SteadyMeter, executed, fateful_space, listed, made_space


class Page(HTMLParser):
    """A parsed page, as far as these tests need."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        while tag in self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "script":
            self.scripts[-1] += data
        elif "style" not in self._open:
            self.text += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def toy_run(folder: Path, overrides: tuple[str, ...] = ()) -> Run:
    """A run of 12 trials with joules, on disk."""
    folder.mkdir(exist_ok=True)
    run, _ = executed(made_space(folder, TOY, overrides), folder)
    dump_space(run.space, run.ledger.space_file)
    return run


def fateful_run(folder: Path, *points: dict[str, Any]) -> Run:
    run, _ = executed(fateful_space(folder), folder, listed(*points))
    dump_space(run.space, run.ledger.space_file)
    return run


def promoted(run: Run, *, top: int = 1, seeds: tuple[int, ...] = (5, 6, 7)) -> Run:
    """Execute the promotion of the best trials of `run`."""
    trials = chosen(run.history, run.space, top=top)
    ledger = Ledger.create(run.ledger.promotion_folder)
    promotion = Run(full_training(run.space), FixedList(proposals(trials, seeds)), ledger, should_test=True)
    execute_here(promotion, SteadyMeter())
    return promotion


def page_of(run: Run) -> Page:
    return Page(write_page(run.ledger.folder, should_draw=False).path.read_text())


def sections(run: Run) -> dict[str, Any]:
    return {section.key: section for section in sections_of(read_run(run.ledger.folder))}


def words(section: Any) -> str:
    return "\n".join(part.text for part in section.elements if part.kind == "text")


def charts(run: Run) -> dict[str, Chart]:
    parts = [part for section in sections(run).values() for part in section.elements]
    return {part.key: part for part in parts if isinstance(part, Chart)}
