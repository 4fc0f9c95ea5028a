"""A journal that is read while it grows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from search.ledger import Ledger
from search.ledger.history import History
from search.ledger.journal import DamagedJournal, StorageError
from search.ledger.journal_lines import Scan, scan
from search.ledger.live_history import LiveHistory
from tests.support.toy_runs import executed, made_space


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """The lines of a whole run's journal."""
    folder = tmp_path_factory.mktemp("run")
    run, _ = executed(made_space(folder), folder)
    return run.ledger.journal_file.read_bytes().splitlines(keepends=True)


def told(history: History) -> dict[str, Any]:
    return {name: value for name, value in vars(history).items() if name != "sessions"}


def test_what_is_read_piece_by_piece_is_what_is_read_whole(tmp_path: Path, lines: list[bytes]) -> None:
    journal = tmp_path / "journal.jsonl"
    journal.write_bytes(b"")
    live, whole = LiveHistory(journal), b"".join(lines)
    pieces = [whole[start : start + 97] for start in range(0, len(whole), 97)]  # shorter than most lines
    news = []
    for piece in pieces:
        with journal.open("ab") as file:
            file.write(piece)
        news.append(live.update())
    assert live.events == Ledger(tmp_path).events()
    assert told(live.history) == told(Ledger(tmp_path).read_history())
    assert len(live.history.trials) == 12
    assert not live.update()
    assert news == [b"\n" in piece for piece in pieces]  # within a line nothing is new
    assert {*news} == {True, False}


def test_only_what_was_appended_is_read(
    tmp_path: Path, lines: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = tmp_path / "journal.jsonl"
    journal.write_bytes(b"".join(lines[:20]))
    live = LiveHistory(journal)
    live.update()
    seen: list[bytes] = []

    def watched_scan(content: bytes, *rest: Any) -> Scan:
        seen.append(content)
        return scan(content, *rest)

    monkeypatch.setattr("search.ledger.live_history.scan", watched_scan)
    with journal.open("ab") as file:
        file.write(lines[20])
    assert live.update()
    assert seen == [lines[20]]


def test_a_line_that_is_being_written_is_waited_for(tmp_path: Path, lines: list[bytes]) -> None:
    journal = tmp_path / "journal.jsonl"
    journal.write_bytes(b"".join(lines[:5]) + lines[5][:30])
    live = LiveHistory(journal)
    assert live.update()
    assert len(live.events) == 5
    journal.write_bytes(b"".join(lines[:6]))
    assert live.update()
    assert len(live.events) == 6


def test_a_journal_that_was_cut_is_read_anew(tmp_path: Path, lines: list[bytes]) -> None:
    journal = tmp_path / "journal.jsonl"
    journal.write_bytes(b"".join(lines[:30]))
    live = LiveHistory(journal)
    live.update()
    journal.write_bytes(b"".join(lines[:10]))
    assert live.update()
    assert live.events == Ledger(tmp_path).events()
    assert len(live.events) == 10


def test_another_journal_in_its_place_is_read_anew(tmp_path: Path, lines: list[bytes]) -> None:
    journal, other = tmp_path / "journal.jsonl", tmp_path / "other"
    journal.write_bytes(b"".join(lines[:10]))
    live = LiveHistory(journal)
    live.update()
    other.write_bytes(b"".join(lines[:12]))
    other.replace(journal)
    assert live.update()
    assert len(live.events) == 12
    assert live.events == Ledger(tmp_path).events()


def test_a_line_that_was_changed_is_refused_as_a_whole_reading_refuses_it(
    tmp_path: Path, lines: list[bytes]
) -> None:
    journal = tmp_path / "journal.jsonl"
    journal.write_bytes(b"".join(lines[:8]))
    live = LiveHistory(journal)
    live.update()
    damaged = lines[8].replace(b'"seq"', b'"seQ"', 1)
    journal.write_bytes(b"".join([*lines[:8], damaged, *lines[9:12]]))
    with pytest.raises(DamagedJournal) as whole:
        Ledger(tmp_path).events()
    with pytest.raises(DamagedJournal) as piece:
        live.update()
    assert str(piece.value) == str(whole.value)
    assert "line 9 " in str(piece.value)


def test_a_journal_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"journal\.jsonl cannot be read: No such file"):
        LiveHistory(tmp_path / "journal.jsonl").update()
