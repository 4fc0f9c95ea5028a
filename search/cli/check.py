"""The check of a run's record: what of it is whole, and a repair that deletes nothing."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from search.cli.parser import CommandParser

if TYPE_CHECKING:
    from search.ledger import Ledger

_EPILOG = """examples:
  {command} lr_bs-20261121-090000
  {command} lr_bs-20261121-090000 --repair

exit status: 0 the record is whole; 1 it is not, or was not before the repair; 2 no run there"""


def parser(prog: str = "check.py") -> CommandParser:
    """The flags of the command."""
    flags = CommandParser(
        prog=prog,
        description="Say which part of a run's record is whole. Only --repair changes anything.",
        epilog=_EPILOG,
    )
    flags.add_run()
    flags.add_argument(
        "--repair",
        action="store_true",
        help="cut a damaged journal after its last whole line, and set unknown trials and "
        "damaged checkpoints aside; deletes nothing",
    )
    flags.add_results()
    return flags


def main(options: argparse.Namespace) -> int:
    """Check the run, its promotions and their baselines, and give the exit status."""
    from search.ledger import Ledger
    from search.saved_runs import run_folder

    run = Ledger.open(run_folder(options.run, options.results))
    are_whole = [_check(ledger, options) for ledger in (run, *run.parts())]
    return 0 if all(are_whole) else 1


def _check(ledger: Ledger, options: argparse.Namespace) -> bool:
    from search.ledger.check import check_record, repair_record
    from search.printable import printable

    found = check_record(ledger)
    print(f"{ledger.folder}:")
    for line in found.whole:
        print(printable(f"  whole: {line}"))
    for line in found.notes:
        print(printable(f"  note: {line}"))
    for line in found.problems:
        print(printable(f"  problem: {line}"), file=sys.stderr)
    if found.problems and options.repair:
        for line in repair_record(ledger):
            print(printable(f"  repaired: {line}"))
        for line in check_record(ledger).problems:
            print(printable(f"  still a problem: {line}"), file=sys.stderr)
    elif found.problems:
        print(f"  to repair it, keeping a copy: python scripts/check.py {options.run} --repair")
    return not found.problems
