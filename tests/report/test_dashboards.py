"""The board of `make dashboard`, what feeds it, and the message when a program is missing."""

from __future__ import annotations

import contextlib
import http.server
import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from itertools import combinations
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from search.backends.ray.prometheus import GAUGES
from tests.support.ray_clusters import free_port

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "dashboards"
BOARD = json.loads((FOLDER / "grafana" / "jouletune.json").read_text())
PANELS: list[dict[str, Any]] = BOARD["panels"]
TARGETS = [target for panel in PANELS for target in panel["targets"]]


def loaded() -> ModuleType:
    spec = importlib.util.spec_from_file_location("serve", FOLDER / "serve.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["serve"] = module
    spec.loader.exec_module(module)
    return module


serve = loaded()


def test_every_expression_asks_for_a_gauge_that_there_is_and_every_gauge_is_asked_for() -> None:
    asked = {name for target in TARGETS for name in re.findall(r"ray_jouletune_(\w+)", target["expr"])}
    assert asked == set(GAUGES)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target["expr"])
def test_a_curve_is_named_by_the_tags_of_its_gauge(target: dict[str, str]) -> None:
    (name,) = set(re.findall(r"ray_jouletune_(\w+)", target["expr"])) - {"limit_kwh"}
    tags = list(GAUGES[name][1])
    assert re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]) == tags
    by = f"max by ({', '.join(tags)}) (" if tags else "max("
    assert target["expr"].startswith(f"{by}ray_jouletune_{name})")


def test_panels_have_titles_units_words_and_a_place_of_their_own() -> None:
    assert [panel["id"] for panel in PANELS] == list(range(1, 9))
    assert all(panel["title"] and panel["description"] for panel in PANELS)
    assert {panel["fieldConfig"]["defaults"]["unit"] for panel in PANELS} == {
        *("watt", "joule", "kwatth", "percentunit", "none"),
    }
    places = [panel["gridPos"] for panel in PANELS]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    for one, other in combinations(places, 2):
        is_apart = any(
            first[axis] + first[size] <= second[axis]
            for axis, size in (("x", "w"), ("y", "h"))
            for first, second in ((one, other), (other, one))
        )
        assert is_apart, (one, other)


def test_the_board_asks_the_data_source_that_is_provisioned() -> None:
    provisioned = (FOLDER / "grafana" / "datasources" / "prometheus.yml").read_text()
    assert "uid: jouletune\n" in provisioned
    assert {panel["datasource"]["uid"] for panel in PANELS} == {"jouletune"}


def test_both_listen_on_loopback_alone() -> None:
    prometheus = serve.prometheus_server("/usr/bin/prometheus", Path("/data"), 9090)
    grafana = serve.grafana_server("/usr/sbin/grafana-server", Path("/data"), 3000, prometheus)
    assert "--web.listen-address=127.0.0.1:9090" in prometheus.command
    assert grafana.env["GF_SERVER_HTTP_ADDR"] == "127.0.0.1"
    assert grafana.env["JOULETUNE_PROMETHEUS"] == "http://127.0.0.1:9090"
    assert grafana.command[:1] == ("/usr/sbin/grafana-server",)
    assert serve.grafana_server("/usr/sbin/grafana", Path("/data"), 3000, prometheus).command[1] == "server"


def test_what_is_missing_is_reported_in_a_line_each(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(serve, "_found", lambda *names: None)
    assert serve.main([]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "prometheus is not installed: apt-get install prometheus",
        "grafana is not installed, and Debian does not have it: add its makers' package source, then "
        "apt-get install grafana",
    ]


def test_a_port_that_is_taken_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(serve, "_found", lambda *names: "/usr/bin/prometheus" if len(names) == 1 else None)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert serve.main([f"--prometheus-port={port}"]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"in use: --prometheus-port {port}; give ")


class Exporter(http.server.BaseHTTPRequestHandler):
    """Answers as a node's metrics endpoint does."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'ray_jouletune_trials{status="finished",SessionName="one"} 7\n')

    def log_message(self, *_: object) -> None:
        """Nothing."""


def test_a_server_that_does_not_answer_is_not_reported_to(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(serve, "_MOST_START_S", 0.0)
    monkeypatch.setattr(serve.signal, "signal", lambda *_: None)  # this process keeps its own handlers
    ends = "import time; time.sleep(0.5)"
    server = serve.prometheus_server("unused", tmp_path, free_port())
    silent = serve.Server(**{**vars(server), "command": (sys.executable, "-c", ends)})
    assert serve._serve([silent], tmp_path) == 1
    out, err = capsys.readouterr()
    assert f"{server.says} (does not answer yet; its log: {tmp_path}/prometheus.log)\n" in out
    assert err == f"prometheus has ended by itself; its log: {tmp_path}/prometheus.log\n"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("prometheus") is None, reason="needs Debian's package prometheus")
def test_prometheus_fetches_a_gauge_through_the_file_that_ray_leaves(tmp_path: Path) -> None:
    exporter = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Exporter)
    threading.Thread(target=exporter.serve_forever, daemon=True).start()
    folder = shutil.copytree(FOLDER, tmp_path / "dashboards")
    discovery = tmp_path / "prom_metrics_service_discovery.json"
    discovery.write_text(json.dumps([{"targets": [f"127.0.0.1:{exporter.server_port}"]}]))
    settings = folder / "prometheus.yml"
    text = settings.read_text()
    assert "/tmp/ray/prom_metrics_service_discovery.json" in text
    text = text.replace("/tmp/ray/prom_metrics_service_discovery.json", str(discovery))
    settings.write_text(text.replace("10s", "1s"))
    port = free_port()
    command = [
        sys.executable,
        str(folder / "serve.py"),
        f"--prometheus-port={port}",
        f"--data={tmp_path}/data",
    ]
    only_prometheus = {**os.environ, "PATH": str(Path(shutil.which("prometheus") or "").parent)}
    serving = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=only_prometheus, start_new_session=True
    )
    try:
        assert serving.stdout
        lines = iter(serving.stdout.readline, "")
        assert any("searches with --dashboard are seen" in line for line in lines)
        query = f"http://127.0.0.1:{port}/api/v1/query?query=ray_jouletune_trials"
        answers: Any = (json.load(urllib.request.urlopen(query, timeout=10)) for _ in range(100_000))
        found = next(answer["data"]["result"] for answer in answers if answer["data"]["result"])
        serving.send_signal(signal.SIGTERM)
        assert serving.wait(60) == 0
    finally:
        with contextlib.suppress(ProcessLookupError):  # nothing is left where all went well
            os.killpg(serving.pid, signal.SIGKILL)
        exporter.shutdown()
    assert (found[0]["metric"]["status"], found[0]["value"][1]) == ("finished", "7")
