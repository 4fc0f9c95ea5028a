"""The ship command: sends what this machine alone has of a run to its bucket."""

from __future__ import annotations

import argparse

from search.cli.parser import CommandParser

_EPILOG = """examples:
  {command} s3://bucket/experiments/lr_bs
  {command} lr_bs --results s3://bucket/experiments

exit status: 0 the bucket has everything; 2 no such run, or another process holds it; 3 the bucket
does not take it, or another machine continues the run"""


def parser(prog: str = "ship") -> CommandParser:
    """The flags of the command."""
    flags = CommandParser(
        prog=prog,
        description="Send what only this machine has of a run to its bucket: for a run that ended while "
        "the bucket took nothing, or that was killed and will not be resumed here.",
        epilog=_EPILOG,
    )
    flags.add_run()
    flags.add_results()
    return flags


def main(options: argparse.Namespace) -> int:
    """Ship the run and return the exit status."""
    from search import api

    folder = api.ship(options.run, results=options.results)
    print(f"the bucket has everything that is in {folder}")
    return 0
