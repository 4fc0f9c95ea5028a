"""Results in a real S3 server on loopback: `make test-s3`, which installs s3fs and the server."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

import jouletune
from search.bucket.address import Address
from search.bucket.store import BucketUnavailable, Store
from search.errors import UserError
from tests.support.bucket_kills import KINDS, kill_searches
from tests.support.processes import typed
from tests.support.recorded_console import console, shown
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


def test_a_search_is_resumed_promoted_and_reported_from_its_bucket_on_other_machines(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results, run = "s3://bucket/experiments", "s3://bucket/experiments/mine"
    how = {"results": results, "backend": "local", "should_preflight": False}
    space = toy_file(tmp_path)
    first = jouletune.search(str(space), name="mine", trials=4, output=(output := console()), **how)
    assert "results: s3://bucket/experiments/mine, by way of" in shown(output)
    assert "next: python scripts/promote.py s3://bucket/experiments/mine" in shown(output)
    _use_machine(monkeypatch, tmp_path / "second")
    second = jouletune.search(str(space), name="mine", trials=6, is_quiet=True, **how)
    assert second.folder != first.folder
    assert second.trials["trial_id"].tolist()[:4] != []
    assert set(first.trials["trial_id"]) < set(second.trials["trial_id"])
    jouletune.promote("mine", top=1, seeds=1, should_report=False, **how)
    _use_machine(monkeypatch, tmp_path / "third")
    assert jouletune.open(run).trials.shape[0] == 6
    page = jouletune.report(run).path.read_text()
    assert "--name mine --results s3://bucket/experiments" in page
    jouletune.export("mine", results=results, optuna=tmp_path / "study.db")
    done = typed("check", run, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    whole = jouletune.fetch(run, path=tmp_path / "whole")
    assert len(list((whole / "promotion/trials").iterdir())) == 2
    assert (whole / "journal.jsonl").read_bytes() == (second.folder / "journal.jsonl").read_bytes()


def _use_machine(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("JOULETUNE_STAGING", str(folder))


def test_a_missing_bucket_or_a_server_that_is_gone_is_refused_before_anything_starts(
    network: Network, tmp_path: Path
) -> None:
    space = str(toy_file(tmp_path))
    with pytest.raises(UserError, match=r"The specified bucket does not exist[\s\S]*nothing was started"):
        jouletune.search(space, name="mine", results="s3://nowhere/experiments", backend="local")
    network.cut()
    with pytest.raises(UserError, match="nothing was started"):
        jouletune.search(space, name="mine", results="s3://bucket/experiments", backend="local")


def test_a_large_file_in_parts_is_whole_after_the_network_was_cut_in_the_middle(
    network: Network, tmp_path: Path
) -> None:
    (large := tmp_path / "large").write_bytes(os.urandom(2**20) * 105)
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
