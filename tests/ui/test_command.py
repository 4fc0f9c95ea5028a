"""jouletune ui."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from search import cli
from search.ledger import Ledger
from tests.support.processes import ROOT


def command(*words: object, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(ROOT / "scripts/ui.py"), *map(str, words)],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_it_prints_an_address_that_opens_and_ends_with_one_line(tmp_path: Path) -> None:
    run = Ledger.create(tmp_path / "run").folder  # a run's own folder: its page is the one to open
    running = command(run, "--no-browser", "--port", 0, "--host", "0.0.0.0", folder=tmp_path)
    assert running.stdout
    printed = [running.stdout.readline() for _ in range(4)]
    assert printed[0].startswith(
        "warning: listening on 0.0.0.0: anyone who can reach this port and has the t"
    )
    assert printed[1] == f"the runs in {tmp_path}, live:\n"
    address = printed[2].strip()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/runs/run\?token=[\w-]{43}", address)
    assert printed[3] == "Ctrl-C stops this server; searches are not affected\n"
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    with opener.open(address, timeout=60) as answer:
        assert answer.url == address.partition("?")[0]
        assert "<title>run</title>" in answer.read().decode()
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert (running.returncode, err) == (0, "")
    assert out == "stopped serving the pages; searches are not affected\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "nowhere is not a folder; give the one that has the runs\n"),
        (["s3://bucket/runs"], "jouletune fetch s3://bucket/runs/NAME"),
        ([".", "--host", "192.0.2.1", "--port", "0"], "cannot listen on 192.0.2.1 port 0: "),
    ],
)
def test_what_cannot_be_served_is_one_message(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run("ui", words) == 2
    assert message in capsys.readouterr().err


def test_a_port_that_is_taken_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert cli.run("ui", [".", "--port", str(port)]) == 2
    assert capsys.readouterr().err == (
        f"cannot listen on 127.0.0.1 port {port}: Address already in use; --port 0 takes a free one\n"
    )


@pytest.mark.parametrize("port", ["-1", "65536", "x"])
def test_a_port_is_a_number(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.run("ui", [f"--port={port}"])
    assert "must be a whole number from 0 to 65535" in capsys.readouterr().err
