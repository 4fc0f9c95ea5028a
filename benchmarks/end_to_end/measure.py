"""One search as a process: its epochs, and the processor time of all the processes it started."""

from __future__ import annotations

import bisect
import contextlib
import os
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.end_to_end.ours import OURS
from benchmarks.end_to_end.trace import Epoch, read_epochs
from search.backends.ray.children import descendants

_SAMPLE_EVERY_S = 0.5


@dataclass(frozen=True, kw_only=True)
class Search:
    """One measured search.

    Attributes:
        load: The machine's load average beforehand, which shows how far to trust the minutes.
        ends: Minutes and CPU seconds from the command to the end of each epoch, and to the end of the search.
    """

    who: str
    data: str
    seed: int
    load: float
    epochs: list[Epoch]
    ends: list[tuple[float, float]]


@dataclass
class ProcessorTime:
    """CPU seconds of this process's descendants, sampled while the block runs.

    A process's last half second may be missing.
    """

    times: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    _of_pid: dict[int, float] = field(default_factory=dict)
    _is_over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> ProcessorTime:
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._is_over.set()
        self._thread.join()

    def until(self, at: float) -> float:
        """CPU seconds used until this moment."""
        place = bisect.bisect_right(self.times, at)
        return self.cpu_s[min(place, len(self.cpu_s) - 1)]

    def _sample(self) -> None:
        while not self._is_over.wait(_SAMPLE_EVERY_S):
            for pid in descendants(os.getpid()):
                with contextlib.suppress(OSError):  # it has ended
                    self._of_pid[pid] = _cpu_s(pid)
            self.times.append(time.time())
            self.cpu_s.append(sum(self._of_pid.values()))


def _cpu_s(pid: int) -> float:
    """CPU seconds of the process alone: the children it waited for were counted while they lived."""
    fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(who: str, data: Path, seed: int) -> Search:
    """Run a search to its end.

    Raises:
        SystemExit: The search failed; carries the end of its output.
    """
    module = "ours" if who in OURS else "peers"
    with tempfile.TemporaryDirectory() as folder, ProcessorTime() as used:
        trace, started, load = Path(folder) / "trace.jsonl", time.time(), os.getloadavg()[0]
        command = [
            sys.executable,
            "-m",
            f"benchmarks.end_to_end.{module}",
            who,
            str(data),
            str(trace),
            str(seed),
        ]
        # Else stock Ray writes a token into the home folder, and waits for a cluster once started here.
        env = {**os.environ, "RAY_AUTH_TOKEN": secrets.token_hex(16), "RAY_ADDRESS": "local"}
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
        epochs = read_epochs(trace)
    moments = [*(epoch.at for epoch in epochs), time.time()]
    ends = [((at - started) / 60, used.until(at)) for at in moments]
    return Search(who=who, data=data.name, seed=seed, load=load, epochs=epochs, ends=ends)
