"""The fetch command: a whole run from its bucket, as an ordinary folder."""

from __future__ import annotations

import argparse
from pathlib import Path

from search.cli.parser import CommandParser

_EPILOG = """examples:
  {command} s3://bucket/experiments/lr_bs
  {command} lr_bs --results s3://bucket/experiments --out winner

exit status: 0 the run was fetched; 2 no such run, no answer from the bucket, or the folder exists;
3 disk full or not writable"""


def parser(prog: str = "fetch") -> CommandParser:
    """The flags of the command."""
    flags = CommandParser(
        prog=prog,
        description="Fetch a whole run from its bucket, checkpoints and models included. Later changes to "
        "the folder do not reach the bucket.",
        epilog=_EPILOG,
    )
    flags.add_run()
    flags.add_argument("--out", type=Path, metavar="DIR", help="a new folder (default: results/NAME)")
    flags.add_results()
    return flags


def main(options: argparse.Namespace) -> int:
    """Fetch the run and return the exit status."""
    from search import api

    folder = api.fetch(options.run, results=options.results, path=options.out)
    print(f"fetched: {folder}")
    return 0
