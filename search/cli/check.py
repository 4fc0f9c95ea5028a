"""The check command: which parts of a run's record are whole, and a repair that deletes nothing."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from search.cli.parser import CommandParser
from search.command_lines import typed_command

if TYPE_CHECKING:
    from search.bucket.address import Address

_EPILOG = """examples:
  {command} lr_bs-20261121-090000
  {command} lr_bs-20261121-090000 --repair

exit status: 0 the record is whole; 1 it is not, or was not before the repair; 2 no such run"""


def parser(prog: str = "check.py") -> CommandParser:
    """The flags of the command."""
    flags = CommandParser(
        prog=prog,
        description="Report which parts of a run's record are whole. Only --repair changes anything.",
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
    """Check the run, its promotions and their baselines, and return the exit status."""
    from search.ledger import Ledger
    from search.ledger.check import check_record, repair_lines
    from search.run_names import run_address, run_folder

    address = run_address(options.run, options.results)
    if options.repair and address:
        options.refuse(f"--repair takes a folder: jouletune fetch {address}, then repair that")
    run = Ledger.open(run_folder(options.run, options.results, with_states=True))
    num_problems = 0
    for ledger in (run, *run.parts()):
        found = check_record(ledger)
        print(f"{ledger.folder}:")
        _print(found.lines())
        if found.problems and options.repair:
            _print(repair_lines(ledger))
        elif found.problems:
            print(f"  to repair it, keeping a copy: {_repair_command(run.folder, address)}")
        num_problems += len(found.problems) + len(found.losses)
    return 1 if num_problems else 0


def _repair_command(folder: Path, address: Address | None) -> str:
    """The command that repairs the run, from whatever folder it is typed; a bucket's run is fetched into a
    folder first."""
    if address is not None:
        check = typed_command("check", f"results/{address.name}", "--repair")
        return f"{typed_command('fetch', address)} && {check}"
    return typed_command("check", folder, "--repair")


def _print(lines: Iterable[tuple[str, str]]) -> None:
    from search.printable import printable

    for kind, text in lines:
        print(printable(f"  {kind}: {text}"), file=sys.stderr if "problem" in kind else sys.stdout)
