"""Real Ray nodes for tests on this machine, each a raylet with an environment of its own."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from search.backends.ray.children import descendants

_RAY = Path(sys.executable).with_name("ray")
_GUIDE = Path(__file__).parents[2] / "docs/cluster.md"


def cluster_env() -> dict[str, str]:
    """The environment of docs/cluster.md, whose nodes and drivers can join only each other."""
    (line,) = re.findall(r"^export RAY_AUTH.*$", _GUIDE.read_text(), flags=re.MULTILINE)
    path = f"{_RAY.parent}{os.pathsep}{os.environ['PATH']}"
    made = subprocess.run(
        ["bash", "-euc", f"{line}; env -0"], env={**os.environ, "PATH": path}, capture_output=True, check=True
    )
    exported = dict(each.split("=", 1) for each in made.stdout.decode().split("\0") if each)
    token = {name: value for name, value in exported.items() if name.startswith("RAY_AUTH_")}
    return {**os.environ, **token, "NO_COLOR": "1"}


@contextlib.contextmanager
def head_node(env: Mapping[str, str], *flags: str) -> Iterator[str]:
    """Run a head node until the block ends, and provide its address."""
    port = free_port()
    session = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # paths of sockets are limited to 107 bytes
    mine = ("--head", f"--port={port}", f"--temp-dir={session}", "--include-dashboard=false")
    try:
        with _raylet(env, *mine, "--node-ip-address=127.0.0.1", *flags):
            _wait_for(port)
            yield f"127.0.0.1:{port}"
    finally:
        shutil.rmtree(session, ignore_errors=True)


@contextlib.contextmanager
def another_node(address: str, env: Mapping[str, str], *flags: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a node that joins the cluster; its process leads a group of its own, so it can be killed."""
    with _raylet(env, f"--address={address}", "--node-ip-address=127.0.0.2", *flags) as node:
        yield node


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def _raylet(env: Mapping[str, str], *flags: str) -> Iterator[subprocess.Popen[bytes]]:
    node = subprocess.Popen(
        [_RAY, "start", "--block", "--disable-usage-stats", *flags],
        env=dict(env),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield node
    finally:
        end_group(node, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            node.wait(10)
        end_group(node, signal.SIGKILL)
        node.wait(10)


def end_group(node: subprocess.Popen[Any], number: signal.Signals) -> None:
    """Send a signal to the node and to all processes it started, as when a machine loses power.

    Workers that outlive their raylet keep training for 2 to 10 s: an epoch or a whole trial more.
    """
    for pid in [*descendants(node.pid), node.pid]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _wait_for(port: int) -> None:
    for _ in range(300):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.1)
    raise TimeoutError(f"no head node answers at port {port}")
