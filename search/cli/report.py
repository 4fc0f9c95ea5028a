"""The report command: the page of a run, or of two."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

from search.cli.parsing import CommandParser
from search.cli.runs import add_results_flag, add_run_argument, run_folder

_EXAMPLE = """examples:
  python scripts/report.py results/lr_bs-20261121-090000
  python scripts/report.py lr_bs --watch 5
  python scripts/report.py --compare lr_bs lr_bs-2

exit status: 0 the page is written; 2 no run there"""


def parser() -> argparse.ArgumentParser:
    """The flags of scripts/report.py."""
    flags = CommandParser(
        prog="report.py",
        description="Write report.html, which opens without a network, and plots/ into a run's folder.",
        epilog=_EXAMPLE,
    )
    add_run_argument(flags, is_required=False)
    flags.add_argument("--compare", nargs=2, metavar=("RUN1", "RUN2"), help="one page of two runs instead")
    flags.add_argument(
        "--watch",
        nargs="?",
        type=_seconds,
        const=10.0,
        metavar="S",
        help="write it every S seconds while the run goes on (10); the page loads itself again",
    )
    flags.add_argument(
        "--out", type=Path, metavar="FILE", help="of --compare (default: compare-RUN1-RUN2.html in DIR)"
    )
    add_results_flag(flags)
    return flags


def main(options: argparse.Namespace) -> int:
    """Write the page and give the exit status."""
    from search.report.page import watch, write_comparison, write_page

    if (options.run is None) == (options.compare is None):
        parser().error("give RUN, or --compare RUN1 RUN2")
    if options.out and not options.compare:
        parser().error("--out is for --compare; the page of one run lies in its folder")
    if options.watch and options.compare:
        parser().error("--watch follows one run: leave --compare out")
    if options.compare:
        one, other = (run_folder(run, options.results) for run in options.compare)
        out = options.out or options.results / f"compare-{one.name}-{other.name}.html"
        written = write_comparison(one, other, out)
    elif options.watch:
        written = watch(run_folder(options.run, options.results), every_s=options.watch, say=print)
    else:
        written = write_page(run_folder(options.run, options.results))
    for line in written.warnings:
        print(f"warning: {line}", file=sys.stderr)
    print(f"report: {written.path}, written in {written.seconds:.1f} s")
    return 0


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 1 <= seconds < math.inf:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {text}")
    return seconds
