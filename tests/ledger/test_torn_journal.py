"""A journal whose last line was cut, at every byte, by a kill or a full disk."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from search.backends.local import execute_here
from search.ledger import Ledger
from search.ledger.journal import Journal, JournalError, StorageError, unwritten
from search.output import Output
from search.run import Run
from search.run.resume import prepare_to_resume
from search.space import Space, dump_space
from tests.support.ray_sessions import FATES, outcome, session, whole
from tests.support.run_without_ray import search_without_ray
from tests.support.toy_runs import SteadyMeter, fateful_space, listed

KINDS = ["session_started", "trial_asked", "epoch", "attempt_failed", "trial_ended", "run_ended"]


def resumed(space: Space, folder: Path) -> tuple[Run, str]:
    """The run in `folder` come to its end, and what its command printed before."""
    ledger, printed = Ledger(folder), io.StringIO()
    prepare_to_resume(ledger, space, Output(console=Console(file=printed, width=10_000)))
    run = Run(space, listed(*FATES), ledger)
    execute_here(run, SteadyMeter())
    ledger.unlock()
    return run, printed.getvalue()


def num_before(events: list[dict[str, Any]], kind: str) -> int:
    """How many events of a session come before its last one of this kind."""
    return max(number for number, event in enumerate(events) if event["event"] == kind) - 1


@pytest.mark.parametrize("kind", KINDS)
def test_cut_at_any_byte_of_its_last_line_a_run_resumes_with_nothing_lost(tmp_path: Path, kind: str) -> None:
    space = fateful_space(tmp_path)
    undisturbed = whole(space, tmp_path / "whole", listed(*FATES))
    events = undisturbed.ledger.events()
    assert session(space, tmp_path / "cut", listed(*FATES), events_left=num_before(events, kind)) is None
    dump_space(space, tmp_path / "cut" / "space.yaml")
    journal = (tmp_path / "cut" / "journal.jsonl").read_bytes()
    start = journal[:-1].rfind(b"\n") + 1
    last = journal[start:-1]
    assert json.loads(last)["event"] == kind
    for length in range(len(last) + 1):
        cut = Journal(tmp_path / "cut.jsonl")
        cut.path.write_bytes(journal[: start + length])
        assert cut.drop_torn_line() == (notice(length) if 0 < length < len(last) else None)
        assert cut.path.read_bytes() == (journal if length == len(last) else journal[:start])
    for length in (0, 1, len(last) // 2, len(last) - 1, len(last)):  # between these the file is the same
        folder = tmp_path / f"again-{length}"
        shutil.copytree(tmp_path / "cut", folder)
        (folder / "journal.jsonl").write_bytes(journal[: start + length])
        again, printed = resumed(space, folder)
        assert outcome(again) == outcome(undisturbed)
        assert again.rungs.counts() == undisturbed.rungs.counts()
        assert printed.startswith(f"note: {notice(length)}\n") is (0 < length < len(last))


def notice(num_bytes: int) -> str:
    return f"the journal's last line was cut short by a kill; its {num_bytes} bytes are dropped"


@pytest.mark.parametrize("content", [b"", b"{", b'{"time": 1.0, "event": "journal_sta'])
def test_a_journal_killed_in_its_first_line_begins_again(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "journal.jsonl").write_bytes(content)
    Ledger(tmp_path).drop_torn_line()
    assert [event["event"] for event in Ledger(tmp_path).events()] == ["journal_started"]


def test_a_last_line_that_is_damaged_but_has_its_end_is_dropped_before_it_stands_in_the_middle(
    tmp_path: Path,
) -> None:
    ledger = Ledger.create(tmp_path / "run")
    with ledger.journal_file.open("ab") as journal:
        journal.write(b'{"time": 1.0, "ev\0\0\0\n')
    assert "21 bytes are dropped" in str(ledger.drop_torn_line())
    ledger.journal.append({"event": "session_started"})
    assert [event["event"] for event in ledger.events()] == ["journal_started", "session_started"]


def test_an_event_that_does_not_fit_is_taken_back_and_no_further_one_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.begin()
    before = journal.path.read_bytes()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(JournalError, match="No space left on device"):
        journal.append({"event": "lost"})
    monkeypatch.undo()
    assert journal.path.read_bytes() == before
    with pytest.raises(JournalError, match="No space left on device"):
        journal.append({"event": "after what was lost"})
    assert journal.path.read_bytes() == before


def test_a_journal_that_was_removed_does_not_begin_anew_in_silence(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.begin()
    journal.path.unlink()
    with pytest.raises(JournalError, match="it is gone"):
        journal.append({"event": "next"})
    assert not journal.path.exists()


def test_the_command_says_what_it_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fateful_space(tmp_path, [])
    search = search_without_ray(monkeypatch)
    arguments = ("--space", tmp_path / "made.yaml", "--trials", 3, "--results", tmp_path, "--name", "run")
    assert search(*arguments) == 0
    table = (tmp_path / "run" / "trials.csv").read_text()
    journal = tmp_path / "run" / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-10])
    capsys.readouterr()
    assert search(*arguments) == 0
    assert "bytes are dropped" in capsys.readouterr().out
    assert (tmp_path / "run" / "trials.csv").read_text() == table


def test_a_journal_that_cannot_be_read_is_a_message_of_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger.create(tmp_path / "run")

    def refuse(path: Path) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    with monkeypatch.context() as broken:
        broken.setattr(Path, "read_bytes", refuse)
        for read in (ledger.events, ledger.drop_torn_line, ledger.unknown_trials):
            with pytest.raises(StorageError, match=r"journal\.jsonl cannot be read: Input/output error"):
                read()
        unread = Ledger(tmp_path / "run")
        with pytest.raises(JournalError, match="cannot be read"):
            unread.journal.append({"event": "session_started"})
    with pytest.raises(JournalError, match="cannot be read"):
        unread.journal.append({"event": "session_started"})
    assert [event["event"] for event in ledger.events()] == ["journal_started"]


def test_a_file_in_a_folder_that_could_not_be_made_is_named(tmp_path: Path) -> None:
    error = OSError(errno.EROFS, os.strerror(errno.EROFS))
    message = unwritten(tmp_path / "no" / "such" / "file", error)
    assert message.startswith(f"{tmp_path}/no/such/file cannot be written: Read-only file system (")


def test_what_a_killed_writer_left_and_cannot_be_deleted_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger.create(tmp_path / "run")
    left = tmp_path / "run" / f".{'0' * 32}.trials.csv"
    left.touch()

    def refuse(path: Path, **_: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    with monkeypatch.context() as broken:
        broken.setattr(os, "unlink", refuse)
        with pytest.raises(StorageError, match="cannot be deleted: Read-only"):
            ledger.tidy()
    ledger.tidy()
    assert not left.exists()


def test_what_a_killed_writer_left_goes_wherever_it_lies_but_in_a_run_of_its_own(tmp_path: Path) -> None:
    ledger = Ledger.create(tmp_path / "run")
    promotion = Ledger.create(ledger.promotion_folder)
    left = [
        folder / f".{'0' * 32}.file"
        for folder in (ledger.folder, ledger.folder / "trainable", ledger.trial_folder("trial-0000") / "test")
    ]
    kept = [
        promotion.folder / f".{'0' * 32}.trials.csv",
        ledger.folder / ".lock",
        ledger.trial_folder("trial-0000") / "checkpoint" / ".hidden",
    ]
    for path in (*left, *kept):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    ledger.tidy()
    assert [path.exists() for path in left] == [False] * 3
    assert [path.exists() for path in kept] == [True] * 3
