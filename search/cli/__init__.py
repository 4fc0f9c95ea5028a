"""The commands. Importing this loads the standard library only, so that `--help` answers at once."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Sequence

INTERRUPTED = "interrupted; what was done until now is in the run's journal"
_NEEDED = ("pydantic", "ruamel.yaml", "rich", "optuna", "ray", "torch", "torchvision", "timm", "torchmetrics")


def run(command: str, arguments: Sequence[str] | None = None) -> int:
    """Run one command and give its exit status: 0 done, 1 a run that failed, 2 unusable input,
    3 a run that the disk ended, 4 one that lost Ray, 130 ended at once by a second Ctrl-C.

    Mistakes in what the user gave are one message on stderr, without a traceback.
    """
    if missing := _missing_packages():
        python = sys.executable or "this Python"
        print(
            f"jouletune: {python} lacks {', '.join(missing)}; make the environment with `make setup` in the "
            f"project's folder and use its .venv/bin/python",
            file=sys.stderr,
        )
        return 2
    arguments = sys.argv[1:] if arguments is None else arguments
    module = importlib.import_module(f"search.cli.{command}")
    parser = module.parser()
    if "_ARGCOMPLETE" in os.environ:  # a shell asks what could follow
        import argcomplete

        from search.cli.completion import Offered

        argcomplete.autocomplete(parser, default_completer=Offered())
    options = parser.parse_args(arguments)
    from search.cli.errors import USER_ERRORS, exit_status
    from search.printable import printable

    try:
        status: int = module.main(options)
    except USER_ERRORS as mistake:
        print(printable(str(mistake)), file=sys.stderr)
        return exit_status(mistake)
    except KeyboardInterrupt:
        print(INTERRUPTED, file=sys.stderr)
        return 130
    return status


def _missing_packages() -> list[str]:
    return [name for name in _NEEDED if not _is_installed(name)]


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # the parent of a dotted name
        return False


def search() -> int:
    """The installed command jouletune-search."""
    return run("search")


def promote() -> int:
    """The installed command jouletune-promote."""
    return run("promote")


def train() -> int:
    """The installed command jouletune-train."""
    return run("train")


def preflight() -> int:
    """The installed command jouletune-preflight."""
    return run("preflight")


def report() -> int:
    """The installed command jouletune-report."""
    return run("report")


def check() -> int:
    """The installed command jouletune-check."""
    return run("check")


def check_energy() -> int:
    """The installed command jouletune-check-energy."""
    return run("check_energy")


def export() -> int:
    """The installed command jouletune-export."""
    return run("export")
