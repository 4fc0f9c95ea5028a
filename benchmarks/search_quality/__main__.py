"""Print the quality of our search against its peers.

python -m benchmarks.search_quality --curves FOLDER    # tables as trainables/curves.py reads them
make setup-bench                                       # once, for the peers
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # one core per process; before NumPy

from benchmarks.search_quality.conclusion import median_share, report, worst_table
from benchmarks.search_quality.contenders import PEERS, RANDOM, STOCK, contenders
from benchmarks.search_quality.halves import HALVES, recorded, tables_of
from benchmarks.search_quality.measure import MEASURES, Results, measure, read
from benchmarks.search_quality.table import Table

ROOT = Path(__file__).resolve().parents[2]
PEERS_PYTHON = ROOT / ".venv-peers/bin/python"
# Targets of the default setup: share of stock's epochs, seen and picked, by half of the tables.
TARGETS: Mapping[str, Sequence[float]] = {"shown": (0.35, 0.25), "held back": (0.45, 0.35)}
MOST_BEHIND_RANDOM = 0.10


def main() -> None:
    """Print the report, or in the peers' environment only measure the peers."""
    options = _options()
    halves = {half: tables_of(half, options.curves) for half in options.halves}
    if options.quick:
        halves = {half: dict(list(tables.items())[:1]) for half, tables in halves.items()}
    tables = {name: table for each in halves.values() for name, table in each.items()}
    started_s = time.monotonic()
    if options.group == "peers":
        _measure("peers", PEERS, tables, options)
        return
    ours = list(contenders("project"))
    _measure("project", ours, tables, options)
    _measure_peers(options)
    for half, each in halves.items():
        results = read(
            [*ours, *PEERS],
            list(each),
            num_seeds=options.seeds,
            num_trainings=options.trainings,
            folder=options.results,
        )
        print("\n".join([*report(results, half, is_detailed=options.detailed), *_conclude(results, half)]))
    print("\n* receives each score at the point that it proposed; all others at the row's own")
    print(f"{len(tables)} tables, {options.seeds} seeds, {time.monotonic() - started_s:.0f} s")


def _options() -> argparse.Namespace:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--curves", type=Path, required=True, metavar="FOLDER", help="the recorded tables")
    flags.add_argument("--seeds", type=int, default=20)
    flags.add_argument("--trainings", type=int, default=10, help="epochs to spend, in full trainings")
    flags.add_argument("--processes", type=int, default=os.cpu_count())
    flags.add_argument(
        "--halves", nargs="+", choices=HALVES, default=HALVES, help="develop on shown ones only"
    )
    flags.add_argument("--only", default="", metavar="REGEX", help="measure only contenders that it matches")
    flags.add_argument("--results", type=Path, default=ROOT / ".bench-search", metavar="FOLDER")
    flags.add_argument("--detailed", action="store_true", help="each table by itself too")
    flags.add_argument("--quick", action="store_true", help="a table a half, 3 seeds, 4 full trainings")
    flags.add_argument("--group", choices=["project", "peers"], default="project", help=argparse.SUPPRESS)
    options = flags.parse_args()
    if options.quick:
        options.seeds, options.trainings = 3, 4
    if not recorded(options.curves):
        raise SystemExit(f"{options.curves} has no .csv or .npz; name a folder of tables after --curves")
    return options


def _measure(
    group: str, names: Sequence[str], tables: Mapping[str, Table], options: argparse.Namespace
) -> None:
    measure(
        "peers" if group == "peers" else "project",
        tables,
        names=[name for name in names if re.search(options.only, name)],
        num_seeds=options.seeds,
        num_trainings=options.trainings,
        num_processes=options.processes,
        folder=options.results,
    )


def _measure_peers(options: argparse.Namespace) -> None:
    """Run this command in the peers' environment to measure them."""
    if not any(re.search(options.only, name) for name in PEERS):
        return
    if not PEERS_PYTHON.exists():
        print("the peers are not installed; make setup-bench")
        return
    command = [str(PEERS_PYTHON), "-m", "benchmarks.search_quality", *sys.argv[1:], "--group", "peers"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit("the peers failed; their output is above")


def _conclude(results: Results, half: str) -> Iterator[str]:
    """Whether the default setup reaches its targets."""
    default = next((name for name, _ in results), "")
    if not default.startswith("ours") or not {STOCK, RANDOM} <= {name for name, _ in results}:
        return
    yield ""
    for measure_name, target in zip(MEASURES, TARGETS.get(half, ()), strict=False):
        share = median_share(results, default, measure_name)[1]
        outcome = "reached" if share <= target else "NOT reached"
        yield (
            f"conclusion ({half}, {measure_name}): {default} needs {share:.2f} of stock's epochs; "
            f"must {target}: {outcome}"
        )
    for measure_name in MEASURES:
        table, above = worst_table(results, default, measure_name)
        outcome = "reached" if above <= MOST_BEHIND_RANDOM else "NOT reached"
        yield (
            f"conclusion ({half}, {measure_name}): {default} ends {above:+.2f} above random full trainings "
            f"on its worst table, {table}; must {MOST_BEHIND_RANDOM:+.2f}: {outcome}"
        )


if __name__ == "__main__":
    main()
