"""Every contender on every table with every seed, and the regrets that come of it."""

from __future__ import annotations

import multiprocessing
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.search_quality.contenders import Group, Make, contenders
from benchmarks.search_quality.simulate import Simulation
from benchmarks.search_quality.table import load_table
from trainables.curves import Numbers

MEASURES = ("seen", "picked")


@dataclass(frozen=True)
class Job:
    group: Group
    contender: str
    table: Path
    seed: int
    num_trainings: int


# Regret after each epoch spent, by (contender, table): (seeds, measures, epochs).
Regrets = dict[tuple[str, str], Numbers]


def save(regrets: Regrets, path: Path) -> None:
    """Write what `load` reads: the way from the peers' environment to this one."""
    arrays: dict[str, Any] = {"\t".join(key): values for key, values in regrets.items()}
    np.savez(path, **arrays)


def load(path: Path) -> Regrets:
    """What was saved in `path`."""
    with np.load(path) as arrays:
        return {(name, table): arrays[key] for key in arrays for name, table in [key.split("\t")]}


def measure(
    group: Group, tables: Sequence[Path], *, num_seeds: int, num_trainings: int, num_processes: int
) -> Regrets:
    """Run every contender of `group`, each for the epochs of `num_trainings` full trainings."""
    names = list(_made(group))  # imported before the fork, so once
    seeds = range(num_seeds)
    jobs = [
        Job(group, name, table, seed, num_trainings) for table in tables for name in names for seed in seeds
    ]
    found: dict[tuple[str, str], list[Numbers]] = defaultdict(list)
    with multiprocessing.get_context("fork").Pool(num_processes) as pool:
        outcomes = zip(jobs, pool.imap(_regrets, jobs, chunksize=4), strict=True)
        for number, (job, outcome) in enumerate(outcomes, start=1):
            found[job.contender, job.table.stem].append(outcome)
            if number % 100 == 0:
                print(f"{group}: {number} of {len(jobs)} searches", file=sys.stderr, flush=True)
    return {key: np.stack(runs) for key, runs in found.items()}


@lru_cache
def _made(group: Group) -> dict[str, Make]:
    return contenders(group)


def _regrets(job: Job) -> Numbers:
    """Regrets of one search, (measures, epochs)."""
    table = load_table(job.table)
    num_epochs = job.num_trainings * table.num_epochs
    contender = _made(job.group)[job.contender](table, job.seed, num_epochs)
    trace = Simulation(contender, table).run(num_epochs)
    best_seen, best_full = table.val_accuracy.max(), table.val_accuracy[:, -1].max()
    return np.stack([table.regret(trace.seen, best_seen), table.regret(trace.picked, best_full)])
