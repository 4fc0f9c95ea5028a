"""Text from outside on terminals and in spreadsheets."""

from __future__ import annotations

import csv
import io

import pytest
from rich.table import Table as RichTable
from rich.text import Text

from search.cli import run as command
from search.ledger import csv_text
from search.ledger.journal_lines import bounded
from search.output import SafeConsole
from search.printable import counted, csv_cell, first_line, printable, text_of_cell
from search.trial.final_outputs import table_text
from trainables.core.optional import Table

EVIL = "\x1b]52;c;aGFja2Vk\x07 \x1b]8;;http://evil\x07here\x1b]8;;\x07 \x1b[2J \x9b31m \r \x08 \u202e \udcff"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred", r"\x1b[31mred"),
        ("\x9b31m", r"\x9b31m"),
        ("over\rwritten", r"over\rwritten"),
        ("\u202etxt.exe", r"\u202etxt.exe"),
        ("bad \udcff name", r"bad \udcff name"),
        ("a\0b", r"a\x00b"),
        ("two\nlines\tand a tab: größe, 日本, 🙂, [bold]", "two\nlines\tand a tab: größe, 日本, 🙂, [bold]"),
    ],
)
def test_what_a_terminal_would_obey_is_written_out(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert bounded({"message": [text]}) == {"message": [shown]}


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("no such model\nTraceback"), "no such model"),
        (AssertionError(), "AssertionError"),
        (RuntimeError("\n  CUDA error: out of range\n"), "CUDA error: out of range"),
    ],
)
def test_an_error_has_a_line_whatever_its_text(error: Exception, line: str) -> None:
    assert first_line(error) == line


def test_one_of_a_thing_is_singular() -> None:
    texts = [counted(number, "GPU") for number in (0, 1, 1.0, 0.5, 1_000_000)]
    assert texts == ["0 GPUs", "1 GPU", "1 GPU", "0.5 GPUs", "1000000 GPUs"]


@pytest.mark.parametrize("is_terminal", [True, False])
def test_the_console_passes_nothing_on_but_its_own_colours(is_terminal: bool) -> None:
    out = io.StringIO()
    console = SafeConsole(file=out, force_terminal=is_terminal, width=200, markup=False, highlight=False)
    table = RichTable(EVIL)
    table.add_row(Text(EVIL, style="bold"))
    console.print(EVIL, style="yellow")
    console.print(table, style="red")
    shown = out.getvalue()
    for forbidden in ("\x1b]", "\x1b[2J", "\x9b", "\x07", "\r", "\x08", "\u202e", "\udcff"):
        assert forbidden not in shown
    assert ("\x1b[" in shown) is is_terminal
    assert r"\x1b]52;c;aGFja2Vk" in shown  # rich itself drops the bell


def test_a_mistake_s_message_is_printable(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("report", ["no\x1b]52;c;aGFja2Vk\x07run"]) == 2
    printed = capsys.readouterr()
    assert "\x1b" not in printed.err + printed.out
    assert r"no\x1b]52;c;aGFja2Vk\x07run" in printed.err


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1+cmd", "@SUM(A1)", "\t=1", "\n=1", "\uff1d1+1"])
def test_a_cell_that_would_be_computed_gets_an_apostrophe(text: str) -> None:
    assert csv_cell(text) == f"'{text}"
    (row,) = csv.reader(io.StringIO(table_text(Table(columns=(text,), rows=[])).strip("\n")))
    assert row == [f"'{text}"]
    lines = list(csv.reader(io.StringIO(csv_text([text], [{text: text}]))))
    assert lines == [[f"'{text}"], [f"'{text}"]]
    assert text_of_cell(f"'{text}") == text


@pytest.mark.parametrize("value", [-1.5, 3, None, "", "a=b", "trial-0001", True])
def test_other_cells_are_as_they_are(value: object) -> None:
    assert csv_cell(value) == value
    assert text_of_cell(str(value)) == str(value)


def test_a_table_with_a_cell_that_has_no_column_is_refused() -> None:
    with pytest.raises(ValueError, match="no columns \\['b'\\]"):
        csv_text(["a"], [{"a": 1, "b": 2}])
