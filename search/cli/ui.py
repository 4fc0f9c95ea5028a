"""The ui command: the pages of all runs of a folder, live in a browser."""

from __future__ import annotations

import argparse
from pathlib import Path

from search.cli.parser import CommandParser

_EPILOG = """examples:
  {command}
  {command} experiments --no-browser --port 9000

exit status: 0 ended by Ctrl-C or SIGTERM; 2 no such folder, or the port is taken"""


def parser(prog: str = "ui.py") -> CommandParser:
    """The flags of the command."""
    flags = CommandParser(
        prog=prog,
        description="Show all runs of a folder in a browser, live: a list, and the page of each. It listens "
        "on this machine only, needs the token in the address that it prints, and changes nothing.",
        epilog=_EPILOG,
    )
    add = flags.add_argument
    add(
        "results",
        type=Path,
        nargs="?",
        default=Path("results"),
        metavar="DIR",
        help="folder of runs, not in a bucket; or the folder of one run, which is opened (default: results)",
    )
    add(
        "--port",
        type=_port,
        metavar="N",
        help="port to listen on; 0 is a free one (default: 8266, or a free one if that is taken)",
    )
    add(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="listen on this address of the machine instead of 127.0.0.1: others can reach it, unencrypted",
    )
    add("--no-browser", action="store_true", help="do not open a browser; without a screen none is opened")
    return flags


def main(options: argparse.Namespace) -> int:
    """Serve the pages until Ctrl-C and return the exit status."""
    from search.output import Output
    from search.ui.serve import Service, serve

    serve(
        Service(
            results=options.results,
            host=options.host,
            port=options.port,
            should_open=not options.no_browser,
        ),
        Output(),
    )
    return 0


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"must be a whole number from 0 to 65535, got {text}")
    return int(text)
