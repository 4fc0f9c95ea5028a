"""Processes of tests: the project's scripts as a user would type them, in another folder."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]


def ran(*command: object, folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, with these variables added to the environment."""
    return subprocess.run(
        list(map(str, command)),
        cwd=folder,
        env={**os.environ, "NO_COLOR": "1", **env},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def typed(name: str, *arguments: object, folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the script of this name to its end."""
    return ran(*script(name), *arguments, folder=folder, **env)


def begun(name: str, *arguments: object, folder: Path, **env: str) -> subprocess.Popen[str]:
    """Start the script of this name, with its output and errors in one stream."""
    return subprocess.Popen(
        [*script(name), *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "NO_COLOR": "1", **env},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def script(name: str) -> tuple[str, str]:
    return sys.executable, str(ROOT / "scripts" / f"{name}.py")


def ended_process() -> int:
    """The pid of a process that has ended."""
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    return done.pid


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def wait_for(condition: Callable[[], bool], *, most_s: float = 60.0, every_s: float = 0.01) -> None:
    end_s = time.monotonic() + most_s
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(every_s)
