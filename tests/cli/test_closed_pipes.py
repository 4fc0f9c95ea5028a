"""Standard output that nobody reads to its end, as with `| head`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from search.output import Output, SafeConsole

ROOT = Path(__file__).parents[2]


def closed_pipe() -> int:
    """The writing end of a pipe whose reader is gone."""
    reader, writer = os.pipe()
    os.close(reader)
    return writer


def test_what_a_command_prints_is_dropped_once_nobody_reads_it(capsys: pytest.CaptureFixture[str]) -> None:
    with os.fdopen(closed_pipe(), "w") as pipe:
        output = Output(console=SafeConsole(file=pipe))
        output.print("the first line meets the closed pipe")
        output.warn("and the command continues")
        assert output.console.quiet
    assert capsys.readouterr().err == "note: nobody reads standard output any more; the command continues\n"


def test_a_console_on_standard_error_says_nothing_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    with os.fdopen(closed_pipe(), "w") as pipe:
        console = SafeConsole(file=pipe, stderr=True)
        console.print("lost")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("words", [["--help"], ["search", "--help"], ["check", "--help"]])
def test_an_unread_answer_leaves_no_traceback(words: list[str]) -> None:
    pipe = closed_pipe()
    done = subprocess.run(
        [sys.executable, "-m", "jouletune", *words],
        stdout=pipe,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        check=False,
    )
    os.close(pipe)
    assert (done.returncode in (0, 141), done.stderr) == (True, b"")
