"""What the console leaves out and what it never does."""

from __future__ import annotations

from pathlib import Path

import pytest

from search.ledger.journal import StorageError
from search.output import Output
from search.report.console import ConsoleView
from search.report.plan import print_plan
from search.run.observers import DiskGuard
from tests.support.toy_runs import Calling, executed, made_space


def test_quiet_prints_warnings_alone(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output(is_quiet=True)
    output.print("a trial ended")
    output.warn("no sensor")
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "warning: no sensor\n"


def test_each_severity_has_its_prefix_and_a_path_is_never_folded(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output()
    path = "/x" * 120
    output.print(path)
    output.note(path)
    output.warn(path)
    output.error(path)
    assert capsys.readouterr().out.splitlines() == [path, f"note: {path}", f"warning: {path}", path]


@pytest.mark.parametrize(
    ("is_quiet", "has_json", "out", "err"),
    [
        (False, False, "progress\nanswer\n", ""),
        (True, False, "answer\n", ""),
        (False, True, "", "progress\nanswer\n"),
        (True, True, "", "answer\n"),
    ],
)
def test_the_answer_is_printed_where_no_other_output_is(
    is_quiet: bool, has_json: bool, out: str, err: str, capsys: pytest.CaptureFixture[str]
) -> None:
    output = Output(is_quiet=is_quiet, has_json=has_json)
    output.print("progress")
    output.last.print("answer")
    assert tuple(capsys.readouterr()) == (out, err)


def test_a_silent_output_prints_no_warning_and_no_answer(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output.silent()
    output.warn("no sensor")
    output.last.print("answer")
    assert tuple(capsys.readouterr()) == ("", "")


def test_quiet_warns_of_what_the_disk_does_not_take(capsys: pytest.CaptureFixture[str]) -> None:
    def full(event: object) -> None:
        raise StorageError("trials.csv cannot be written: No space left on device")

    output = Output(is_quiet=True)
    guard = DiskGuard(output.warn)
    guard.add(Calling(full))
    guard.on_event({"event": "epoch"})
    text = (
        "trials.csv cannot be written: No space left on device; the run continues, its journal has everything"
    )
    assert capsys.readouterr().err == f"warning: {text}\n"


def test_quiet_says_that_a_worker_was_lost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, _ = executed(made_space(tmp_path), tmp_path)
    failure = {"cause": "worker_lost", "message": "killed by signal 9"}
    view = ConsoleView(run, Output(is_quiet=True))
    view.on_event({"event": "attempt_failed", "trial": "trial-0000", "will_retry": True, "failure": failure})
    assert capsys.readouterr().err == "warning: trial-0000  worker_lost, tried again: killed by signal 9\n"


def test_brackets_are_printed_as_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = Output()
    output.note("pip install -e '.[amd]' [bold]")
    print_plan(made_space(tmp_path), output)
    out = capsys.readouterr().out
    assert out.startswith("note: pip install -e '.[amd]' [bold]\nmade: ")
