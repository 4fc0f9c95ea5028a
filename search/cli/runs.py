"""Runs that are there, as command lines name them."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from search.ledger import Ledger
    from search.ledger.history import History
    from search.space import Space


def add_run_argument(flags: argparse.ArgumentParser, *, is_required: bool = True) -> None:
    """Add RUN."""
    nargs = None if is_required else "?"
    flags.add_argument("run", nargs=nargs, metavar="RUN", help="a run's folder, or its name in DIR")


def add_results_flag(flags: argparse.ArgumentParser, meaning: str = "where runs are") -> None:
    """Add --results DIR."""
    default = Path("results")
    flags.add_argument(
        "--results", type=Path, default=default, metavar="DIR", help=f"{meaning} (default: {default})"
    )


def space_words(space: str, overrides: Sequence[str]) -> str:
    """What to write after --space so that a command of a message means the same: the file, and each --set."""
    return " ".join([shlex.quote(space), *(f"--set {shlex.quote(override)}" for override in overrides)])


def run_folder(given: str | Path, results: Path) -> Path:
    """The folder that `given` means: itself, or a name in `results`.

    Of both the one that holds a run: photographs and the run about them may well have one name.
    """
    from search.ledger import Ledger

    folder = Path(given)
    named = results / folder
    if len(folder.parts) > 1 or Ledger(folder).has_run:
        return folder
    return named if Ledger(named).has_run or not folder.exists() else folder


def opened_run(given: str | Path, results: Path) -> tuple[Ledger, Space, History]:
    """The ledger of a run, its space, and what has happened in it.

    Raises:
        LedgerError: There is no run.
        SpaceError: Its own copy of its space cannot be used.
    """
    from search.ledger import Ledger
    from search.ledger.history import History
    from search.space import load_space

    ledger = Ledger.open(run_folder(given, results))
    space = load_space(str(ledger.space_file), spaces_dir=ledger.folder, may_be_fixed=True, is_of_run=True)
    return ledger, space, History(ledger.events())
