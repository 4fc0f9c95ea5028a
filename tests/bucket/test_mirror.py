"""A run's folder and its bucket: whatever fails, the bucket has an earlier state of the run, whole."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from search.bucket import mirror as mirror_module
from search.bucket.address import BucketError
from search.bucket.fetch import read_bucket
from search.bucket.manifest import content_of
from search.bucket.mirror import NotShipped
from search.bucket.segments import JournalShipper, TakenOver, join_segments
from search.bucket.store import BucketUnavailable, Store
from search.ledger import Ledger, RunFolder
from tests.support.faulty_bucket import (
    ADDRESS,
    Fault,
    FaultyBucket,
    fetched,
    mirror_of,
    objects,
    run_with_space,
    write_event,
)
from tests.support.recorded_console import console, shown


@pytest.fixture(autouse=True)
def _empty_bucket() -> Iterator[None]:
    FaultyBucket.clear()
    yield
    FaultyBucket.clear()


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return run_with_space(tmp_path / "run")


def test_the_journal_is_shipped_in_segments_that_follow_each_other(ledger: Ledger) -> None:
    mirror = mirror_of(ledger.folder)
    mirror.ship_files()  # the first line is journal_started
    for number in range(6):
        write_event(ledger, number)
        if number % 2:
            assert mirror.ship_journals() == 2
    segments = objects("journal/")
    assert list(segments) == [f"journal/{first:012d}.jsonl" for first in (0, 1, 3, 5)]
    assert b"".join(segments.values()) == ledger.journal_file.read_bytes()
    assert mirror.ship_journals() == 0


def test_a_line_that_is_not_whole_yet_is_not_shipped(ledger: Ledger) -> None:
    mirror = mirror_of(ledger.folder)
    whole = ledger.journal_file.read_bytes()
    ledger.journal_file.write_bytes(whole + whole[:20])
    assert mirror.ship_journals() == 1
    assert objects("journal/")["journal/000000000000.jsonl"] == whole


@pytest.mark.parametrize("num_more", [0, 1, 3])
def test_a_segment_whose_answer_was_lost_is_found_and_not_shipped_twice(
    ledger: Ledger, num_more: int
) -> None:
    mirror = mirror_of(ledger.folder)
    mirror.ship_files()
    write_event(ledger, 9)
    FaultyBucket.faults.append(Fault("pipe", "journal/", is_done=True))
    with pytest.raises(BucketUnavailable, match="the answer was lost"):
        mirror.ship_journals()
    for number in range(num_more):
        write_event(ledger, number)
    assert mirror.ship_journals() == 1 + num_more
    assert b"".join(objects("journal/").values()) == ledger.journal_file.read_bytes()


def test_of_two_machines_that_continue_a_run_the_second_ends_and_changes_nothing(
    ledger: Ledger, tmp_path: Path
) -> None:
    first = mirror_of(ledger.folder)
    first.ship_files()
    found, _ = fetched(tmp_path / "other")
    other = Ledger(tmp_path / "other")
    second = JournalShipper(Store(ADDRESS), "", other.journal_file, found.journals[""])
    write_event(ledger, 1)
    write_event(other, 2)
    first.ship_journals()
    before = objects()
    with pytest.raises(TakenOver, match="another process has continued the run \\(line 2"):
        second.ship()
    assert objects() == before


def test_a_run_that_was_taken_over_ends_at_its_next_event(ledger: Ledger, tmp_path: Path) -> None:
    first = mirror_of(ledger.folder)
    first.ship_files()
    found, _ = fetched(tmp_path / "other")
    other = Ledger(tmp_path / "other")
    write_event(other, 2)
    JournalShipper(Store(ADDRESS), "", other.journal_file, found.journals[""]).ship()
    first.on_event({"event": "epoch"})
    write_event(ledger, 1)
    first.start()
    with pytest.raises(TakenOver):
        first.finish(patience_s=10.0)
    with pytest.raises(TakenOver, match="another process has continued the run"):
        first.on_event({"event": "epoch"})


@pytest.mark.parametrize("is_done", [False, True])
def test_at_each_operation_that_fails_the_bucket_has_an_earlier_state_whole(
    tmp_path: Path, is_done: bool
) -> None:
    """Every operation of three rounds fails once: then the bucket is read as another machine would."""
    for count in itertools.count():
        FaultyBucket.clear()
        ledger = run_with_space(tmp_path / f"{is_done}-{count}")
        mirror = mirror_of(ledger.folder)
        FaultyBucket.faults.append(Fault(number=count, is_done=is_done, lasts=True))
        num_failed = 0
        for number in range(3):
            write_event(ledger, number)
            try:
                mirror.ship_files()
            except BucketUnavailable:
                num_failed += 1
                break
        FaultyBucket.faults.clear()
        found, missing = fetched(tmp_path / "other")
        assert missing == []
        assert ledger.journal_file.read_bytes().startswith(found.journals.get("", b""))
        if found.manifest and "trials.csv" in found.manifest.files:  # not the first, of the space alone
            _assert_whole(RunFolder(tmp_path / "other"), found.manifest.ends[""][0])
        if not num_failed:
            assert count > 15
            break
        mirror.ship_files()
        assert fetched(tmp_path / "other")[0].journals[""] == ledger.journal_file.read_bytes()
        assert (tmp_path / "other/trials.csv").read_text() == (ledger.folder / "trials.csv").read_text()


def _assert_whole(run: RunFolder, num_lines: int) -> None:
    """Table and checkpoint are whole, and of no later moment than the journal's end in the manifest."""
    (number,) = set((run.trial("trial-0000").checkpoint).read_text().split())
    table = int((run.folder / "trials.csv").read_text().split()[1])
    assert int(number) <= num_lines - 2
    assert table <= num_lines - 2
    assert len(run.events()) >= num_lines


def test_the_bucket_never_has_a_trial_without_its_space(tmp_path: Path) -> None:
    """Each operation of a run's first passes is its last, as if the machine had been lost then."""
    for count in itertools.count():
        FaultyBucket.clear()
        ledger = Ledger.create(tmp_path / str(count))
        mirror = mirror_of(ledger.folder)
        mirror.ship_files()  # a pass may come between the journal's first line and the space
        FaultyBucket.faults.append(Fault(number=count, lasts=True))
        ledger.write_text("space.yaml", "trainable: small_cnn\n")
        for number in range(3):
            write_event(ledger, number)
        has_failed = False
        for step in (mirror.ship_journals, mirror.ship_files, mirror.ship_journals):
            try:
                step()
            except BucketUnavailable:
                has_failed = True
        FaultyBucket.faults.clear()
        found, _ = fetched(tmp_path / "other")
        has_space = (tmp_path / "other/space.yaml").exists()
        assert has_space or b"trial_asked" not in found.journals[""]
        if not has_failed:
            assert count > 5
            assert found.journals[""] == ledger.journal_file.read_bytes()
            break


@pytest.mark.parametrize("part", ["", "promotion/"])
def test_a_run_whose_space_was_removed_is_shipped_at_its_end(ledger: Ledger, part: str) -> None:
    run = Ledger.create(ledger.folder / part) if part else ledger
    mirror = mirror_of(ledger.folder)
    if not part:
        ledger.space_file.unlink()
    write_event(run, 0)
    mirror.ship_files()
    assert len(objects(f"{part}journal/")) == 1
    mirror.start()
    mirror.finish(patience_s=10.0)
    shipped = [content for key, content in objects("journal/").items() if key.startswith(f"{part}journal")]
    assert b"".join(shipped) == run.journal_file.read_bytes()


def test_a_checkpoint_that_is_superseded_before_its_turn_is_never_shipped(ledger: Ledger) -> None:
    mirror = mirror_of(ledger.folder)
    mirror.ship_files()
    FaultyBucket.faults.append(Fault("pipe", "blobs/", lasts=True))
    for number in range(5):
        write_event(ledger, number)
        with pytest.raises(BucketUnavailable):
            mirror.ship_files()
        assert mirror.ship_journals() >= 1  # the journal waits for no file
    FaultyBucket.faults.clear()
    mirror.ship_files()
    shipped = [content for content in objects("blobs/").values() if b" " in content]
    assert shipped == [(b"%06d " % 4) * 40]


def test_what_neither_of_the_last_two_manifests_names_is_deleted(ledger: Ledger) -> None:
    mirror = mirror_of(ledger.folder)
    for number in range(5):
        write_event(ledger, number)
        mirror.ship_files()
    assert sorted(objects("manifests/")) == ["manifests/00000005.json", "manifests/00000006.json"]
    states = sorted(content[:6] for content in objects("blobs/").values() if b" " in content)
    assert states == [b"000003", b"000004"]
    ledger.trial("trial-0000").checkpoint.unlink()
    mirror.ship_files()
    write_event(ledger, 7)
    ledger.trial("trial-0000").checkpoint.unlink()
    mirror.ship_files()
    assert not [content for content in objects("blobs/").values() if b" " in content]


def test_half_a_content_that_a_kill_left_is_shipped_again(ledger: Ledger, tmp_path: Path) -> None:
    """A folder that stands for a bucket has no whole objects or none, as object stores do."""
    write_event(ledger, 0)
    mirror_of(ledger.folder).ship_files()
    write_event(ledger, 1)
    state = ledger.trial("trial-0000").checkpoint
    Store(ADDRESS).replace(content_of(state).key, state.read_bytes()[:20])
    mirror_of(ledger.folder).ship_files()
    _, missing = fetched(tmp_path / "other")
    assert missing == []
    assert (tmp_path / "other/trials/trial-0000/checkpoint.pt").read_bytes() == state.read_bytes()


def test_nothing_changed_ships_nothing(ledger: Ledger) -> None:
    write_event(ledger, 0)
    mirror = mirror_of(ledger.folder)
    mirror.ship_files()
    before = len(FaultyBucket.operations)
    assert mirror.ship_files() == 0
    assert FaultyBucket.operations[before:] == []


def test_a_large_file_that_grows_while_it_is_shipped_is_copied_first(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(mirror_module, "_SMALL_BYTES", 100)
    log = ledger.folder / "stdout.txt"
    log.write_bytes(b"x" * 1000)

    def grow(operation: str, path: str) -> None:
        if operation == "put":
            with log.open("ab") as file:
                file.write(b"more")

    FaultyBucket.before = grow
    mirror = mirror_of(ledger.folder)
    mirror.ship_files()
    FaultyBucket.before = None
    _, missing = fetched(tmp_path / "other")
    assert missing == []
    assert (tmp_path / "other/stdout.txt").read_bytes() == b"x" * 1000 + b"more"
    assert len(objects("blobs/")) == 2  # the log and the space
    mirror.ship_files()
    fetched(tmp_path / "other")
    assert (tmp_path / "other/stdout.txt").read_bytes() == log.read_bytes()


def test_a_large_file_whose_answer_was_lost_is_there_also_where_it_cannot_be_put_twice(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(mirror_module, "_SMALL_BYTES", 100)
    write_event(ledger, 0)
    mirror = mirror_of(ledger.folder)
    FaultyBucket.faults.append(Fault("put", is_done=True))
    with pytest.raises(BucketUnavailable):
        mirror.ship_files()
    FaultyBucket.faults[:] = [Fault("put", error=FileExistsError("there is one"))]
    mirror.ship_files()
    assert fetched(tmp_path / "other")[1] == []
    state = ledger.trial("trial-0000").checkpoint.read_bytes()
    assert RunFolder(tmp_path / "other").trial("trial-0000").checkpoint.read_bytes() == state


def test_links_are_named_and_locks_and_half_files_are_left_out(ledger: Ledger, tmp_path: Path) -> None:
    write_event(ledger, 0)
    ledger.lock()
    (ledger.folder / f".{'0' * 32}.half").write_text("half")
    (ledger.folder / "latest").symlink_to(ledger.trial_folder("trial-0000"))
    output = console()
    mirror = mirror_of(ledger.folder, output)
    mirror.ship_files()
    mirror.ship_files()
    ledger.unlock()
    assert shown(output).count("links are not shipped: 1, such as") == 1
    fetched(tmp_path / "other")
    assert sorted(path.name for path in (tmp_path / "other").iterdir()) == [
        "journal.jsonl",
        "space.yaml",
        "trials",
        "trials.csv",
    ]


def test_an_outage_is_one_warning_and_its_end_one_note(ledger: Ledger) -> None:
    output = console()
    mirror = mirror_of(ledger.folder, output)
    write_event(ledger, 0)
    FaultyBucket.faults.append(Fault("pipe", "", lasts=True))
    for _ in range(3):
        try:
            mirror.ship_files()
        except BucketUnavailable as error:
            mirror._say_failure(error)
    FaultyBucket.faults.clear()
    mirror.ship_files()
    mirror._say_recovery()
    assert shown(output).count("warning: ") == 1
    assert "the server is gone; the run continues in" in shown(output)
    assert shown(output).count("note: faulty://bucket/exp/run accepts everything again") == 1


def test_a_run_ends_with_the_whole_bucket_or_says_what_it_lacks_and_how_to_ship_it(ledger: Ledger) -> None:
    mirror = mirror_of(ledger.folder)
    write_event(ledger, 0)
    mirror.start()
    mirror.finish(patience_s=10.0)
    assert b"".join(objects("journal/").values()) == ledger.journal_file.read_bytes()
    later = mirror_of(ledger.folder)
    write_event(ledger, 1)
    FaultyBucket.faults.append(Fault("pipe", "", lasts=True))
    later.start()
    with pytest.raises(NotShipped) as error:
        later.finish(patience_s=0.2)
    assert "1 lines of the journal and 2 files (0.000289 MB) are only in" in str(error.value)
    assert "python -m jouletune ship faulty://bucket/exp/run" in str(error.value)


def test_no_message_has_a_secret_of_the_environment(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI")
    mirror = mirror_of(ledger.folder)
    error = PermissionError("signature of wJalrXUtnFEMI does not match")
    FaultyBucket.faults.append(Fault("pipe", "journal/", error=error))
    with pytest.raises(BucketUnavailable) as raised:
        mirror.ship_journals()
    assert "PermissionError: signature of ... does not match" in str(raised.value)
    assert not [key for key, content in objects().items() if b"wJalrXUtnFEMI" in content]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda keys: [keys[1]], "lines 2 to 2 of the journal are missing"),
        (lambda keys: [keys[0]], "lines 1 to 1 of the journal are missing"),
        (lambda keys: keys[:2], "lines 1 to 2 of the journal are missing"),
    ],
)
def test_a_segment_that_is_missing_is_named(ledger: Ledger, damage: object, message: str) -> None:
    mirror = mirror_of(ledger.folder)
    mirror.ship_files()
    for number in range(3):
        mirror.ship_journals()
        write_event(ledger, number)
    mirror.ship_journals()
    segments = objects("journal/")
    for key in damage(sorted(segments)):  # type: ignore[operator]
        del segments[key]
    with pytest.raises(BucketError, match=message):
        join_segments(ADDRESS, segments)


def test_segments_of_two_writers_are_no_journal() -> None:
    segments = {"journal/000000000000.jsonl": b"a\nb\n", "journal/000000000001.jsonl": b"c\n"}
    with pytest.raises(BucketError, match="does not follow the segment before it"):
        join_segments(ADDRESS, segments)
    with pytest.raises(BucketError, match="does not follow the segment before it"):
        join_segments(ADDRESS, {"journal/000000000000.jsonl": b"cut"})


@pytest.mark.parametrize("path", ["../evil", "/etc/evil", "a/../../evil", "a//b", "", "a\\..\\b"])
def test_a_manifest_that_names_a_file_elsewhere_is_not_used(
    ledger: Ledger, tmp_path: Path, path: str
) -> None:
    mirror = mirror_of(ledger.folder)
    write_event(ledger, 0)
    mirror.ship_files()
    digest = "0" * 64
    text = (
        f'{{"number": 9, "ends": {{}}, "files": {{{path.replace(chr(92), chr(92) * 2)!r}: ["{digest}", 1]}}}}'
    )
    FaultyBucket().pipe_file("/bucket/exp/run/manifests/00000009.json", text.replace("'", '"').encode())
    found, missing = fetched(tmp_path / "other")
    assert missing == []
    assert found.problems
    assert "would be outside the run's folder" in found.problems[0]
    assert found.manifest
    assert found.manifest.number == 2  # the first names the space alone
    assert found.last_number == 9


@pytest.mark.parametrize("is_gone", [True, False])
def test_a_content_that_is_gone_or_changed_is_left_out_and_named(
    ledger: Ledger, tmp_path: Path, is_gone: bool
) -> None:
    mirror = mirror_of(ledger.folder)
    write_event(ledger, 0)
    mirror.ship_files()
    (key,) = (key for key, content in objects("blobs/").items() if b" " in content)
    if is_gone:
        FaultyBucket().rm_file(f"/bucket/exp/run/{key}")
    else:
        FaultyBucket().pipe_file(f"/bucket/exp/run/{key}", b"changed")
    _, missing = fetched(tmp_path / "other")
    assert len(missing) == 1
    assert "trials/trial-0000/checkpoint.pt is " in missing[0]
    assert not RunFolder(tmp_path / "other").trial("trial-0000").checkpoint.exists()


def test_a_run_that_ships_on_while_it_is_read_is_read_with_its_files(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two later manifests have replaced both of those that were listed, by the time they are read."""
    mirror = mirror_of(ledger.folder)
    (ledger.folder / "notes.txt").write_text("0")
    mirror.ship_files()
    listed, to_come = Store.sizes, [1, 2, 3]

    def listed_before_others(store: Store) -> object:
        found = listed(store)
        while to_come:
            (ledger.folder / "notes.txt").write_text(str(to_come.pop(0)))
            mirror.ship_files()
        return found

    monkeypatch.setattr(Store, "sizes", listed_before_others)
    run = read_bucket(Store(ADDRESS))
    assert run.manifest is not None
    assert "notes.txt" in run.manifest.files
    assert run.problems == ()


def test_a_file_that_cannot_be_read_ends_the_wait_although_the_lease_beats(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, seconds in (("_JOURNAL_EVERY_S", 0.05), ("_FIRST_RETRY_S", 0.05), ("BEAT_S", 0.0)):
        monkeypatch.setattr(mirror_module, name, seconds)
    mirror = mirror_of(ledger.folder)

    def unreadable(*given: object) -> None:
        raise PermissionError("notes.txt")

    monkeypatch.setattr(mirror, "_ship_group", unreadable)
    (ledger.folder / "notes.txt").write_text("0")
    mirror.start()
    with pytest.raises(NotShipped, match=r"notes\.txt"):
        mirror.finish(patience_s=1.0)


def test_a_bucket_may_be_gone_for_days(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """2 to the power of 1,024 failures is no float."""
    mirror, left = mirror_of(ledger.folder), iter(range(1100))
    for event in (mirror._is_closing, mirror._is_abandoned):
        monkeypatch.setattr(event, "wait", lambda seconds: False)

    def failing() -> int:
        if next(left, None) is None:
            mirror._is_abandoned.set()
        raise BucketUnavailable("the server is gone")

    mirror._repeat(failing, 1.0)
    assert next(left, None) is None
