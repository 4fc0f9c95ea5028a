"""Every contender on every table with every seed, and the resulting regrets."""

from __future__ import annotations

import itertools
import multiprocessing
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote

import numpy as np

from benchmarks.search_quality.contenders import Group, Make, contenders
from benchmarks.search_quality.simulate import Simulation
from benchmarks.search_quality.table import Table
from trainables.curves import Numbers

MEASURES = ("seen", "picked")


@dataclass(frozen=True)
class Job:
    """One search: a contender on a table with a seed."""

    contender: str
    table: str
    seed: int
    num_trainings: int

    def file_in(self, folder: Path) -> Path:
        name = quote(self.contender, safe=" ,:")
        return folder / name / f"{self.table}-{self.num_trainings}-{self.seed}.npz"


@dataclass(frozen=True)
class Outcome:
    """The outcome of one search.

    Attributes:
        regrets: Regret after each epoch spent, (measures, epochs).
        decision_s: CPU seconds per trial handed out.
    """

    regrets: Numbers
    decision_s: float


@dataclass(frozen=True)
class Outcomes:
    """The outcomes of the searches of all seeds.

    Attributes:
        regrets: (seeds, measures, epochs).
        decision_s: (seeds,).
    """

    regrets: Numbers
    decision_s: Numbers


Results = dict[tuple[str, str], Outcomes]  # by contender and table


def measure(
    group: Group,
    tables: Mapping[str, Table],
    *,
    names: Sequence[str],
    num_seeds: int,
    num_trainings: int,
    num_processes: int,
    folder: Path,
) -> None:
    """Run the contenders `names` of `group`, each for the epochs of `num_trainings` full trainings.

    Each outcome is a file in `folder`, so a killed measurement continues. Files are not invalidated when code
    changes: delete the folder of a contender that has changed.
    """
    jobs = [
        job
        for seed in range(num_seeds)
        for table in tables
        for name in names
        if not (job := Job(name, table, seed, num_trainings)).file_in(folder).exists()
    ]
    _made(group)  # imported before the fork, so only once
    work = [(group, job, tables[job.table], folder) for job in jobs]
    with multiprocessing.get_context("fork").Pool(num_processes) as pool:
        for number, _ in enumerate(pool.imap_unordered(_search, work), start=1):
            if number % 100 == 0:
                print(f"{group}: {number} of {len(jobs)} searches", file=sys.stderr, flush=True)


def read(
    names: Sequence[str], tables: Sequence[str], *, num_seeds: int, num_trainings: int, folder: Path
) -> Results:
    """The results of `measure` for each contender, up to the last seed with every table searched."""
    found: Results = {}
    for name in names:
        jobs = [[Job(name, table, seed, num_trainings) for table in tables] for seed in range(num_seeds)]
        whole = list(
            itertools.takewhile(lambda each: all(job.file_in(folder).exists() for job in each), jobs)
        )
        if whole:
            found |= {
                (name, table): _read([each[place] for each in whole], folder)
                for place, table in enumerate(tables)
            }
    return found


def _read(jobs: Sequence[Job], folder: Path) -> Outcomes:
    found: dict[str, list[Numbers]] = defaultdict(list)
    for job in jobs:
        with np.load(job.file_in(folder)) as arrays:
            for name in ("regrets", "decision_s"):
                found[name].append(arrays[name])
    return Outcomes(np.stack(found["regrets"]), np.stack(found["decision_s"]))


@lru_cache
def _made(group: Group) -> dict[str, Make]:
    return contenders(group)


def _search(work: tuple[Group, Job, Table, Path]) -> None:
    group, job, table, folder = work
    outcome = _outcome(_made(group)[job.contender], job, table)
    path = job.file_in(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_suffix(".part.npz")
    np.savez(scratch, regrets=outcome.regrets.astype(np.float32), decision_s=outcome.decision_s)
    scratch.replace(path)


def _outcome(make: Make, job: Job, table: Table) -> Outcome:
    num_epochs = job.num_trainings * table.num_epochs
    trace = Simulation(make(table, job.seed, num_epochs), table).run(num_epochs)
    best_seen, best_full = table.val_accuracy.max(), table.val_accuracy[:, -1].max()
    regrets = np.stack([table.regret(trace.seen, best_seen), table.regret(trace.picked, best_full)])
    return Outcome(regrets, trace.decision_s)
