"""CUDA's Multi-Process Service (MPS): processes that share a GPU compute at the same time, not in turns.

Without it the kernels of two trials on one GPU never overlap: each waits while the other's run, however
little of the GPU they fill. With it they go through one server, which a daemon of the driver starts. The
daemon is started for a search and ended after it. A daemon that is already running belongs to someone else:
it is used, and left running.

If there can be no daemon, the search runs without it and says why.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

_CONTROL = "nvidia-cuda-mps-control"
_PIPES, _LOGS = "CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY"
_DEFAULT_PIPES = "/tmp/nvidia-mps"
_ANSWER_S = 20.0  # the daemon starts within a second
_INSTEAD = "trials that share a GPU take turns to compute"

Say = Callable[[str], None]


@contextmanager
def mps(*, say: Say, warn: Say, num_gpus: int, is_here: bool = True) -> Iterator[None]:
    """Let processes started within the block compute at the same time on this machine's GPUs.

    Args:
        say: Called with what was started or found.
        warn: Called with why there is no daemon.
        num_gpus: GPUs that trials may use here.
        is_here: Whether the trials run on this machine.
    """
    if reason := _missing_reason(num_gpus, is_here):
        warn(f"mps: auto: {reason}; {_INSTEAD}")
        yield
        return
    if _answers(os.environ):
        pipes = os.environ.get(_PIPES, _DEFAULT_PIPES)
        say(f"mps: a daemon runs already (its pipes are in {pipes}): trials use it, and it is left running")
        yield
        return
    # Not the default place, so that no other user's program finds this daemon.
    with tempfile.TemporaryDirectory(prefix="jouletune-mps-", ignore_cleanup_errors=True) as folder:
        added = {_PIPES: str(Path(folder, "pipes")), _LOGS: str(Path(folder, "logs"))}
        if reason := _start(added):
            warn(f"mps: auto: {reason}; {_INSTEAD}")
            yield
            return
        say(
            f"mps: {_CONTROL} was started: trials on one GPU compute at the same time; "
            "it ends with the search"
        )
        with _environment(added):
            try:
                yield
            finally:
                _end(warn)


def _missing_reason(num_gpus: int, is_here: bool) -> str:
    """Return why no daemon is started here; empty if starting one may be tried."""
    if not is_here:
        return (
            f"it is started only on this machine; on a cluster run {_CONTROL} -d on each node before its "
            "Ray is started"
        )
    if not num_gpus:
        return "there is no GPU here"
    if not shutil.which(_CONTROL):
        return f"{_CONTROL} is not on PATH; it comes with NVIDIA's driver (in a container: with the host's)"
    return ""


def _start(added: Mapping[str, str]) -> str:
    """Start a daemon with these settings and return why it failed; empty if it runs."""
    for path in added.values():
        Path(path).mkdir()
    # The daemon numbers the GPUs it sees, and its clients choose by these numbers: it must see them all.
    environ = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    try:
        done = _run(["-d"], {**environ, **added})
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{_CONTROL} does not start ({type(error).__name__})"
    if done.returncode == 0 and _answers({**environ, **added}):
        return ""
    with suppress(OSError, subprocess.TimeoutExpired):  # in case it started but does not answer
        _run([], {**environ, **added}, "quit\n")
    said = [*done.stderr.split("\n"), *done.stdout.split("\n"), *_log_lines(added)]
    why = next((line.strip() for line in said if line.strip()), f"it exited with status {done.returncode}")
    return f"{_CONTROL} does not start: {why}"


def _log_lines(added: Mapping[str, str]) -> list[str]:
    """Return the lines of the daemon's log, last line first."""
    with suppress(OSError):
        return Path(added[_LOGS], "control.log").read_text(errors="replace").splitlines()[::-1]
    return []


def _answers(environ: Mapping[str, str]) -> bool:
    """Return whether a daemon answers at the place these settings name."""
    try:
        return _run([], environ, "get_server_list\n").returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _end(warn: Say) -> None:
    try:
        done = _run([], os.environ, "quit\n")
    except (OSError, subprocess.TimeoutExpired) as error:
        what = f"the daemon was told to end and did not answer ({type(error).__name__})"
        warn(f"mps: {what}; its pipes were in {os.environ[_PIPES]}")
        return
    if done.returncode:
        warn(
            f"mps: the daemon had ended before the search did: {done.stderr.strip() or 'it does not say why'}"
        )


def _run(flags: list[str], environ: Mapping[str, str], words: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [_CONTROL, *flags], input=words, env=dict(environ), capture_output=True, text=True, timeout=_ANSWER_S
    )


@contextmanager
def _environment(added: Mapping[str, str]) -> Iterator[None]:
    """Set the variables for the block, in which Ray and its workers are started."""
    before = {name: os.environ.get(name) for name in added}
    os.environ.update(added)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            os.environ.update({} if value is None else {name: value})
