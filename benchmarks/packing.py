"""Trials per hour when memory is the limit: one at a time, a fixed number, and packed by each trial's need.

    make bench-packing
    python -m benchmarks.packing [--memory-gib 5] [--epochs 5] [--backend ray-core]

Twelve trials of three sizes, in mixed order, under a limit on the node's memory. They hold memory and wait
(`holding.py`), as GPU trials do on the CPU: on two cores, trials that compute would wait for a core however
much memory there is. The fixed number is what a careful user would set: as many as fit if all were of the
largest size. The memory held by all workers together is sampled during each search.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from search.backends.ray.children import descendants
from search.backends.ray.memory_watch import own_mib
from search.backends.room import USABLE
from search.ledger import Ledger

ROOT = Path(__file__).parents[1]
_SIZES_MIB = (150, 1600, 500, 150, 500, 1600, 150, 500, 150, 1600, 500, 1600)
_WORKER_MIB = 400  # a worker with torch loaded, without what its trial holds
_CORES = 0.15  # none of these trials computes
_SAMPLE_S = 0.5


@dataclass(frozen=True)
class Outcome:
    """The outcome of one search.

    Attributes:
        seconds: From the first trial's proposal to the last trial's end.
        peak_mib: The most memory that all workers held together.
        most_at_once: The largest number of trials that trained at the same time.
    """

    seconds: float
    peak_mib: float
    most_at_once: int
    num_finished: int
    num_failed_attempts: int
    num_moves: int


class Workers:
    """Samples the memory of all Ray workers below a process together, idle ones included."""

    def __init__(self, root: int) -> None:
        self.peak_mib = 0.0
        self._root, self._is_over = root, threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._is_over.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._is_over.wait(_SAMPLE_S):
            workers = [pid for pid in descendants(self._root) if _title(pid).startswith("ray::")]
            self.peak_mib = max(self.peak_mib, own_mib(workers) or 0.0)


def _title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def search(folder: Path, name: str, resources: dict[str, Any], *, epochs: int, backend: str) -> Outcome:
    """Run the search of all trials with these resources."""
    space = {
        "parameters": {"size_mib": {"values": sorted(set(_SIZES_MIB))}, "lr": {"min": 0.0, "max": 1.0}},
        "search": {
            "trainable": str(ROOT / "benchmarks/holding.py"),
            "data": "none",
            "ladder": {"epochs": [epochs]},
            "scheduler": {"mode": "none"},
            "trials": [{"size_mib": size, "lr": number / 100} for number, size in enumerate(_SIZES_MIB, 1)],
            "resources": {"cpus_per_trial": _CORES, **resources},
        },
    }
    file = folder / f"{name}.yaml"
    file.write_text(json.dumps(space))
    words = [sys.executable, "scripts/search.py", "--space", str(file), "--name", name, "--no-report"]
    words += ["--results", str(folder / "results"), "--backend", backend, "--skip-preflight"]
    with subprocess.Popen(
        words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as run:
        workers = Workers(run.pid)
        said = run.communicate()[0]
        workers.close()
    if run.returncode:
        raise SystemExit(f"the search {name} failed:\n{said}")
    return _outcome(folder / "results" / name, workers.peak_mib)


def _outcome(run: Path, peak_mib: float) -> Outcome:
    ledger = Ledger.open(run)
    events = ledger.events()
    trials = ledger.read_history().trials.values()
    begin_s = next(event["time"] for event in events if event["event"] == "trial_asked")
    end_s = max(event["time"] for event in events if event["event"] == "trial_ended")
    return Outcome(
        seconds=end_s - begin_s,
        peak_mib=peak_mib,
        most_at_once=_most_at_once(events),
        num_finished=sum(trial.status == "finished" for trial in trials),
        num_failed_attempts=sum(len(trial.failures) for trial in trials),
        num_moves=sum(len(trial.moves) for trial in trials),
    )


def _most_at_once(events: list[dict[str, Any]]) -> int:
    """The largest number of trials whose epochs overlapped; an epoch lasts `seconds` up to its report."""
    rows = [(event["time"], event["row"]) for event in events if event["event"] == "epoch"]
    spans = [(at - row["seconds"], at) for at, row in rows]
    counts: list[int] = [sum(begin < at <= end for begin, end in spans) for _, at in spans]
    return max(counts)


def main() -> int:
    """Print a line for each way of sharing the memory, and the ratios of trials per hour."""
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("--memory-gib", type=float, default=5.0, metavar="GIB")
    flags.add_argument("--epochs", type=int, default=5, help="of 8 s each")
    flags.add_argument("--backend", choices=("ray", "ray-core"), default="ray")
    options = flags.parse_args()
    usable_mib = USABLE * options.memory_gib * 1024
    fixed = max(1, int(usable_mib // (max(_SIZES_MIB) + _WORKER_MIB)))
    ways: dict[str, dict[str, Any]] = {
        "one at a time": {"workers": 1},
        f"fixed: {fixed} at a time": {"workers": fixed},
        "packed": {"pack": "memory", "memory_gib": options.memory_gib},
    }
    print(
        f"{len(_SIZES_MIB)} trials that wait {options.epochs * 8} s each and hold {sorted(set(_SIZES_MIB))} "
        f"MiB; {options.memory_gib:g} GiB, of which 90 % are {usable_mib:.0f} MiB; {options.backend}, "
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    )
    per_hour: dict[str, float] = {}
    with TemporaryDirectory(prefix="jouletune-packing-") as folder:
        for number, (way, resources) in enumerate(ways.items()):
            found = search(
                Path(folder), f"run-{number}", resources, epochs=options.epochs, backend=options.backend
            )
            per_hour[way] = 3600 * found.num_finished / found.seconds
            print(
                f"{way:20} {per_hour[way]:6.1f} trials/h  {found.seconds:5.0f} s  "
                f"finished {found.num_finished}  failed attempts {found.num_failed_attempts}  "
                f"moved {found.num_moves}  at once {found.most_at_once}  "
                f"workers held at most {found.peak_mib:.0f} MiB",
                flush=True,
            )
    one, by_number, packed = per_hour.values()
    print(
        f"packed against one at a time {packed / one:.2f}, against the fixed number {packed / by_number:.2f}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
