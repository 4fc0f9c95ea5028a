"""Start Prometheus and Grafana on loopback, with the dashboard of a search: `make dashboard`.

Both are separate programs. Prometheus alone is enough: its own page then draws the dashboard's curves.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from urllib.parse import urlencode

HERE = Path(__file__).resolve().parent
BOARD = HERE / "grafana" / "jouletune.json"
_PLACES = ("/usr/sbin", "/usr/local/bin", "/usr/share/grafana/bin")  # besides PATH: where packages go
_GRAFANA_HOME = Path("/usr/share/grafana")
_MOST_START_S = 60.0
_GET = {
    "prometheus": "prometheus is not installed: apt-get install prometheus",
    "grafana": "grafana is not installed, and Debian does not have it: add its makers' package source, then "
    "apt-get install grafana",
}
_EXAMPLE = """examples:
  make dashboard
  make dashboard ARGS="--prometheus-port 9091"

exit status: 0 ended by Ctrl-C; 1 one of the two ended by itself; 2 no prometheus, or a port is taken"""


@dataclass(frozen=True, kw_only=True)
class Server:
    """A program to start.

    Attributes:
        ready: Address that answers once the program is up.
        says: Text to print then.
    """

    name: str
    command: Sequence[str]
    ready: str
    says: str
    env: Mapping[str, str]


def parser() -> argparse.ArgumentParser:
    """The flags of dashboards/serve.py."""
    flags = argparse.ArgumentParser(
        prog="serve.py",
        description="Start Prometheus and Grafana on 127.0.0.1 for searches that run with --dashboard.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    flags.add_argument("--prometheus-port", type=int, default=9090, metavar="N", help="(default: 9090)")
    flags.add_argument("--grafana-port", type=int, default=3000, metavar="N", help="(default: 3000)")
    flags.add_argument(
        "--data",
        type=Path,
        default=HERE.parent / "results" / ".dashboard",
        metavar="DIR",
        help="where both keep what they fetched, and their logs (default: results/.dashboard)",
    )
    return flags


def main(arguments: Sequence[str]) -> int:
    """Start both programs, print their addresses, and wait; return the exit status."""
    options = parser().parse_args(arguments)
    found = {"prometheus": _found("prometheus"), "grafana": _found("grafana", "grafana-server")}
    for name in (name for name, path in found.items() if path is None):
        print(_GET[name], file=sys.stderr)
    if found["prometheus"] is None:
        return 2
    servers = [prometheus_server(found["prometheus"], options.data.absolute(), options.prometheus_port)]
    ports = {"--prometheus-port": options.prometheus_port}
    if found["grafana"]:
        servers.append(
            grafana_server(found["grafana"], options.data.absolute(), options.grafana_port, servers[0])
        )
        ports["--grafana-port"] = options.grafana_port
    else:
        servers[0] = _with_curves(servers[0])
    if taken := [f"{flag} {port}" for flag, port in ports.items() if _is_taken(port)]:
        print(
            f"in use: {', '.join(taken)}; give another port, or end what has it (Debian starts its own "
            "prometheus at 9090: systemctl stop prometheus)",
            file=sys.stderr,
        )
        return 2
    return _serve(servers, options.data)


def prometheus_server(program: str, data: Path, port: int) -> Server:
    """Prometheus with the scrape configuration beside this file."""
    url = f"http://127.0.0.1:{port}"
    return Server(
        name="prometheus",
        command=(
            program,
            f"--config.file={HERE / 'prometheus.yml'}",
            f"--storage.tsdb.path={data / 'prometheus'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ),
        ready=f"{url}/-/ready",
        says=f"prometheus: {url}",
        env={},
    )


def grafana_server(program: str, data: Path, port: int, prometheus: Server) -> Server:
    """Grafana with the dashboard provisioned, without sign-in and without network requests."""
    url = f"http://127.0.0.1:{port}"
    word = () if program.endswith("-server") else ("server",)
    home = (f"--homepath={_GRAFANA_HOME}",) if _GRAFANA_HOME.is_dir() else ()
    return Server(
        name="grafana",
        command=(program, *word, *home),
        ready=f"{url}/api/health",
        says=f"grafana: {url}/d/jouletune",
        env={
            "GF_SERVER_HTTP_ADDR": "127.0.0.1",
            "GF_SERVER_HTTP_PORT": str(port),
            "GF_PATHS_DATA": str(data / "grafana"),
            "GF_PATHS_LOGS": str(data / "grafana" / "log"),
            "GF_PATHS_PLUGINS": str(data / "grafana" / "plugins"),
            "GF_PATHS_PROVISIONING": str(HERE / "grafana"),
            "GF_AUTH_ANONYMOUS_ENABLED": "true",
            "GF_AUTH_ANONYMOUS_ORG_ROLE": "Viewer",
            "GF_ANALYTICS_REPORTING_ENABLED": "false",
            "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
            "GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES": "false",
            "GF_NEWS_NEWS_FEED_ENABLED": "false",
            "JOULETUNE_PROMETHEUS": prometheus.ready.removesuffix("/-/ready"),
            "JOULETUNE_BOARDS": str(BOARD.parent),
        },
    )


def _with_curves(prometheus: Server) -> Server:
    """The server with a link to Prometheus' own page that shows every curve of the dashboard."""
    panels = json.loads(BOARD.read_text(encoding="utf-8"))["panels"]
    expressions = dict.fromkeys(target["expr"] for panel in panels for target in panel["targets"])
    query = urlencode(
        [
            pair
            for number, expression in enumerate(expressions)
            for pair in ((f"g{number}.expr", expression), (f"g{number}.tab", 0))
        ]
    )
    url = prometheus.ready.removesuffix("/-/ready")
    return Server(**{**vars(prometheus), "says": f"prometheus, with the board's curves: {url}/graph?{query}"})


def _serve(servers: Sequence[Server], data: Path) -> int:
    """Run the servers until Ctrl-C, SIGTERM, or the end of one of them; return the exit status."""
    signal.signal(signal.SIGTERM, _interrupt)
    with ExitStack() as stack:
        try:
            running = {server.name: stack.enter_context(_started(server, data)) for server in servers}
            for server in servers:
                is_ready = _comes_up(server, running[server.name])
                late = "" if is_ready else f" (does not answer yet; its log: {data / f'{server.name}.log'})"
                print(f"{server.says}{late}", flush=True)
            print("searches with --dashboard are seen within 20 s; Ctrl-C ends this", flush=True)
            while all(process.poll() is None for process in running.values()):
                time.sleep(1)
        except KeyboardInterrupt:
            return 0
        ended = next(name for name, process in running.items() if process.poll() is not None)
        print(f"{ended} has ended by itself; its log: {data / f'{ended}.log'}", file=sys.stderr)
        return 1


@contextmanager
def _started(server: Server, data: Path) -> Iterator[subprocess.Popen[bytes]]:
    data.mkdir(parents=True, exist_ok=True)
    with (data / f"{server.name}.log").open("wb") as log:
        process = subprocess.Popen(
            server.command, env={**os.environ, **server.env}, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            yield process
        finally:
            process.terminate()
            process.wait()


def _comes_up(server: Server, process: subprocess.Popen[bytes]) -> bool:
    """Wait until the server answers; return False if it ends first or takes longer than a minute."""
    end_s = time.monotonic() + _MOST_START_S
    while process.poll() is None and time.monotonic() < end_s:
        try:
            with urllib.request.urlopen(server.ready, timeout=2):
                return True
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    return False


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _found(*names: str) -> str | None:
    path = os.pathsep.join((os.environ.get("PATH", ""), *_PLACES))
    return next((program for name in names if (program := shutil.which(name, path=path))), None)


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
        return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
