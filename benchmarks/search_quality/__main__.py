"""Print how good our search is against its peers.

python -m benchmarks.search_quality --curves FOLDER    # tables as trainables/curves.py reads them
make setup-bench                                       # once, for Syne Tune and DEHB
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # one process a core; before NumPy is imported

from benchmarks.search_quality.conclusion import report
from benchmarks.search_quality.contenders import Group
from benchmarks.search_quality.measure import Regrets, load, measure, save

ROOT = Path(__file__).resolve().parents[2]
PEERS_PYTHON = ROOT / ".venv-peers/bin/python"


def main() -> None:
    """Print the report, or with --save write the regrets of one environment's contenders."""
    options = _options()
    if options.save:
        save(_measured(options.group, options), options.save)
        return
    started_s = time.monotonic()
    regrets = _measured("project", options) | _measured_by_peers()
    print("\n".join(report(regrets, options.trainings)))
    print(f"{len(_tables(options))} tables, {options.seeds} seeds, {time.monotonic() - started_s:.0f} s")


def _options() -> argparse.Namespace:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--curves", type=Path, required=True, metavar="FOLDER", help="the tables")
    flags.add_argument("--seeds", type=int, default=20)
    flags.add_argument("--trainings", type=int, default=10, help="epochs to spend, in full trainings")
    flags.add_argument("--processes", type=int, default=os.cpu_count())
    flags.add_argument("--quick", action="store_true", help="2 tables, 3 seeds, 4 full trainings")
    flags.add_argument("--group", choices=["project", "peers"], default="project", help=argparse.SUPPRESS)
    flags.add_argument("--save", type=Path, help=argparse.SUPPRESS)
    options = flags.parse_args()
    if options.quick:
        options.seeds, options.trainings = 3, 4
    return options


def _tables(options: argparse.Namespace) -> list[Path]:
    tables = sorted([*options.curves.glob("*.csv"), *options.curves.glob("*.npz")])
    if not tables:
        raise SystemExit(f"{options.curves} has no .csv or .npz; name a folder of tables after --curves")
    return tables[:2] if options.quick else tables


def _measured(group: Group, options: argparse.Namespace) -> Regrets:
    return measure(
        group,
        _tables(options),
        num_seeds=options.seeds,
        num_trainings=options.trainings,
        num_processes=options.processes,
    )


def _measured_by_peers() -> Regrets:
    """What this command measures in the peers' environment."""
    if not PEERS_PYTHON.exists():
        print("Syne Tune ASHA and DEHB: not installed; make setup-bench")
        return {}
    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder) / "peers.npz"
        command = [str(PEERS_PYTHON), "-m", "benchmarks.search_quality", *sys.argv[1:]]
        done = subprocess.run(
            [*command, "--group", "peers", "--save", str(saved)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise SystemExit(f"the peers failed:\n{done.stderr[-2000:]}")
        return load(saved)


if __name__ == "__main__":
    main()
