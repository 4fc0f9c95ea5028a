"""scripts/report.py, and the page at the end of a search."""

from __future__ import annotations

from pathlib import Path

import pytest

from search import cli
from search.report.page import write_at_end
from search.space import dump_space
from tests.support.recorded_console import console, shown
from tests.support.toy_runs import executed, made_space


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of an ended run."""
    run, _ = executed(made_space(tmp_path), tmp_path)
    dump_space(run.space, run.ledger.space_file)
    return run.ledger.folder


def test_the_command_writes_the_page_of_a_run_by_its_name(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run("report", ["run", "--results", str(folder.parent)]) == 0
    assert capsys.readouterr().out.startswith(f"report: {folder / 'report.html'}, written in ")


def test_the_page_of_a_run_that_is_only_read_goes_elsewhere(folder: Path, tmp_path: Path) -> None:
    before = sorted(folder.rglob("*"))
    assert cli.run("report", [str(folder), "--out", str(tmp_path / "new" / "theirs.html")]) == 0
    assert sorted(folder.rglob("*")) == before
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"theirs.html", "theirs-plots"}


def test_a_run_that_is_not_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run("report", [str(tmp_path / "nowhere")]) == 2
    assert capsys.readouterr().err.endswith("nowhere holds no run (no journal.jsonl in it)\n")


@pytest.mark.parametrize("flags", [[], ["run", "--compare", "a", "b"], ["run", "--watch", "0"]])
def test_flags_that_do_not_go_together_are_refused(flags: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.run("report", flags)
    assert ended.value.code == 2


def test_a_comparison_lies_beside_the_runs(folder: Path) -> None:
    results = ["--results", str(folder.parent)]
    assert cli.run("report", ["--compare", "run", str(folder), *results]) == 0
    assert (folder.parent / "compare-run-run.html").is_file()


def test_the_end_of_a_search_says_where_its_page_is(folder: Path) -> None:
    output = console()
    write_at_end(folder, output)
    assert shown(output).startswith(f"report: {folder / 'report.html'}, written in ")


def test_a_page_that_cannot_be_written_is_a_warning(folder: Path) -> None:
    (folder / "report.html").mkdir()
    output = console()
    write_at_end(folder, output)
    assert shown(output).startswith("warning: no report (StorageError: ")
    assert shown(output).endswith(f"later: python scripts/report.py {folder}\n")
