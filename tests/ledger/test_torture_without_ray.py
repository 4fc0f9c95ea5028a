"""The torture of `make torture` in short, and that it would find what it looks for."""

from __future__ import annotations

import csv
import re
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import torture
from tests.support.forked_commands import Ended, search
from tests.support.processes import ROOT, ran
from tests.support.sealed_journals import reseal
from tests.support.torture_findings import Finding, Outcome, differences, outcome_of
from tests.support.torture_scenario import Played
from tests.support.tortured_searches import SEARCHES


def tortured(*words: object) -> dict[str, int]:
    """The counts at the end of the command, where nothing is found."""
    done = ran(sys.executable, ROOT / "tests" / "support" / "torture.py", *words, folder=ROOT)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr
    lines = re.findall(r"^(\w+) +([\d,]+)$", done.stdout, re.MULTILINE)
    return {name: int(count.replace(",", "")) for name, count in lines}


@pytest.mark.slow  # 20 s: whole searches, killed again and again
def test_killed_failed_and_damaged_searches_lose_double_and_make_up_nothing() -> None:
    counts = tortured("--scenarios", 3, "--seed", 9, "--processes", 1)
    assert counts["scenarios"] == 3
    assert min(counts[name] for name in ("kills", "faults", "damages")) > 0
    assert [counts[name] for name in ("lost", "doubled", "ghosts", "others")] == [0, 0, 0, 0]


@pytest.mark.slow
def test_the_same_of_more_of_them() -> None:
    counts = tortured("--scenarios", 12, "--seed", 100)
    assert counts["scenarios"] == 12
    assert min(counts[name] for name in ("kills", "faults", "damages")) >= 6
    assert [counts[name] for name in ("lost", "doubled", "ghosts", "others")] == [0, 0, 0, 0]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """A run that nothing happened to."""
    folder = tmp_path_factory.mktemp("whole")
    space = SEARCHES["repeats"].write(folder, seed=0)
    words = ("--space", space, "--results", folder / "results", "--name", "run", "--no-report")
    ended: Ended = search(*words, results=folder, log=folder / "log")
    assert ended.status == 0, ended
    return folder / "results" / "run", outcome_of(folder / "results" / "run")


@pytest.fixture
def run(whole: tuple[Path, Outcome], tmp_path: Path) -> Path:
    shutil.copytree(whole[0], tmp_path / "results" / "run")
    return tmp_path / "results" / "run"


def edit_table(change: Callable[[list[list[str]]], None]) -> Callable[[Path], None]:
    def edit(run: Path) -> None:
        with (run / "trials.csv").open(newline="") as file:
            rows = list(csv.reader(file))
        change(rows)
        with (run / "trials.csv").open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)

    return edit


def drop_last_trial(run: Path) -> None:
    """From the journal, as if it had never been asked for."""
    lines = (run / "journal.jsonl").read_text().splitlines(keepends=True)
    kept = [line for line in lines if '"trial-0007"' not in line]
    (run / "journal.jsonl").write_text("".join(kept))
    reseal(run / "journal.jsonl")


def drop_first_epoch(run: Path) -> None:
    lines = (run / "journal.jsonl").read_text().splitlines(keepends=True)
    climbed = next(line for line in lines if '"epoch": 2,' in line)
    trial = re.search(r'"trial": "(trial-\d+)"', climbed)
    assert trial
    first = next(line for line in lines if f'"epoch", "trial": "{trial[1]}"' in line)
    (run / "journal.jsonl").write_text("".join(line for line in lines if line != first))
    reseal(run / "journal.jsonl")


def tell_an_epoch_twice(run: Path) -> None:
    lines = (run / "journal.jsonl").read_text().splitlines(keepends=True)
    at = next(number for number, line in enumerate(lines) if '"event": "epoch"' in line)
    again = lines[at].replace('"row": {', '"row": {"is_replay": true, ')
    (run / "journal.jsonl").write_text("".join([*lines[: at + 1], again, *lines[at + 1 :]]))
    reseal(run / "journal.jsonl")


@pytest.mark.parametrize(
    ("tamper", "kinds"),
    [
        (lambda run: None, set()),
        (edit_table(lambda rows: rows.pop()), {"lost", "other"}),
        (edit_table(lambda rows: rows.append(rows[-1])), {"doubled", "other"}),
        (edit_table(lambda rows: rows[1].__setitem__(1, "trial-0099")), {"lost", "ghost", "other"}),
        (lambda run: (run / "trials" / "trial-0099").mkdir(), {"ghost", "other"}),
        (lambda run: (run / f".{'0' * 32}.trials.csv").touch(), {"ghost"}),
        (drop_last_trial, {"lost", "ghost", "other"}),
        (drop_first_epoch, {"lost", "other"}),
        (tell_an_epoch_twice, {"doubled", "other"}),
        (lambda run: reseal(run / "journal.jsonl", ('"val_accuracy": 0.', '"val_accuracy": 0.0')), {"other"}),
    ],
)
def test_what_is_lost_doubled_made_up_or_another_number_is_found(
    whole: tuple[Path, Outcome], run: Path, tamper: Callable[[Path], None], kinds: set[str]
) -> None:
    tamper(run)
    assert {finding.kind for finding in differences(run, whole[1], story="as given")} == kinds


def test_a_finding_is_printed_with_the_command_that_repeats_it_and_fails_the_torture(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    played = Played(7, num_sessions=3, kills=Counter(["before journal write epoch"]))
    played.findings.append(Finding("lost", "trial-0003 is not in the journal"))
    monkeypatch.setattr(torture, "played_in_parallel", lambda *_: iter([played, Played(8)]))
    assert torture.main(["--scenarios", "2", "--seed", "7"]) == 1
    printed = capsys.readouterr().out
    assert "LOST in scenario 7: trial-0003 is not in the journal\n" in printed
    assert 'again: make torture ARGS="--only 7"\n' in printed
    assert re.search(r"^lost +1$", printed, re.MULTILINE)
    monkeypatch.setattr(torture, "played_in_parallel", lambda *_: iter([Played(8)]))
    assert torture.main(["--scenarios", "1"]) == 0


def test_a_scenario_that_breaks_is_a_finding_and_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def break_(*_: object) -> None:
        raise RuntimeError("no such search")

    monkeypatch.setattr(torture, "Scenario", break_)
    (finding,) = torture.play(3, {}).findings
    assert finding.kind == "other"
    assert "RuntimeError: no such search" in finding.text
