"""The server of the pages, over a real socket."""

from __future__ import annotations

import gzip
import html
import http.client
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from search.backends.local import execute_here
from search.ledger import Ledger
from search.report.page import write_page
from search.run import Run
from tests.support.foreign_runs import MARK, STRANGERS, UNREADABLE, strangers_runs
from tests.support.toy_runs import TOY, SteadyMeter, as_searched, made_space, sampler_for
from tests.support.ui_server import UiServer

_PAGES = ("package", "parts", "scripted")  # of strangers' runs: report.py makes the same of all of them
_WRITTEN = re.compile(r"written \d{4}-\d\d-\d\d \d\d:\d\d UTC")


def begun(results: Path, name: str) -> Run:
    """A run before its first trial."""
    space, ledger = made_space(results, TOY), Ledger.create(results / name)
    as_searched(space, ledger)
    return Run(space, sampler_for(space), ledger)


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that ended."""
    run = begun(tmp_path_factory.mktemp("ended"), "done")
    execute_here(run, SteadyMeter())
    return run.ledger.folder


@pytest.fixture
def results(tmp_path: Path, ended: Path) -> Path:
    shutil.copytree(ended, tmp_path / "results" / "done")
    return tmp_path / "results"


@pytest.fixture
def server(results: Path) -> Iterator[UiServer]:
    made = UiServer(results, results.parent / "rows.json")
    with made.serving():
        yield made


def test_the_list_is_sent_whole_and_then_what_changes(server: UiServer, results: Path) -> None:
    with server.stream("/events") as stream:
        first = stream.next()
        assert first["is_whole"]
        assert first["folder"] == str(results)
        assert [row["name"] for row in first["rows"]] == ["done"]
        run = begun(results, "live")
        while True:  # it may be seen first when it is not read yet
            news = stream.next()
            assert not news["is_whole"]
            assert [row["name"] for row in news["rows"]] == ["live"]
            if news["rows"][0]["state"] == "running":
                break
        assert news["rows"][0]["cells"]["trials"][:2] == ["0 of 12", 0]
        execute_here(run, SteadyMeter())
        while news["rows"][0]["state"] == "running":  # a scan may have seen it half way
            news = stream.next()
        assert news["rows"][0]["state"] == "ended"
        assert news["rows"][0]["cells"]["trials"][:2] == ["12 of 12", 12]
        shutil.rmtree(results / "done")
        assert stream.next()["gone"] == ["done"]


def test_a_disk_that_does_not_answer_once_ends_no_stream(
    server: UiServer, results: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = [OSError("the disk does not answer")]
    scan = server.runs.scan

    def failing() -> bool:
        if failures and server.runs.version:
            raise failures.pop()
        return scan()

    monkeypatch.setattr(server.runs, "scan", failing)
    with server.stream("/events") as stream:
        assert [row["name"] for row in stream.next()["rows"]] == ["done"]
        shutil.copytree(results / "done", results / "later")
        assert stream.next()["rows"][0]["name"] == "later"
    assert not failures
    assert f"{results} was not read" in caplog.text


def test_a_run_s_stream_has_its_row_whenever_its_journal_grows(server: UiServer, results: Path) -> None:
    run = begun(results, "live")
    begun(results, "other")
    with server.stream("/runs/live/events") as stream:
        row = stream.next()
        while row["state"] == "reading":
            row = stream.next()
        assert (row["name"], row["state"]) == ("live", "running")
        run.next_task()  # a line in its journal
        grown = stream.next()
        assert grown["version"] > row["version"]
        assert grown["cells"]["trials"][:2] == ["1 of 12", 1]
        assert grown["cells"]["trials"][2] == "1 running"
        shutil.rmtree(results / "live")
        assert stream.next()["state"] == "gone"


def test_the_page_of_a_run_is_its_report_packed_for_who_takes_that(server: UiServer, results: Path) -> None:
    answer = server.get("/runs/done/report")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"] == (  # beside its own: the list alone may frame it
        "frame-ancestors 'self'; base-uri 'none'; form-action 'none'"
    )
    written = write_page(results / "done", should_draw=False).path.read_text(encoding="utf-8")
    assert _WRITTEN.sub("", answer.text) == _WRITTEN.sub("", written)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    headers = {"Cookie": server.cookie, "Accept-Encoding": "gzip, br"}
    connection.request("GET", "/runs/done/report", headers=headers)
    packed = connection.getresponse()
    content = packed.read()
    connection.close()
    assert packed.headers["Content-Encoding"] == "gzip"
    assert len(content) < len(written) / 2
    assert _WRITTEN.sub("", gzip.decompress(content).decode()) == _WRITTEN.sub("", written)


def test_nothing_is_written_into_a_run_that_is_looked_at(server: UiServer, results: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (results / "done").rglob("*")}
    server.get("/runs/done/report")
    with server.stream("/events") as stream:
        stream.next()
    assert {path: path.stat().st_mtime_ns for path in (results / "done").rglob("*")} == before


def test_the_page_of_a_running_run_has_what_its_journal_has_by_now(server: UiServer, results: Path) -> None:
    run = begun(results, "live")
    with server.stream("/events") as stream:  # so that the run is read on
        while not any(row["state"] == "running" for row in stream.next()["rows"]):
            pass
        assert "trial-0000" not in server.get("/runs/live/report").text
        run.next_task()
        assert "trial-0000" in server.get("/runs/live/report").text


def test_of_a_damaged_run_the_reason_is_told(server: UiServer, results: Path) -> None:
    journal = shutil.copytree(results / "done", results / "broken") / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([*lines[:3], *lines[4:]]))
    with server.stream("/events") as stream:
        rows = {row["name"]: row for row in stream.next()["rows"]}
    assert rows["done"]["state"] == "ended"
    assert rows["broken"]["state"] == "damaged"
    assert "line 4 does not follow the one before: line 4 is missing" in rows["broken"]["detail"]
    assert server.get("/runs/broken").status == 200
    answer = server.get("/runs/broken/report")
    assert (answer.status, answer.headers["content-type"]) == (500, "text/plain; charset=utf-8")
    assert "line 4 does not follow the one before: line 4 is missing" in answer.text


@pytest.mark.parametrize("path", ["/runs/nothing", "/runs/nothing/report", "/runs/nothing/events"])
def test_a_run_that_is_not_there_is_named(server: UiServer, results: Path, path: str) -> None:
    answer = server.get(path)
    assert (answer.status, answer.text) == (404, f"There is no run 'nothing' in {results}.\n")


def test_runs_of_strangers_run_nothing(tmp_path: Path) -> None:
    results = strangers_runs(tmp_path)
    server = UiServer(results, tmp_path / "rows.json")
    with server.serving(), server.stream("/events") as stream:
        states: dict[str, str] = {}
        while not states or "reading" in states.values():
            states.update({row["name"]: row["state"] for row in stream.next()["rows"]})
        statuses = {name: server.get(f"/runs/{name}/report").status for name in (*_PAGES, *UNREADABLE)}
    assert not (tmp_path / MARK).exists()
    assert {name for name in STRANGERS if states[name] == "damaged"} == UNREADABLE
    assert {name for name, status in statuses.items() if status != 200} == UNREADABLE


def test_a_name_that_is_markup_stays_text(server: UiServer, results: Path) -> None:
    name = "a<b>&'\"%2f"
    shutil.copytree(results / "done", results / name)
    with server.stream("/events") as stream:
        assert name in {row["name"] for row in stream.next()["rows"]}
    page = server.get("/runs/a%3Cb%3E&'%22%252f/report")
    assert page.status == 200
    assert f"<h1>{html.escape(name)}" in page.text.replace("&#34;", "&quot;").replace("&#39;", "&#x27;")


def test_the_pages_name_only_files_that_are_served(server: UiServer) -> None:
    for path in ("/", "/runs/done"):
        page = server.get(path).text
        named = re.findall(r'(?:src|href)="(/static/[^"]+)"', page)
        assert len(named) == 3
        assert {server.get(file).status for file in named} == {200}
        assert not re.findall(r"<script>|<style>|style=|onclick=|https?://", page)
