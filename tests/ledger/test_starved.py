"""Runs on a disk that is full, read-only or gone. Their folders lie on small disks of their own."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from search.ledger import Ledger
from search.run import Run
from tests.support.kill_tests import Command
from tests.support.killed_searches import assert_nothing_is_lost_or_counted_twice, killable
from tests.support.processes import ROOT, typed
from tests.support.run_without_ray import search_without_ray
from tests.support.toy_runs import Calling, toy_file
from trainables.core.checkpoint import UnwrittenCheckpoint, load_checkpoint, save_checkpoint

SMALL_KIB = 256
NUM_TRIALS = 5
# Its state is as large as its hparams say, so that a checkpoint does not fit where the journal does.
HEAVY = """
from dataclasses import dataclass
from trainables.core.contract import Trainable

@dataclass(frozen=True, kw_only=True)
class Hparams:
    kib: int = 1

class Heavy:
    epochs_done = 0
    def __init__(self, hparams):
        self.kib = hparams.kib
    def run_epoch(self, budget):
        self.epochs_done += 1
        return {"val_accuracy": self.kib / 1000 + self.epochs_done / 100}
    def test(self):
        return {"test_accuracy": self.kib / 1000}
    def notes(self):
        return {}
    def state_dict(self):
        return {"epochs_done": self.epochs_done, "load": "x" * (1024 * self.kib)}
    def load_state_dict(self, state):
        self.epochs_done = state["epochs_done"]

TRAINABLE = Trainable(hparams=Hparams, metric="val_accuracy", mode="max",
                      start=lambda hparams, horizon, env: Heavy(hparams))
"""


@pytest.fixture
def disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A disk of SMALL_KIB, of twice that for whole searches; gone after the test."""
    kib = SMALL_KIB * (2 if request.node.get_closest_marker("slow") else 1)
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = mount("-t", "tmpfs", "-o", f"size={kib}k", "small", folder)
    if mounted.returncode:
        pytest.skip(f"mounting a small disk needs root: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def mount(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["mount", *map(str, arguments)], capture_output=True, text=True, check=False)


def fill(disk: Path) -> None:
    """Leave no block free; what is left of blocks in use can still be written."""
    with contextlib.suppress(OSError), (disk / "filler").open("ab", buffering=0) as filler:
        while True:
            filler.write(bytes(1024))


def free(disk: Path) -> None:
    (disk / "filler").unlink()


def at_event(number: int, act: Callable[[], None]) -> Callable[[Run], None]:
    """For `search_without_ray`: `act` once the run has reported this many events."""

    def on_run(run: Run) -> None:
        counter = itertools.count(1)

        def on_event(event: Mapping[str, Any]) -> None:
            if next(counter) == number:
                act()

        run.observe(Calling(on_event))

    return on_run


@pytest.fixture
def toy(tmp_path: Path) -> tuple[object, ...]:
    results = tmp_path / "disk"
    return ("--space", toy_file(tmp_path), "--trials", NUM_TRIALS, "--results", results, "--name", "run")


def table(folder: Path) -> pd.DataFrame:
    """The trials without what an interruption may change: times, and what was trained again.

    How many events still fit into the journal's last block before it is full depends on their length.
    """
    found = pd.read_csv(folder / "trials.csv")
    of_epochs = [
        name
        for name in found
        if "energy" in name or name.endswith(("_j", "_w", "_s", "energy_per_example_j"))
    ]
    return found.drop(columns=["started_at", "ended_at", "seconds", "num_examples", "notes", *of_epochs])


@pytest.fixture
def whole(tmp_path: Path, toy: tuple[object, ...], monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    """What an undisturbed run of the same space leaves."""
    search = search_without_ray(monkeypatch)
    assert search(*toy, "--results", tmp_path / "whole") == 0
    return table(tmp_path / "whole" / "run")


@pytest.mark.parametrize("number", [1, 2, 7, 12])
def test_a_disk_that_fills_up_ends_the_run_and_the_printed_command_resumes(
    number: int,
    disk: Path,
    toy: tuple[object, ...],
    whole: pd.DataFrame,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    search = search_without_ray(monkeypatch, at_event(number, lambda: fill(disk)))
    assert search(*toy) == 3
    message = capsys.readouterr().err.splitlines()
    journal = disk / "run" / "journal.jsonl"
    assert message[0] == f"{journal} cannot be written: No space left on device (0 KiB are free there)"
    assert message[1:] == [
        "the journal is kept; once this is fixed, resume with:",
        "  python scripts/search.py " + " ".join(map(str, toy)),
    ]
    assert journal.read_bytes().endswith(b"}\n")
    free(disk)
    assert search_without_ray(monkeypatch)(*toy) == 0
    pd.testing.assert_frame_equal(table(disk / "run"), whole)


def test_tables_that_do_not_fit_end_nothing_but_the_command_says_so(
    disk: Path,
    toy: tuple[object, ...],
    whole: pd.DataFrame,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse(ledger: Ledger, name: str, *_: object) -> None:
        with ledger.writing(name):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as broken:
        broken.setattr(Ledger, "write_csv", refuse)
        assert search_without_ray(monkeypatch)(*toy) == 3
    printed = capsys.readouterr()
    reason = f"{disk / 'run' / 'trials.csv'} cannot be written: No space left on device"
    warnings = [line for line in printed.out.splitlines() if line.startswith("warning: ")]
    assert [warning.partition(" (")[0] for warning in warnings] == [f"warning: {reason}"]
    assert printed.err.startswith(f"the run ended (all 5 trials done), but {reason}")
    assert search_without_ray(monkeypatch)(*toy) == 0
    pd.testing.assert_frame_equal(table(disk / "run"), whole)


def test_a_disk_that_is_full_from_the_start_is_reported_before_ray_starts(
    disk: Path, toy: tuple[object, ...], tmp_path: Path
) -> None:
    fill(disk)
    done = typed("search", *toy, folder=tmp_path)
    assert (done.returncode, "Ray" in done.stdout) == (2, False)
    assert done.stderr.splitlines() == [
        f"{disk} cannot be written: No space left on device (0 KiB are free there); a run needs at least "
        "64 KiB, and its checkpoints come on top; make room, or give another --results"
    ]
    assert [path.name for path in disk.iterdir()] == ["filler"]


@pytest.mark.parametrize("has_run", [False, True])
def test_a_read_only_folder_is_reported_before_ray_starts(
    has_run: bool, disk: Path, toy: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if has_run:
        assert search_without_ray(monkeypatch)(*toy) == 0
    assert mount("-o", "remount,ro", disk).returncode == 0
    done = typed("search", *toy, folder=tmp_path)
    assert (done.returncode, "Ray" in done.stdout) == (2, False)
    assert len(done.stderr.splitlines()) == 1
    assert f"{disk / 'run' / '.lock' if has_run else disk} cannot be written" in done.stderr
    assert "Read-only file system" in done.stderr


@pytest.fixture
def heavy(tmp_path: Path) -> tuple[object, ...]:
    (tmp_path / "heavy.py").write_text(HEAVY)
    path = tmp_path / "heavy.yaml"
    path.write_text(
        "parameters: {kib: {values: [1, 2, 600]}}\n"
        "search:\n"
        "  {trainable: ./heavy.py, data: none, sampler: grid,\n"
        "   ladder: {epochs: [1, 3]}, scheduler: {mode: asha_stopping}}\n"
    )
    # A page has 1.6 MB, most of them Plotly: more than this disk.
    return ("--space", path, "--results", tmp_path / "disk", "--name", "run", "--no-report")


def test_a_checkpoint_that_does_not_fit_is_reported_and_its_trial_continues(
    disk: Path, heavy: tuple[object, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert search_without_ray(monkeypatch)(*heavy) == 0
    checkpoint = disk / "run/trials/trial-0002/checkpoint.pt"
    lost = f"{checkpoint} not written (No space left on device); the trial continues"
    warnings = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning: ")]
    assert warnings == [f"warning: trial-0002, epoch {epoch}: {lost}" for epoch in (1, 3)]
    rows = pd.read_csv(disk / "run" / "trials.csv", keep_default_na=False).set_index("trial_id")
    assert dict(rows["kib"]) == {"trial-0002": 600, "trial-0001": 2, "trial-0000": 1}
    assert rows.loc["trial-0002", "status"] == "finished"
    assert "No space left" in rows.loc["trial-0002", "notes"]
    assert sorted(path.name for path in checkpoint.parent.iterdir()) == ["history.csv", "log.txt"]


def test_a_checkpoint_that_does_not_fit_leaves_the_last_good_one(disk: Path) -> None:
    path = disk / "checkpoint.pt"
    save_checkpoint(path, {"epochs_done": 1, "load": "x" * 150 * 1024})
    with pytest.raises(UnwrittenCheckpoint, match="No space left on device"):
        save_checkpoint(path, {"epochs_done": 2, "load": "x" * 150 * 1024})
    assert load_checkpoint(path)["epochs_done"] == 1
    assert [file.name for file in disk.iterdir()] == ["checkpoint.pt"]


def test_the_results_folder_removed_while_running_ends_the_run(
    disk: Path, toy: tuple[object, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    search = search_without_ray(monkeypatch, at_event(7, lambda: shutil.rmtree(disk / "run")))
    assert search(*toy) == 3
    journal = disk / "run" / "journal.jsonl"
    assert capsys.readouterr().err.startswith(
        f"{journal} cannot be written: it is gone; if the run's folder was moved away, put it back\n"
    )
    assert not journal.exists()
    assert not Ledger(disk / "run").has_run


def test_trials_whose_journal_is_gone_are_not_taken_for_a_new_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A new trial would resume from the checkpoint of another one with its number."""
    arguments = ("--space", toy_file(tmp_path), "--results", tmp_path, "--name", "run")
    (tmp_path / "run/trials/trial-0000").mkdir(parents=True)
    assert search_without_ray(monkeypatch)(*arguments) == 2
    assert capsys.readouterr().err == (
        f"{tmp_path / 'run'} holds trials but no journal.jsonl, so nothing is known about them; put the "
        "journal back, remove the folder, or give another --name\n"
    )
    assert search_without_ray(monkeypatch)(*arguments, "--trials", 2, "--fresh") == 0
    assert Ledger(tmp_path / "run-2").has_run


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "space.yaml is missing, so it is unknown whether this space matches the trials"),
        (b"", "cannot be used"),
        (b"name: toy\nparameters: {lr: {min: 1", "cannot be used"),
        (b"\xff\xfe\x00\x01", "cannot be used"),
    ],
)
def test_a_run_whose_own_space_is_missing_or_damaged_is_not_resumed(
    content: bytes | None,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    search = search_without_ray(monkeypatch)
    arguments = ("--space", toy_file(tmp_path), "--results", tmp_path, "--name", "run")
    assert search(*arguments, "--trials", 2) == 0
    journal = (tmp_path / "run/journal.jsonl").read_bytes()
    (tmp_path / "run/space.yaml").unlink()
    if content is not None:
        (tmp_path / "run/space.yaml").write_bytes(content)
    capsys.readouterr()
    assert search(*arguments, "--trials", 4) == 2
    refusal = capsys.readouterr().err
    assert message in refusal
    assert "put it back, or give another --name, or --fresh for a new run" in refusal
    assert (tmp_path / "run/journal.jsonl").read_bytes() == journal


def real_command(folder: Path, disk: Path) -> Command:
    """The command on Ray with its results on the small disk, started, a few events on its way."""
    (folder / "results").symlink_to(disk)
    command = killable(folder, "asha", 2, "--skip-preflight")  # which finds that the disk is small
    command.start()
    command.wait_for_events(8)
    return command


def half_a_line_more(journal: bytes) -> bytes:
    """What a kill leaves of a line being written. The lines before it are on disk, and acted upon."""
    return journal + journal.splitlines()[-1][:-7]


@pytest.mark.slow
def test_the_real_command_resumes_after_a_full_disk_and_a_torn_line(tmp_path: Path, disk: Path) -> None:
    command = real_command(tmp_path, disk)
    fill(disk)
    assert command.wait_for_end() == 3
    log = command.log.read_text()
    assert "journal.jsonl cannot be written: No space left on device (0 KiB are free there)\n" in log
    resume = f"python {ROOT}/scripts/search.py --space ./slow.yaml --name killed --no-report --skip-preflight"
    assert f"resume with:\n  {resume}\n" in log
    assert "Traceback" not in log
    free(disk)
    command.journal.write_bytes(half_a_line_more(command.journal.read_bytes()))
    command.start()
    assert command.wait_for_end() == 0, command.log.read_text()[-3000:]
    assert "bytes are dropped" in command.log.read_text()
    assert_nothing_is_lost_or_counted_twice(tmp_path / "results" / "killed")


@pytest.mark.slow
def test_the_real_command_ends_when_its_folder_is_removed(tmp_path: Path, disk: Path) -> None:
    command = real_command(tmp_path, disk)
    shutil.rmtree(disk / "killed", ignore_errors=True)
    assert command.wait_for_end() == 3
    log = command.log.read_text()
    assert "journal.jsonl cannot be written: it is gone" in log
    assert "Traceback" not in log
    assert not command.journal.exists()
