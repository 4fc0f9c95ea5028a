"""Runs of a bucket on one machine and another: which state a command begins with, and who may write."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

import jouletune
from search.bucket import staging as staging_module
from search.bucket.address import Address, BucketError, is_address
from search.bucket.lease import GONE_S, Lease
from search.bucket.segments import TakenOver
from search.bucket.staging import check_writable, fresh_address, holding
from search.bucket.store import Store
from search.cli import run as run_command
from search.errors import UserError
from search.ledger import Ledger, RunFolder
from search.run_names import run_folder
from search.run_place import check_nodes_are_checked, place_to_search
from tests.support.faulty_bucket import ADDRESS, Fault, FaultyBucket, objects, write_event
from tests.support.recorded_console import console, shown
from tests.support.toy_runs import toy_file


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty bucket, and a machine that has staged nothing yet."""
    FaultyBucket.clear()
    monkeypatch.setenv("JOULETUNE_STAGING", str(tmp_path / "machine"))
    monkeypatch.setattr("search.bucket.lease.time.sleep", lambda _: None)
    yield tmp_path / "machine"
    FaultyBucket.clear()


def _write(*numbers: int, output: object = None) -> Path:
    """A session of the run that writes these events."""
    with holding(ADDRESS, output or console()) as held:  # type: ignore[arg-type]
        ledger = Ledger(held.folder)
        if not ledger.has_run:
            ledger.begin()
        for number in numbers:
            write_event(ledger, number)
    return held.folder


def _elsewhere(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """From here on commands are another machine's."""
    monkeypatch.setenv("JOULETUNE_STAGING", str(folder))
    monkeypatch.setattr("search.bucket.lease.platform.node", lambda: folder.name)


def test_another_machine_begins_with_what_the_bucket_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = _write(0, 1)
    _elsewhere(monkeypatch, tmp_path / "second")
    second = _write(2)
    assert second.is_relative_to(tmp_path / "second")
    assert second.name == "run"
    journal = (second / "journal.jsonl").read_bytes()
    assert journal.startswith((first / "journal.jsonl").read_bytes())
    assert b"".join(objects("journal/").values()) == journal
    assert "lease.json" not in objects()


def test_a_folder_that_the_bucket_is_ahead_of_is_set_aside_with_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machine: Path
) -> None:
    _write(0)
    _elsewhere(monkeypatch, tmp_path / "second")
    _write(1)
    _elsewhere(monkeypatch, machine)
    output = console()
    folder = _write(output=output)
    assert "note: faulty://bucket/exp/run is ahead of" in shown(output)
    assert len(Ledger(folder).events()) == 3
    assert len(Ledger(folder.with_name("run.set-aside-1")).events()) == 2


def test_a_folder_with_events_of_its_own_is_set_aside_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machine: Path
) -> None:
    folder = _write(0)
    write_event(Ledger(folder), 1)  # a killed session's, which was never shipped
    _elsewhere(monkeypatch, tmp_path / "second")
    _write(2)
    _elsewhere(monkeypatch, machine)
    output = console()
    _write(output=output)
    assert "warning: faulty://bucket/exp/run was continued elsewhere" in shown(output)
    asked = [event.get("trial") for event in Ledger(folder.with_name("run.set-aside-1")).events()]
    assert asked == [None, "trial-0000", "trial-0001"]


def test_what_a_killed_session_did_not_ship_is_shipped_by_the_next_on_its_machine() -> None:
    folder = _write(0)
    write_event(Ledger(folder), 1)
    assert _write() == folder
    assert b"".join(objects("journal/").values()) == (folder / "journal.jsonl").read_bytes()
    write_event(Ledger(folder), 2)
    assert jouletune.ship("run", results="faulty://bucket/exp") == folder
    assert b"".join(objects("journal/").values()) == (folder / "journal.jsonl").read_bytes()


def test_two_processes_of_one_machine_do_not_hold_a_run_at_once() -> None:
    folder = _write(0)
    with folder.with_name(".run.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(BucketError, match="is in use by process"):
            _write(1)


def _other_lease(beat: int) -> bytes:
    about = {"holder": "process 7 on other", "place": "other:/x", "token": "other", "beat": beat}
    return json.dumps(about).encode()


def test_a_lease_that_lives_is_not_taken() -> None:
    store = Store(ADDRESS)
    store.replace("lease.json", _other_lease(0))
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        store.replace("lease.json", _other_lease(len(slept) // 2))

    with pytest.raises(BucketError, match="is in use by process 7 on other; wait for it or end it"):
        Lease(store, "here", sleep=sleep).take(console())
    assert slept == [10.0, 10.0]


def test_a_lease_that_does_not_change_is_taken_over_and_its_owner_finds_out() -> None:
    store, output, slept = Store(ADDRESS), console(), []
    first = Lease(store, "one", sleep=lambda _: None)
    first.take(output)
    second = Lease(store, "two", sleep=slept.append)
    second.take(output)
    assert sum(slept[:-1]) == GONE_S
    assert "has not been heard from for 45 s: its run is taken over" in shown(output)
    second.beat()
    with pytest.raises(TakenOver, match="was taken over by process"):
        first.beat()
    first.release()
    second.check()
    second.release()
    assert objects() == {}


def test_a_lease_of_the_same_folder_is_of_a_process_that_is_gone() -> None:
    store, slept = Store(ADDRESS), []
    Lease(store, "one").take(console())
    Lease(store, "one", sleep=slept.append).take(console())
    assert slept == []


def test_a_store_that_takes_a_second_writer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Store, "create", lambda store, key, content: not store.replace(key, content))
    output = console()
    Lease(Store(ADDRESS), "one").take(output)
    assert "this store does not refuse a second writer" in shown(output)


@pytest.mark.parametrize("operation", ["pipe", "find", "cat"])
def test_a_bucket_that_does_not_answer_is_refused_before_anything_starts(
    operation: str, machine: Path
) -> None:
    _write(0)
    FaultyBucket.faults.append(Fault(operation, lasts=True))
    with pytest.raises(BucketError, match=r"the server is gone[\s\S]*nothing was started"):
        _write(1)
    FaultyBucket.faults.clear()
    assert len(Ledger(_write()).events()) == 2


def test_a_fresh_run_takes_a_name_that_neither_the_bucket_nor_the_machine_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(0)
    assert fresh_address(ADDRESS).text == "faulty://bucket/exp/run-2"
    _elsewhere(monkeypatch, tmp_path / "second")
    results = Path("faulty://bucket/exp")
    with place_to_search(results, "run", console(), is_fresh=True) as place:
        assert place.folder.name == "run-2"
        assert place.results == "faulty://bucket/exp"


def test_readers_fetch_a_copy_without_checkpoints_and_nothing_is_written_into_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(0)
    copy = run_folder("faulty://bucket/exp/run", Path("results"))
    assert copy.is_relative_to(tmp_path / "machine/copies")
    assert sorted(path.name for path in copy.iterdir()) == [".bucket", "journal.jsonl", "trials.csv"]
    with pytest.raises(
        BucketError, match="name the run by that address, or by --results faulty://bucket/exp"
    ):
        place_to_search(copy.parent, "run", console()).__enter__()
    monkeypatch.chdir(tmp_path)
    whole = jouletune.fetch("run", results="faulty://bucket/exp")
    assert whole == Path("results/run")
    assert (whole / "trials/trial-0000/checkpoint.pt").is_file()
    with place_to_search(Path("results"), "run", console()) as place:  # an ordinary folder
        assert place.folder == (tmp_path / "results/run").absolute()
    with pytest.raises(UserError, match="results/run exists; give another --out"):
        jouletune.fetch("run", results="faulty://bucket/exp")
    with pytest.raises(UserError, match="holds no run \\(there is nothing at this address\\)"):
        jouletune.open("faulty://bucket/exp/nun")


def test_a_copy_is_what_the_bucket_has_now() -> None:
    _write(0)
    results = Path("faulty://bucket/exp")
    assert len(Ledger(run_folder("run", results)).events()) == 2
    _write(1)
    fetched_before = [path for operation, path in FaultyBucket.operations if operation == "get"]
    assert len(Ledger(run_folder("run", results)).events()) == 3
    again = [path for operation, path in FaultyBucket.operations if operation == "get"]
    assert len(again) == len(fetched_before) + 1  # the table; no checkpoint, and nothing that did not change


def test_a_kill_while_a_run_is_fetched_leaves_no_half_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(0)
    _elsewhere(monkeypatch, tmp_path / "second")

    def die(operation: str, path: str) -> None:
        if operation == "get":
            raise KeyboardInterrupt

    FaultyBucket.before = die
    with pytest.raises(KeyboardInterrupt):
        _write(1)
    FaultyBucket.before = None
    left = [path.name for path in ADDRESS.staging.parent.iterdir()]
    assert left == [".run.lock"]
    assert len(Ledger(_write(1)).events()) == 3


def test_an_error_of_the_command_is_not_hidden_by_a_bucket_that_takes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(staging_module, "_PATIENCE_S", 0.1)
    output = console()

    def fail() -> None:
        with holding(ADDRESS, output) as held:
            FaultyBucket.faults.append(Fault("pipe", lasts=True))
            Ledger(held.folder).begin()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert "1 lines of the journal and 0 files" in shown(output)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("s3://", "names no bucket"),
        ("s3://key:secret@bucket/path", "a user or a password before an @"),
        ("s3://bucket/a/../b", "cannot be used"),
        ("s3://bucket/a//b", "cannot be used"),
        ("s3://bucket/a?versionId=1", "cannot be used"),
        ("simplecache::s3://bucket", "is not an address"),
        ("s3:bucket", "is not an address"),
        ("s3://bucket/a b", "cannot be used"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused(text: str, message: str) -> None:
    with pytest.raises(BucketError, match=message) as error:
        Address.parse(text)
    assert "secret" not in str(error.value).replace("secret@", "") or ":secret" not in str(error.value)


def test_an_address_is_the_same_however_it_is_typed() -> None:
    texts = ["s3://bucket/exp", "s3://bucket/exp/", Path("s3://bucket/exp"), Path("s3://bucket/exp/")]
    assert {str(Address.parse(text)) for text in texts} == {"s3://bucket/exp"}
    assert all(map(is_address, texts))
    assert not is_address(Path("results"))
    assert not is_address(Path("/data/s3:/x"))
    assert str(Address.parse(Path("file:///tmp/x"))) == "file:///tmp/x"
    run = Address.parse("s3://bucket/exp").child("mine")
    assert (run.name, str(run.parent)) == ("mine", "s3://bucket/exp")
    with pytest.raises(BucketError, match="names a bucket and no run in it"):
        _ = Address.parse("s3://bucket").parent
    with pytest.raises(BucketError, match="cannot be named"):
        Address.parse("s3://bucket").child("../x")


@pytest.mark.parametrize(
    ("address", "package", "extra"),
    [("s3://b/p", "s3fs", "s3"), ("gs://b/p", "gcsfs", "gcs"), ("az://b/p", "adlfs", "azure")],
)
def test_a_missing_package_is_named_with_its_remedy_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, address: str, package: str, extra: str, machine: Path
) -> None:
    def missing(protocol: str) -> None:
        raise ImportError(f"Install {package}")

    monkeypatch.setattr(fsspec, "get_filesystem_class", missing)
    with pytest.raises(BucketError) as error:
        check_writable(Address.parse(address))
    assert f"{address}: the package {package} is not installed" in str(error.value)
    assert f"-m pip install {package} (the extra jouletune[{extra}])" in str(error.value)
    assert not machine.exists()


def test_an_unknown_protocol_gets_a_suggestion() -> None:
    with pytest.raises(BucketError, match=r"no package is known for s33://; did you mean s3"):
        check_writable(Address.parse("s33://bucket/path"))


def test_nodes_that_nothing_checks_are_refused() -> None:
    bucket = Path("s3://bucket/path")
    with pytest.raises(BucketError, match="leave --skip-preflight out"):
        check_nodes_are_checked(bucket, cluster="10.0.0.5:6379", should_preflight=False)
    check_nodes_are_checked(bucket, cluster="10.0.0.5:6379", should_preflight=True)
    check_nodes_are_checked(bucket, cluster=None, should_preflight=False)
    check_nodes_are_checked(Path("results"), cluster="10.0.0.5:6379", should_preflight=False)


def test_a_command_that_finds_no_run_leaves_nothing(machine: Path) -> None:
    with pytest.raises(UserError, match="holds no run"):
        jouletune.promote("nun", results="faulty://bucket/exp", backend="local")
    with pytest.raises(UserError, match="nothing of faulty://bucket/exp/nun is on this machine"):
        jouletune.ship("faulty://bucket/exp/nun")
    assert FaultyBucket.store == {}
    assert [path.name for path in machine.rglob("*") if not path.name.endswith(".lock")] == [
        "staging",
        ADDRESS.staging.parent.name,
    ]


@pytest.mark.parametrize("text", ["", "results/x", "s3://bucket/a\nrm -rf", "\xff"])
def test_a_foreign_folder_cannot_say_that_it_is_something_else(tmp_path: Path, text: str) -> None:
    (tmp_path / ".bucket").write_bytes(text.encode("latin-1"))
    assert RunFolder(tmp_path).address == str(tmp_path)


def test_preflight_writes_to_the_bucket_and_leaves_nothing() -> None:
    check_writable(Address.parse("faulty://bucket/exp"))
    assert [path for operation, path in FaultyBucket.operations if operation == "pipe"]
    assert FaultyBucket.store == {}
    FaultyBucket.faults.append(Fault("pipe", error=PermissionError("403")))
    with pytest.raises(BucketError, match="PermissionError: 403; check that the bucket exists"):
        check_writable(Address.parse("faulty://bucket/exp"))


def test_a_copy_is_not_repaired(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = _write(0)
    toy_file(tmp_path).rename(folder / "space.yaml")
    Ledger(folder).trial("trial-0000").checkpoint.unlink()  # which is none of this program's
    _write()
    assert run_command("check", ["faulty://bucket/exp/run"]) == 0
    with pytest.raises(SystemExit) as ended:
        run_command("check", ["faulty://bucket/exp/run", "--repair"])
    assert ended.value.code == 2
    assert "--repair takes a folder: jouletune fetch" in capsys.readouterr().err


@pytest.mark.slow  # 3 s: a whole search
def test_a_search_whose_bucket_takes_nothing_more_ends_with_status_3_and_ship_sends_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(staging_module, "_PATIENCE_S", 0.5)
    words = ["--space", str(toy_file(tmp_path)), "--name", "run", "--results", "faulty://bucket/exp"]
    how = ["--backend", "local", "--trials", "2", "--skip-preflight", "--no-report"]
    FaultyBucket.faults.append(Fault("pipe", "blobs/", number=1, lasts=True))  # it takes the space
    assert run_command("search", [*words, *how]) == 3
    printed = capsys.readouterr()
    assert "ended: all 2 trials done" in printed.out
    assert "0 lines of the journal and" in printed.err
    assert "python -m jouletune ship faulty://bucket/exp/run" in printed.err
    FaultyBucket.faults.clear()
    assert run_command("ship", ["faulty://bucket/exp/run"]) == 0
    assert "the bucket has everything" in capsys.readouterr().out
    _elsewhere(monkeypatch, tmp_path / "second")
    assert jouletune.open("faulty://bucket/exp/run").trials.shape[0] == 2
