"""The command that writes a space for a training script."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from search.cli.parser import CommandParser
from search.command_lines import typed_command

_EXAMPLES = """examples:
  {command} train.py
  {command} train.py --out lr.yaml
  {command} main.py --arguments "fit"

exit status: 0 written; 2 the script's flags cannot be read, or the file exists already"""


def parser(prog: str = "jouletune init-script") -> CommandParser:
    """The flags of `jouletune init-script`."""
    flags = CommandParser(
        prog=prog,
        description="Write a space for your own training script, from its flags. The script is run up to "
        "the point where it parses them.",
        epilog=_EXAMPLES,
    )
    add = flags.add_argument
    add("script", type=Path, metavar="SCRIPT", help="a Python script, or any program with --help")
    add(
        "--out",
        type=Path,
        metavar="FILE",
        help="the space to write (default: beside the script, with its name and .yaml)",
    )
    add("--arguments", default="", metavar="WORDS", help="words before its flags, such as a subcommand")
    add("--python", metavar="FILE", default=sys.executable, help="Python to run it with (default: this one)")
    return flags


def main(options: argparse.Namespace) -> int:
    """Write the space, print what to do next, and return the exit status."""
    import shlex

    from search.init_script import write_space  # saves --help 60 ms

    written = write_space(
        options.script, out=options.out, python=options.python, arguments=shlex.split(options.arguments)
    )
    print(f"wrote {written.path}: {written.summary}")
    if written.note:
        print(f"note: {written.note}")
    print(f"next: check it, then {typed_command('search', '--space', written.path, '--dry-run')}")
    return 0
