"""A bucket's run fetched for reading, again and again: what is read, who waits, and when watching ends."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import jouletune
from search.bucket.fetch import fetch_copy
from search.bucket.lease import GONE_S, Lease, LeaseWatch
from search.bucket.store import Store
from search.ledger import Ledger, RunFolder
from search.ledger.lock import hold
from search.output import Output
from search.run_place import place_to_watch
from tests.support.fake_clock import FakeClock
from tests.support.faulty_bucket import ADDRESS, FaultyBucket, mirror_of, run_with_space, write_event


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty bucket, and a machine that has fetched nothing yet."""
    FaultyBucket.clear()
    monkeypatch.setenv("JOULETUNE_STAGING", str(tmp_path / "machine"))
    yield
    FaultyBucket.clear()


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return run_with_space(tmp_path / "run")


def _ship(ledger: Ledger, *numbers: int) -> None:
    """Ship the run with one more segment for each of these events."""
    mirror = mirror_of(ledger.folder)
    mirror.ship_files()
    for number in numbers:
        write_event(ledger, number)
        mirror.ship_journals()
    mirror.ship_files()


def _copy() -> tuple[bytes, list[str]]:
    """The journal of the copy, fetched now, and the segments that were read for it."""
    FaultyBucket.operations.clear()
    folder = fetch_copy(ADDRESS, warn=pytest.fail)
    read = [path for operation, path in FaultyBucket.operations if operation == "cat" and "/journal/" in path]
    return RunFolder(folder).journal_file.read_bytes(), sorted(path.rpartition("/")[2] for path in read)


def _segment(first: int) -> str:
    return f"{first:012d}.jsonl"


def test_of_a_journal_that_was_read_before_the_last_segment_is_read_and_what_follows(ledger: Ledger) -> None:
    _ship(ledger, 0, 1, 2)
    assert _copy() == (ledger.journal_file.read_bytes(), [_segment(number) for number in range(4)])
    assert _copy() == (ledger.journal_file.read_bytes(), [_segment(3)])
    _ship(ledger, 3, 4)
    assert _copy() == (ledger.journal_file.read_bytes(), [_segment(3), _segment(4), _segment(5)])


def test_another_run_of_the_same_name_is_read_whole(ledger: Ledger, tmp_path: Path) -> None:
    _ship(ledger, 0, 1, 2)
    _copy()
    FaultyBucket.clear()
    other = run_with_space(tmp_path / "other")
    _ship(other, 5, 6, 7, 8)
    assert _copy()[0] == other.journal_file.read_bytes()


def test_a_copy_whose_journal_was_changed_or_cut_is_fetched_again(ledger: Ledger) -> None:
    _ship(ledger, 0, 1, 2)
    _copy()
    copy = RunFolder(ADDRESS.copy).journal_file
    for damaged in (copy.read_bytes().replace(b"trial-0000", b"trial-0009"), copy.read_bytes()[:-7], b""):
        copy.write_bytes(damaged)
        assert _copy()[0] == ledger.journal_file.read_bytes()


def test_a_second_reader_waits_until_the_first_has_the_copy(ledger: Ledger) -> None:
    _ship(ledger, 0)
    folder, warned = ADDRESS.copy, threading.Event()
    folder.parent.mkdir(parents=True)
    held = hold(folder.with_name(f".{folder.name}.lock"), folder)
    texts: list[str] = []

    def warn(text: str) -> None:
        texts.append(text)
        warned.set()

    second = threading.Thread(target=lambda: fetch_copy(ADDRESS, warn=warn), daemon=True)
    second.start()
    assert warned.wait(60)
    assert not folder.exists()
    held.close()
    second.join(60)
    assert texts == [f"{folder} is being fetched by another process; waiting for it"]
    assert RunFolder(folder).journal_file.read_bytes() == ledger.journal_file.read_bytes()


def test_an_upload_that_gets_no_answer_keeps_no_process_from_ending(ledger: Ledger) -> None:
    mirror, answer, names = mirror_of(ledger.folder), threading.Event(), []
    write_event(ledger, 0)

    def wait(operation: str, path: str) -> None:
        if "/blobs/" in path and operation == "pipe":
            names.append(threading.current_thread().daemon)
            FaultyBucket.before = None
            answer.wait(60)

    FaultyBucket.before = wait
    shipping = threading.Thread(target=mirror.ship_files, daemon=True)
    shipping.start()
    while not names:
        shipping.join(0.01)
    answer.set()
    shipping.join(60)
    assert names == [True]  # what the interpreter does not wait for


def test_a_lease_that_does_not_change_for_45_s_is_of_a_process_that_is_gone(tmp_path: Path) -> None:
    clock, lease = FakeClock(0.0), Lease(Store(ADDRESS), str(tmp_path), sleep=lambda _: None)
    lease.take(Output.silent())
    watched = LeaseWatch(Store(ADDRESS), clock=clock)
    clock.now_s = GONE_S - 1
    assert watched.lost_holder() == ""
    lease.beat()
    assert watched.lost_holder() == ""  # it changed just now
    clock.now_s += GONE_S - 1
    assert watched.lost_holder() == ""
    clock.now_s += 1
    assert watched.lost_holder().startswith("process ")


def test_a_run_without_a_lease_that_does_not_go_on_is_no_longer_watched(ledger: Ledger) -> None:
    _ship(ledger, 0)
    FaultyBucket.store.clear()
    clock = FakeClock(0.0)
    watched = LeaseWatch(Store(ADDRESS), clock=clock)
    assert watched.lost_holder() == ""
    clock.now_s = GONE_S
    assert watched.lost_holder() == "its process"


def test_a_run_that_is_watched_is_fetched_again_at_each_writing(ledger: Ledger) -> None:
    _ship(ledger, 0)
    place = place_to_watch(str(ADDRESS), Path("results"))
    assert RunFolder(place.newest()).journal_file.read_bytes() == ledger.journal_file.read_bytes()
    _ship(ledger, 1)
    assert RunFolder(place.newest()).journal_file.read_bytes() == ledger.journal_file.read_bytes()
    assert place.lost_holder() == ""


def test_a_run_of_which_nothing_is_here_is_not_fetched_to_be_shipped(ledger: Ledger) -> None:
    _ship(ledger, 0)
    FaultyBucket.operations.clear()
    with pytest.raises(ValueError, match="nothing of faulty://bucket/exp/run is on this machine"):
        jouletune.ship("run", results="faulty://bucket/exp")
    assert FaultyBucket.operations == []
