"""Processes that make and use a file of the cache, one step at a time as the test decides."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NUM_BYTES, NUM_PARTS = 4096, 4
_ANSWER_S = 60

# Fills a quarter per line on its standard input; `reports_progress` decides whether it reports its progress.
_USER = """
import pathlib, sys
from trainables.engine.cache_folder import CacheFolder
from trainables.engine.cache_lock import CacheUnavailable
folder, name, num_bytes, num_parts, reports_progress, stalled_s = sys.argv[1:]
size = int(num_bytes) // int(num_parts)

def fractions(content):
    print("found", sum(bool(content[part * size]) for part in range(int(num_parts))), flush=True)
    for part in range(int(num_parts)):
        if content[part * size]:
            continue
        sys.stdin.readline()
        content[part * size : (part + 1) * size] = 7
        yield (part + 1) / int(num_parts)
        print("filled", part + 1, flush=True)

def fill(content):
    if reports_progress == "True":
        return fractions(content)
    for _ in fractions(content):
        pass

try:
    kept = CacheFolder(pathlib.Path(folder), stalled_s=float(stalled_s)).file(name, int(num_bytes), fill)
    print("given", int(kept.content.sum()), flush=True)
    sys.stdin.readline()  # trains
except CacheUnavailable as error:
    print("without", error, flush=True)
"""


class CacheUser:
    """A process that requests a file."""

    def __init__(self, folder: Path, name: str, *, reports_progress: bool, stalled_s: float) -> None:
        args = [str(folder), name, str(NUM_BYTES), str(NUM_PARTS), str(reports_progress), str(stalled_s)]
        self._process = subprocess.Popen(
            [sys.executable, "-c", _USER, *args], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.pid = self._process.pid

    def heard(self) -> str:
        """The next line that it prints."""
        assert self._process.stdout
        return self._process.stdout.readline().rstrip("\n")

    def release(self, lines: int = 1) -> None:
        """Let it fill this many parts, or end its training."""
        assert self._process.stdin
        self._process.stdin.write("\n" * lines)
        self._process.stdin.flush()

    def fill_parts(self, number: int) -> str:
        """Let it fill this many parts; return the last line that it prints about them."""
        line = ""
        for _ in range(number):
            self.release()
            line = self.heard()
        return line

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def end(self) -> None:
        self._process.kill()
        self._process.communicate(timeout=_ANSWER_S)


@contextmanager
def cache_users(
    folder: Path, *names: str, reports_progress: bool = True, stalled_s: float = 60.0
) -> Iterator[list[CacheUser]]:
    """Start one process per name, one after the other; kill them all at the end."""
    users = [
        CacheUser(folder, name, reports_progress=reports_progress, stalled_s=stalled_s) for name in names
    ]
    try:
        yield users
    finally:
        for user in users:
            user.end()
