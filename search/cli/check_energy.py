"""The check-energy command: a run's energy tables are added up and compared with the journal."""

from __future__ import annotations

import argparse
import sys

from search.cli.parser import CommandParser

_EPILOG = """example:
  {command} results/lr_bs-20261121-090000

exit status: 0 everything adds up; 1 something does not; 2 no such run"""


def parser(prog: str = "check_energy.py") -> CommandParser:
    """The flags of the command."""
    flags = CommandParser(
        prog=prog,
        description="Check that trials.csv, energy.csv and devices.csv of a run add up, to the millijoule.",
        epilog=_EPILOG,
    )
    flags.add_run()
    flags.add_results()
    return flags


def main(options: argparse.Namespace) -> int:
    """Check the run and return the exit status."""
    from search.accounting.reconciliation import check_run  # with the tables: 60 ms of --help
    from search.run_names import opened_run

    folder, space, history = opened_run(options.run, options.results)
    check = check_run(folder, space, history)
    for note in (*space.notices, *check.notes):
        print(f"note: {note}")
    for problem in check.problems:
        print(problem, file=sys.stderr)
    if not check.problems:
        print(f"{check.checked}: {'everything adds up' if check.has_joules else 'nothing to add up'}")
    return 1 if check.problems else 0
