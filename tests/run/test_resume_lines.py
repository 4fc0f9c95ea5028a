"""What a command's last lines say to do next, and that messages repeat the user's own overrides."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from search import cli, launch
from search.backends.local import LocalBackend
from search.report.summary import print_winner
from search.run import Run
from search.run.resume import resume_command
from search.run_names import space_words
from tests.support.recorded_console import console, shown
from tests.support.run_without_ray import search_without_ray
from tests.support.toy_runs import executed, made_space

TOY = """
parameters: {lr: {min: 0.1, max: 1.0}}
search: {trainable: toy, data: none, ladder: {epochs: [1, 3]}, limits: {trials: 4}, promote: {top: 5}}
"""


def last_lines(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    on_run: Callable[[Run], None],
    *flags: str,
) -> list[str]:
    (folder / "toy.yaml").write_text(TOY)
    monkeypatch.chdir(folder)
    search_without_ray(monkeypatch, on_run)("--space", "./toy.yaml", "--no-report", *flags)
    return capsys.readouterr().out.splitlines()


def test_after_an_interrupt_the_last_line_resumes_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(run: Run) -> None:
        run.interrupt("SIGINT received")

    lines = last_lines(
        tmp_path, monkeypatch, capsys, interrupt, "--name", "mine", "--fresh", "--set", "search.seed=3"
    )
    resume = "resume: python scripts/search.py --space ./toy.yaml --no-report --name mine --set search.seed=3"
    assert lines[-1] == resume
    words = shlex.split(lines[-1])[3:]
    assert search_without_ray(monkeypatch)(*words) == 0
    assert "ended: all 4 trials done" in capsys.readouterr().out


def test_a_run_that_was_given_no_name_is_resumed_by_the_one_it_got(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = last_lines(tmp_path, monkeypatch, capsys, lambda run: run.interrupt("SIGTERM received"))
    [folder] = (tmp_path / "results").iterdir()
    assert lines[-1].endswith(f" --name {folder.name}")


def test_a_second_ctrl_c_says_how_to_resume_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(run: Run) -> None:
        raise KeyboardInterrupt

    lines = last_lines(tmp_path, monkeypatch, capsys, interrupt, "--name", "mine")
    assert lines[-2] == "interrupted; what was done so far is in the run's journal"
    assert lines[-1] == "resume: python scripts/search.py --space ./toy.yaml --no-report --name mine"


def test_a_second_ctrl_c_in_a_promotion_says_that_the_same_command_trains_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(run: Run) -> None:
        if run.should_test:
            raise KeyboardInterrupt

    last_lines(tmp_path, monkeypatch, capsys, interrupt, "--name", "mine")
    words = ["mine", "--top", "1"]
    monkeypatch.setattr(sys, "argv", ["scripts/promote.py", *words])
    assert cli.run("promote", words) == 130
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "interrupted; what was done so far is in the run's journal",
        "to train the rest, promote again: python scripts/promote.py mine --top 1",
    ]


def test_a_run_that_ends_by_itself_has_nothing_to_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = last_lines(tmp_path, monkeypatch, capsys, lambda run: None, "--name", "mine")
    assert lines[-1] == f"next: jouletune promote {tmp_path}/results/mine --top 5"


@pytest.mark.parametrize("top", [1, 7])
def test_the_next_command_promotes_as_many_as_the_space_says(tmp_path: Path, top: int) -> None:
    run, reason = executed(made_space(tmp_path, TOY, [f"search.promote.top={top}"]), tmp_path)
    output = console()
    print_winner(run, reason, output)
    assert (
        shown(output).splitlines()[-1] == f"next: python scripts/promote.py {run.ledger.folder} --top {top}"
    )


def test_messages_repeat_the_overrides_as_a_shell_takes_them() -> None:
    words = space_words("my spaces/a.yaml", ["search.data=imagefolder:my photos", "parameters.lr.max=0.3"])
    assert words == "'my spaces/a.yaml' --set 'search.data=imagefolder:my photos' --set parameters.lr.max=0.3"
    how = launch.Launch(folder=Path("x"), command=[], backend=LocalBackend(), space_source=words)
    assert how.space_source == words


def test_the_command_that_fetches_leaves_out_limits_workers_and_seed() -> None:
    given = [
        "search.limits.trials=2",
        "search.resources.workers=1",
        "search.seed=3",
        "search.budget.epochs=2",
    ]
    words = space_words("a", [*given, ("search.limits.hours", 0.5), "parameters.model={value: resnet18}"])
    assert words == "a --set search.budget.epochs=2 --set 'parameters.model={value: resnet18}'"


def test_the_flag_for_a_new_run_is_no_part_of_resuming_it(tmp_path: Path) -> None:
    command = ["scripts/search.py", "--space", "a.yaml", "--fres", "--name", "mine-2"]
    assert (
        resume_command(command, tmp_path / "mine-2")
        == "python scripts/search.py --space a.yaml --name mine-2"
    )
