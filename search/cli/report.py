"""The report command: the page of a run, or of two."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

from search.cli.parser import CommandParser
from search.printable import printable

_EPILOG = """examples:
  {command} results/lr_bs-20261121-090000
  {command} lr_bs --watch 5
  {command} --compare lr_bs lr_bs-2
  {command} /shared/theirs/lr_bs --out theirs.html

exit status: 0 the page is written; 2 no such run; 3 disk full or not writable"""


def parser(prog: str = "report.py") -> CommandParser:
    """The flags of the command."""
    flags = CommandParser(
        prog=prog,
        description="Write report.html, which opens without a network, and plots/ into a run's folder.",
        epilog=_EPILOG,
    )
    add = flags.add_argument
    flags.add_run(is_required=False)
    add("--compare", nargs=2, metavar=("RUN1", "RUN2"), help="write one page of two runs instead")
    add(
        "--watch",
        nargs="?",
        type=_seconds,
        const=10.0,
        metavar="S",
        help="update it every S seconds during the run (10); the page reloads itself",
    )
    add(
        "--out",
        type=Path,
        metavar="FILE",
        help="where to write the page (default: report.html in the run's folder, or with --compare "
        "compare-RUN1-RUN2.html in DIR)",
    )
    flags.add_results()
    return flags


def main(options: argparse.Namespace) -> int:
    """Write the page and return the exit status."""
    from search import api

    if (options.run is None) == (options.compare is None):
        options.refuse("give RUN, or --compare RUN1 RUN2")
    if options.watch and options.compare:
        options.refuse("--watch follows one run: leave out --compare")
    run, against = options.compare or (options.run, None)
    written = api.report(
        run, results=options.results, against=against, path=options.out, watch_every_s=options.watch
    )
    for line in written.warnings:
        print(printable(f"warning: {line}"), file=sys.stderr)
    print(f"report: {written.path}, written in {written.seconds:.1f} s")
    return 0


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 1 <= seconds < math.inf:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {text}")
    return seconds
