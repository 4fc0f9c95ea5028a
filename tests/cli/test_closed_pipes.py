"""Standard output that nobody reads to its end, as with `| head`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from search import cli
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
    assert capsys.readouterr().err == "note: nothing reads standard output any more; the command continues\n"


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


def test_a_search_whose_both_outputs_end_in_one_closed_pipe_continues_to_its_end(tmp_path: Path) -> None:
    """As with `2>&1 | head -1`."""
    (tmp_path / "toy.yaml").write_text(
        "parameters: {lr: {distribution: log_uniform_values, min: 1e-4, max: 1.0}}\n"
        "search: {trainable: toy, data: none, ladder: {epochs: [1, 3]}, limits: {trials: 3}}\n"
    )
    words = ["search", "--space", "./toy.yaml", "--name", "run", "--backend", "local", "--no-report"]
    pipe = closed_pipe()
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts/search.py"), *words[1:]],
        stdout=pipe,
        stderr=pipe,
        cwd=tmp_path,
        check=False,
    )
    os.close(pipe)
    assert done.returncode == 0
    assert '"reason": "all 3 trials done"' in (tmp_path / "results/run/journal.jsonl").read_text()


def test_another_broken_pipe_is_no_unread_answer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken(*words: object, **named: object) -> int:
        raise BrokenPipeError("a socket of the search")

    monkeypatch.setattr(cli, "_run", broken)
    with (tmp_path / "out").open("w") as file:
        monkeypatch.setattr(sys, "stdout", file)
        with pytest.raises(BrokenPipeError, match="a socket of the search"):
            cli.run("search", [])
