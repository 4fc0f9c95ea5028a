"""Torture a search: kill it, fail its disk and damage its files thousands of times, and count its losses.

    make torture ARGS="--minutes 30 --seed 7"

Each scenario is a function of its seed. Findings are printed with the command that repeats the scenario.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

# Imported before anything is forked, or each session would pay for the imports.
import optuna  # noqa: F401
import ray  # noqa: F401
import scipy.stats  # noqa: F401
import torch

from tests.support.torture_findings import Finding, Outcome
from tests.support.torture_scenario import Played, Scenario

KINDS = ("lost", "doubled", "ghost", "other")
_PROGRESS_S = 30.0
_MOST_SHOWN = 20


def main(words: list[str] | None = None) -> int:
    """Play scenarios for the requested time and return the exit status: 0 if nothing was found."""
    options = _parser().parse_args(words)
    torch.set_num_threads(1)
    seeds = [options.only] if options.only is not None else _seeds(options)
    total = Total()
    end_s = time.monotonic() + options.minutes * 60 if options.scenarios is None else None
    for played in played_in_parallel(seeds, options.processes, end_s):
        total.add(played)
        for finding in played.findings[: max(0, _MOST_SHOWN - total.num_shown)]:
            total.show(played.seed, finding)
        if total.is_progress_due():
            print(total.line(), flush=True)
    print(total.table())
    return 1 if total.has_findings else 0


def _seeds(options: argparse.Namespace) -> Iterator[int] | range:
    if options.scenarios is not None:
        return range(options.seed, options.seed + options.scenarios)
    return itertools.count(options.seed)


def _parser() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(prog="torture.py", description=str(__doc__).partition("\n")[0])
    flags.add_argument("--minutes", type=float, default=10.0, help="how long (default: %(default)g)")
    flags.add_argument(
        "--scenarios", type=int, metavar="N", help="number of scenarios, however long they take"
    )
    flags.add_argument(
        "--seed", type=int, default=0, help="of the first scenario; each has the next (default: 0)"
    )
    flags.add_argument("--only", type=int, metavar="SEED", help="the scenario of this seed alone")
    flags.add_argument(
        "--processes", type=int, default=os.cpu_count() or 1, help="at a time (default: one a core)"
    )
    return flags


class Total:
    """Counts of what all scenarios did and found."""

    def __init__(self) -> None:
        self._began_s = self._reported_s = time.monotonic()
        self._num_scenarios = self._num_sessions = self.num_shown = 0
        self._kills: Counter[str] = Counter()
        self._faults: Counter[str] = Counter()
        self._damages: Counter[str] = Counter()
        self._found: Counter[str] = Counter()

    @property
    def has_findings(self) -> bool:
        return bool(self._found)

    def add(self, played: Played) -> None:
        self._num_scenarios += 1
        self._num_sessions += played.num_sessions
        self._kills += played.kills
        self._faults += played.faults
        self._damages += played.damages
        self._found += Counter(finding.kind for finding in played.findings)

    def show(self, seed: int, finding: Finding) -> None:
        self.num_shown += 1
        print(f"{finding.kind.upper()} in scenario {seed}: {finding.text}")
        print(f'again: make torture ARGS="--only {seed}"\n', flush=True)

    def is_progress_due(self) -> bool:
        now_s = time.monotonic()
        if now_s - self._reported_s < _PROGRESS_S:
            return False
        self._reported_s = now_s
        return True

    def line(self) -> str:
        minutes = (time.monotonic() - self._began_s) / 60
        return f"{minutes:5.1f} min  " + "  ".join(
            f"{count:,} {name}" for name, count in self._counts().items()
        )

    def table(self) -> str:
        parts = [("kills", self._kills), ("faults", self._faults), ("damages", self._damages)]
        lines = [
            f"{name}:" + "".join(f"\n  {n:7,} {what}" for what, n in each.most_common())
            for name, each in parts
        ]
        return "\n".join([*lines, "", *(f"{name:10} {count:,}" for name, count in self._counts().items())])

    def _counts(self) -> dict[str, int]:
        return {
            "scenarios": self._num_scenarios,
            "sessions": self._num_sessions,
            "kills": self._kills.total(),
            "faults": self._faults.total(),
            "damages": self._damages.total(),
            "lost": self._found["lost"],
            "doubled": self._found["doubled"],
            "ghosts": self._found["ghost"],
            "others": self._found["other"],
        }


def played_in_parallel(
    seeds: Iterator[int] | range | list[int], num_processes: int, end_s: float | None
) -> Iterator[Played]:
    """Yield the scenarios of `seeds` as they end; none starts after `end_s` on the monotonic clock."""
    context = multiprocessing.get_context("fork")
    coming = iter(seeds)
    pipes: list[Connection] = []
    for _ in range(num_processes):
        here, there = context.Pipe()
        pipes.append(here)
        context.Process(target=_play_all, args=(there, tuple(pipes)), daemon=True).start()
        there.close()
    busy = [pipe for pipe in pipes if _give(pipe, coming, end_s)]
    while busy:
        for pipe in wait(busy):
            assert isinstance(pipe, Connection)
            yield pipe.recv()
            if not _give(pipe, coming, end_s):
                busy.remove(pipe)
    for pipe in pipes:
        pipe.close()


def _give(pipe: Connection, seeds: Iterator[int], end_s: float | None) -> bool:
    is_over = end_s is not None and time.monotonic() >= end_s
    seed = None if is_over else next(seeds, None)
    pipe.send(seed)
    return seed is not None


def _play_all(pipe: Connection, inherited: Sequence[Connection]) -> None:
    for other in inherited:
        other.close()  # so that a killed command is noticed here
    undisturbed: dict[tuple[str, int], Outcome] = {}
    with contextlib.suppress(EOFError, BrokenPipeError):
        while (seed := pipe.recv()) is not None:
            pipe.send(play(seed, undisturbed))


def play(seed: int, undisturbed: dict[tuple[str, int], Outcome]) -> Played:
    """Play the scenario of this seed in a temporary folder."""
    # A kill loses nothing that was written, in memory or on disk; on disk a session takes twice as long.
    where = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="torture-", dir=where if os.access(where, os.W_OK) else None))
    try:
        return Scenario(seed, folder, undisturbed).play()
    except Exception:  # any error fails the torture with its traceback, and the next seeds are still played
        text = f"the scenario did not come to its end:\n{traceback.format_exc()}"
        return Played(seed, findings=[Finding("other", text)])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
