"""The record of a run."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from search.ledger import Ledger, LedgerError, fresh_folder


def ledger_in(folder: Path) -> Ledger:
    return Ledger.create(folder, clock=lambda: 1000.0)


def ended(reason: str) -> dict[str, str]:
    """An event that stands for any other."""
    return {"event": "run_ended", "reason": reason}


def reasons(ledger: Ledger) -> list[str]:
    """Of all events but the first."""
    return [event["reason"] for event in ledger.events()[1:]]


def test_events_come_back_in_order_with_their_time(tmp_path: Path) -> None:
    ledger = ledger_in(tmp_path / "run")
    ledger.journal.append(ended("by hand"))
    run = ledger.events()[0]["run"]
    assert Ledger.open(tmp_path / "run").events() == [
        {"time": 1000.0, "event": "journal_started", "schema": 3, "run": run},
        {"time": 1000.0, "event": "run_ended", "reason": "by hand"},
    ]


def test_an_event_is_given_back_as_a_reader_will_see_it(tmp_path: Path) -> None:
    event = ledger_in(tmp_path / "run").journal.append({**ended("x"), "pair": (1, 2)})
    assert event["pair"] == [1, 2]


def test_a_last_line_cut_short_at_any_byte_loses_only_itself(tmp_path: Path) -> None:
    ledger = ledger_in(tmp_path / "run")
    ledger.journal.append(ended("first"))
    whole = ledger.journal_file.read_bytes()
    ledger.journal.append(ended("second"))
    last = ledger.journal_file.read_bytes()[len(whole) :]
    for length in range(len(last) - 1):
        ledger.journal_file.write_bytes(whole + last[:length])
        assert reasons(ledger) == ["first"]


def test_a_damaged_line_before_the_last_is_an_error(tmp_path: Path) -> None:
    ledger = ledger_in(tmp_path / "run")
    for reason in ("first", "second", "third"):
        ledger.journal.append(ended(reason))
    lines = ledger.journal_file.read_bytes().splitlines(keepends=True)
    ledger.journal_file.write_bytes(b"".join([*lines[:1], lines[1][:20] + b"\n", *lines[2:]]))
    with pytest.raises(
        LedgerError, match=r"line 2 is cut short or damaged(?s:.*)intact: line 1(?s:.*)after it: 2 more lines"
    ):
        ledger.events()


def test_numbers_that_json_lacks_are_refused_rather_than_written(tmp_path: Path) -> None:
    ledger = ledger_in(tmp_path / "run")
    before = ledger.journal_file.read_bytes()
    with pytest.raises(ValueError, match="JSON compliant"):
        ledger.journal.append({**ended("x"), "value": float("nan")})
    assert ledger.journal_file.read_bytes() == before


def test_a_second_run_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    ledger_in(tmp_path / "run")
    with pytest.raises(LedgerError, match="already holds a run; give another --name"):
        ledger_in(tmp_path / "run")


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerError, match=r"cannot be created .*give another --results"):
        ledger_in(tmp_path / "file" / "run")


def test_a_folder_without_a_run_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="holds no run"):
        Ledger.open(tmp_path)


def test_a_table_is_replaced_whole_and_none_is_an_empty_cell(tmp_path: Path) -> None:
    ledger = ledger_in(tmp_path / "run")
    ledger.write_csv("trials.csv", ["a", "b"], [{"a": 1, "b": None}, {"a": 1e-7, "b": 0.1 + 0.2}])
    assert (ledger.folder / "trials.csv").read_text() == "a,b\n1,\n1e-07,0.30000000000000004\n"
    assert [path.name for path in ledger.folder.iterdir() if path.name.startswith(".")] == []


def test_a_fresh_run_gets_the_next_free_name_and_nothing_is_deleted(tmp_path: Path) -> None:
    assert fresh_folder(tmp_path / "run").name == "run"
    ledger_in(tmp_path / "run")
    assert fresh_folder(tmp_path / "run").name == "run-2"
    ledger_in(tmp_path / "run-2")
    assert fresh_folder(tmp_path / "run").name == "run-3"


def test_a_torn_last_line_is_dropped_with_a_notice_before_anything_is_appended(tmp_path: Path) -> None:
    ledger = ledger_in(tmp_path / "run")
    whole = ledger.journal_file.read_bytes()
    ledger.journal.append(ended("second"))
    last = ledger.journal_file.read_bytes()[len(whole) :]
    for length in range(1, len(last) - 1):
        ledger.journal_file.write_bytes(whole + last[:length])
        assert (
            ledger.drop_torn_line()
            == f"the journal's last line was cut short by a kill; its {length} bytes are dropped"
        )
        ledger.journal.append(ended("third"))
        assert reasons(ledger) == ["third"]


def test_a_last_line_that_lacks_only_its_end_is_kept(tmp_path: Path) -> None:
    ledger = ledger_in(tmp_path / "run")
    ledger.journal.append(ended("second"))
    ledger.journal_file.write_bytes(ledger.journal_file.read_bytes()[:-1])
    assert ledger.drop_torn_line() is None
    ledger.journal.append(ended("third"))
    assert reasons(ledger) == ["second", "third"]


def test_a_second_process_on_one_run_is_refused(tmp_path: Path) -> None:
    first = ledger_in(tmp_path / "run")
    first.lock()
    with pytest.raises(LedgerError, match=f"in use by process {os.getpid()} on .*; wait for it or end it"):
        Ledger(tmp_path / "run").lock()


def test_json_files_are_readable(tmp_path: Path) -> None:
    ledger = ledger_in(tmp_path / "run")
    ledger.write_json("environment.json", {"git": None})
    assert json.loads((ledger.folder / "environment.json").read_text()) == {"git": None}
