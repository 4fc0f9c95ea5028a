"""Results in a real S3 server on loopback: `make test-s3`, which installs s3fs and the server."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

import jouletune
from search.bucket.address import Address
from search.bucket.store import BucketUnavailable, Store
from tests.support.bucket_kills import KINDS, kill_searches
from tests.support.processes import ran, typed
from tests.support.s3_server import Network, Server
from tests.support.toy_runs import toy_file

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("s3fs") is None or importlib.util.find_spec("moto") is None,
        reason="s3fs and moto have a folder of their own: make test-s3",
    ),
]


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """A network to an S3 server with an empty bucket; the server is its attribute."""
    (tmp_path / "server").mkdir()
    server = Server(tmp_path / "server")
    server.start()
    network = Network(server.port)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{network.port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "an-id-of-a-test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret-of-a-test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("JOULETUNE_STAGING", str(tmp_path / "machine"))
    Address.parse("s3://bucket").filesystem().mkdir("bucket")
    yield network
    server.kill()


def test_a_search_is_resumed_promoted_and_reported_from_its_bucket_on_another_machine(
    network: Network, tmp_path: Path
) -> None:
    space, results = toy_file(tmp_path), "s3://bucket/experiments"
    words = ("--space", space, "--name", "mine", "--results", results, "--backend", "local", "--no-report")
    first = typed("search", *words, "--trials", 4, folder=tmp_path)
    assert first.returncode == 0, first.stderr
    assert "results: s3://bucket/experiments/mine, by way of" in first.stdout
    assert "next: python scripts/promote.py s3://bucket/experiments/mine" in first.stdout
    other = {"JOULETUNE_STAGING": str(tmp_path / "other")}
    second = typed("search", *words, "--trials", 6, folder=tmp_path, **other)
    assert second.returncode == 0, second.stderr
    assert "ended: all 6 trials done" in second.stdout
    flags = ("--top", 1, "--seeds", 1, "--backend", "local", "--no-report")
    promoted = typed("promote", "mine", "--results", results, *flags, folder=tmp_path, **other)
    assert promoted.returncode == 0, promoted.stderr
    third = {"JOULETUNE_STAGING": str(tmp_path / "third")}
    for command, more in (
        ("report", ()),
        ("check", ()),
        ("check_energy", ()),
        ("export", ("--optuna", "study.db")),
    ):
        done = typed(command, f"{results}/mine", *more, folder=tmp_path, **third)
        assert done.returncode == 0, (command, done.stderr)
    assert jouletune.open(f"{results}/mine").trials.shape[0] == 6
    fetched = ran(
        "python", "-m", "jouletune", "fetch", f"{results}/mine", folder=tmp_path, PYTHONPATH=_path()
    )
    assert fetched.returncode == 0, fetched.stderr
    assert len(list((tmp_path / "results/mine/promotion/trials").iterdir())) == 2


def _path() -> str:
    return os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])


def test_a_missing_bucket_or_a_server_that_is_gone_is_refused_before_anything_starts(
    network: Network, tmp_path: Path
) -> None:
    space = toy_file(tmp_path)
    words = ("search", "--space", space, "--name", "mine", "--backend", "local")
    done = typed(*words, "--results", "s3://nowhere/experiments", folder=tmp_path)
    assert done.returncode == 2
    assert "The specified bucket does not exist" in done.stderr
    assert "nothing was started" in done.stderr
    network.cut()
    done = typed(*words, "--results", "s3://bucket/experiments", folder=tmp_path)
    assert done.returncode == 2
    assert "nothing was started" in done.stderr


def test_a_large_file_in_parts_is_whole_after_the_network_was_cut_in_the_middle(
    network: Network, tmp_path: Path
) -> None:
    (large := tmp_path / "large").write_bytes(os.urandom(2**20) * 120)
    store = Store(Address.parse("s3://bucket/experiments/mine"))
    network.cut()
    with pytest.raises(BucketUnavailable, match="s3://bucket/experiments/mine/blobs/x"):
        store.upload("blobs/x", large)
    network.mend()
    store.upload("blobs/x", large)
    assert store.num_done >= 4  # the parts are told, so that a slow line is no dead one
    store.download("blobs/x", tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == large.read_bytes()


def test_kills_of_server_network_and_search_lose_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five of the fifty that `python -m tests.support.bucket_kills` makes."""
    for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, "")  # which are set there, and put back here
    found = kill_searches(tmp_path, 5, seed=3)
    assert sum(found["kills"].values()) == 5  # type: ignore[attr-defined]
    assert set(found["kills"]) <= set(KINDS)  # type: ignore[call-overload]
