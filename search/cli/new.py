"""The command that writes a trainable to start from, with its space and test."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from search.cli.parser import CommandParser
from search.command_lines import typed_command

_EXAMPLES = """examples:
  {command} trainable autoencoder
  {command} trainable autoencoder --folder ~/models

exit status: 0 written; 2 the name cannot be used, or a file exists already: nothing is written then"""


def parser(prog: str = "jouletune new") -> CommandParser:
    """The flags of `jouletune new`."""
    flags = CommandParser(
        prog=prog,
        description="Write a trainable to start from, with its space and test. As written it trains on "
        "digits.",
        epilog=_EXAMPLES,
    )
    flags.add_argument("kind", choices=["trainable"], help="what to write")
    flags.add_argument("name", metavar="NAME", help="lower case letters, digits and underscores")
    flags.add_argument(
        "--folder",
        type=Path,
        metavar="DIR",
        help="where to write the files (default: a new family in this repository, if run inside it)",
    )
    return flags


def main(options: argparse.Namespace) -> int:
    """Write the files, print what to do next, and return the exit status."""
    from search.new_trainable import ROOT, NewTrainableError, write_trainable  # saves --help 15 ms

    folder = None if options.folder is None else options.folder.expanduser()
    try:
        if folder is None and not Path.cwd().is_relative_to(ROOT):
            raise NewTrainableError(f"this folder is not inside jouletune's own ({ROOT}); give --folder DIR")
        written = write_trainable(options.name, folder=folder)
    except NewTrainableError as error:
        print(error, file=sys.stderr)
        return 2
    names = [_from_here(path) for path in written]
    for name in names:
        print(f"wrote {name}")
    space, test = names[2:]
    train = typed_command("train", "--space", space, "--smoke")
    print(f"next: {train}, and python -m pytest {shlex.quote(test)}")
    return 0


def _from_here(path: Path) -> str:
    """The path as it is typed here, never a bare name, which would be looked for in spaces/."""
    path = Path.cwd() / path
    if not path.is_relative_to(Path.cwd()):
        return str(path)
    name = str(path.relative_to(Path.cwd()))
    return name if "/" in name else f"./{name}"
