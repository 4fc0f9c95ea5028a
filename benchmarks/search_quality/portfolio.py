"""The value of earlier searches: each table of LCBench with a portfolio from 1, 2 and 7 other tables.

python -m benchmarks.search_quality.portfolio --curves FOLDER    # as for benchmarks.search_quality

An earlier run is one search of ours (the default, asha) of another table, with its own seed and the epochs of
ten full trainings; only what it saw is used, not the whole table. The tables of LCBench have the same
configurations on different data sets. Each seed draws other earlier tables and makes other searches.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # as in __main__

import argparse
import multiprocessing
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.search_quality.conclusion import share_to_reach
from benchmarks.search_quality.contenders import STOCK
from benchmarks.search_quality.measure import MEASURES
from benchmarks.search_quality.ours import Ours, Setup, default_of
from benchmarks.search_quality.simulate import Answer, Contender, Simulation
from benchmarks.search_quality.stock import OptunaSearcher, RayAsha
from benchmarks.search_quality.table import Table, load_table
from search.sampling.portfolio import MOST_POINTS, EarlierRun, portfolio_of
from search.sampling.proposal import EarlierTrial
from search.space import Space
from trainables.curves import Numbers

Regrets = dict[str, Numbers]  # by contender, (measures, epochs)

ROOT = Path(__file__).resolve().parents[2]
_TRAININGS = 10
_EARLIER = (0, 1, 2, 7)
_OF_EARLIER_RUNS = 1000  # added to the seed, so that an earlier search is not the one it serves
_SETUPS = {"asha": Setup(), "freeze_thaw": Setup("freeze_thaw")}
_RESAMPLES = 1000
_WIDTH = 30


class Remembering(Ours):
    """A search that keeps each trial's value at the end of each rung, as a run's journal would."""

    def __init__(self, space: Space) -> None:
        super().__init__(space, default_of(space))
        self._values: dict[str, dict[int, float]] = {}

    def on_epoch(self, trial_id: str, epoch: int, accuracy: float) -> Answer:
        if epoch in self.space.ladder.ends:
            self._values.setdefault(trial_id, {})[epoch] = accuracy
        return super().on_epoch(trial_id, epoch, accuracy)

    def remembered(self, name: str) -> EarlierRun:
        """The search as an earlier run."""
        trials = {
            trial_id: EarlierTrial(hparams=self._hparams[trial_id], values=values, status="paused")
            for trial_id, values in self._values.items()
        }
        return EarlierRun(name=name, mode="max", trials=trials)


def main() -> None:
    """Print the fraction of stock's epochs that a search needs, by mode and number of earlier runs."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--curves", type=Path, required=True, metavar="FOLDER", help="with lcbench_*.npz")
    flags.add_argument("--seeds", type=int, default=20)
    flags.add_argument("--processes", type=int, default=os.cpu_count())
    flags.add_argument("--results", type=Path, default=ROOT / ".bench-search/portfolio", metavar="FOLDER")
    options = flags.parse_args()
    paths = sorted(options.curves.glob("lcbench_*.npz"))
    if len(paths) <= max(_EARLIER):
        raise SystemExit(
            f"{options.curves} has {len(paths)} tables lcbench_*.npz; it takes {max(_EARLIER) + 1}"
        )
    options.results.mkdir(parents=True, exist_ok=True)
    tables = {path.stem: load_table(path) for path in paths}
    work = [(tables, seed, options.results) for seed in range(options.seeds)]
    with multiprocessing.get_context("fork").Pool(options.processes) as pool:
        found = [each for one in pool.imap(_searches, work) for each in one]
    print("\n".join(_report(found, len(tables), options.seeds)))


def _searches(work: tuple[Mapping[str, Table], int, Path]) -> list[Regrets]:
    """The regrets of every search of every table with one seed.

    Each table is a file, so a killed measurement continues.
    """
    tables, seed, folder = work
    files = {name: folder / f"{name}-{seed}.npz" for name in tables}
    missing = [name for name, file in files.items() if not file.exists()]
    runs = {name: _earlier(table, seed) for name, table in tables.items()} if missing else {}
    for name in missing:
        others = [runs[other] for other in tables if other != name]
        random.Random(f"{name} {seed}").shuffle(others)
        arrays: dict[str, Any] = {**_compared(tables[name], others, seed)}  # savez also takes flags
        np.savez(files[name], **arrays)
    found = []
    for file in files.values():
        with np.load(file) as arrays:
            found.append(dict(arrays))
    return found


def _compared(table: Table, others: Sequence[EarlierRun], seed: int) -> Regrets:
    found = {STOCK: _regrets(RayAsha(table, OptunaSearcher(table, seed)), table)}
    for mode, setup in _SETUPS.items():
        for num_runs in _EARLIER:
            space = setup.space(table, seed)
            points = portfolio_of(others[:num_runs], space, default_of(space), count=MOST_POINTS)
            taken = space.portfolio.model_copy(update={"points": tuple(points)})
            begun = replace(space, start="portfolio", portfolio=taken)
            found[f"{mode}, {num_runs} earlier runs"] = _regrets(Ours(begun, default_of(space)), table)
    return found


def _earlier(table: Table, seed: int) -> EarlierRun:
    search = Remembering(Setup().space(table, seed + _OF_EARLIER_RUNS))
    Simulation(search, table).run(_TRAININGS * table.num_epochs)
    return search.remembered(table.name)


def _regrets(search: Contender, table: Table) -> Numbers:
    trace = Simulation(search, table).run(_TRAININGS * table.num_epochs)
    best_seen, best_full = table.val_accuracy.max(), table.val_accuracy[:, -1].max()
    return np.stack([table.regret(trace.seen, best_seen), table.regret(trace.picked, best_full)])


def _report(found: Sequence[Regrets], num_tables: int, num_seeds: int) -> Iterator[str]:
    yield f"one table left out: {num_tables} of LCBench, {num_seeds} seeds, {_TRAININGS} full trainings"
    yield "share of stock's epochs until its last regret is reached for good; searches that do; last regret"
    yield " " * _WIDTH + "".join(f"{measure:>26}{'reached':>9}{'regret':>8}" for measure in MEASURES)
    for name in found[0]:
        cells = [_cell(found, name, place, num_seeds) for place in range(len(MEASURES))]
        yield f"{name:{_WIDTH}}" + "".join(cells)


def _cell(found: Sequence[Regrets], name: str, place: int, num_seeds: int) -> str:
    shares = np.array(
        [share_to_reach(one[name][None, place], one[STOCK][None, place])[0] for one in found]
    ).reshape(num_seeds, -1)
    draws = np.random.default_rng(0).integers(num_seeds, size=(_RESAMPLES, num_seeds))
    medians = sorted(_middle(shares[draw]) for draw in draws)
    low, high = medians[round(0.025 * _RESAMPLES)], medians[round(0.975 * _RESAMPLES)]
    regret = float(np.median([one[name][place, -1] for one in found]))
    interval = f"{_middle(shares):.3f} [{low:.3f}, {high:.3f}]"
    return f"{interval:>26}{np.isfinite(shares).mean():>9.0%}{regret:>8.3f}"


def _middle(values: Numbers) -> float:
    """The upper median, as values that may be infinite cannot be averaged."""
    return float(np.sort(values, axis=None)[values.size // 2])


if __name__ == "__main__":
    main()
