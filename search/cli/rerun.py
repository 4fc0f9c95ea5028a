"""The flag --rerun-failed: which run it means, and what trying again will cost."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from search.cli.runs import run_folder

if TYPE_CHECKING:
    from search.output import Output
    from search.space import Space

_NAMED = ""  # the flag alone: the run that --name names


def add_rerun_flag(flags: argparse.ArgumentParser) -> None:
    """Add --rerun-failed."""
    flags.add_argument(
        "--rerun-failed",
        nargs="?",
        const=_NAMED,
        metavar="RUN",
        help="try the failed trials of a run again, a folder or a name in DIR (default: NAME), by its own "
        "space; says first what that will cost, and with --dry-run no more",
    )


def check_rerun(options: argparse.Namespace) -> str | None:
    """What is wrong with --rerun-failed and the flags that it goes with, or None."""
    if options.rerun_failed is None:
        return None if options.space else "the following arguments are required: --space"
    if options.fresh:
        return "--fresh begins a new run, which has no failed trials: leave it or --rerun-failed out"
    if options.rerun_failed == _NAMED and options.name is None:
        return "--rerun-failed needs a run: write --rerun-failed RUN, or --name beside it"
    if options.rerun_failed == _NAMED and options.space is None:
        return f"--space is missing; or write --rerun-failed {options.name}, which takes the run's own"
    if options.rerun_failed and options.name not in (None, Path(options.rerun_failed).name):
        return f"--rerun-failed {options.rerun_failed} and --name {options.name} are two runs: give one"
    return None


def name_run(options: argparse.Namespace) -> None:
    """Put the run of `--rerun-failed RUN` in the place of --name, --results and --space.

    Raises:
        LedgerError: There is no such run.
    """
    if not options.rerun_failed:
        return
    from search.ledger import Ledger

    folder = run_folder(options.rerun_failed, options.results).absolute()
    options.results, options.name = folder.parent, folder.name
    options.space = options.space or str(Ledger.open(folder).space_file)


def print_estimate(folder: Path, space: Space, output: Output) -> None:
    """Print what trying the failed trials again will cost, by the run's own epochs.

    Raises:
        LedgerError: There is no run in `folder`.
    """
    from search.ledger import Ledger
    from search.ledger.history import History
    from search.report.formatting import rerun_text
    from search.run.rerun import rerun_estimate

    ledger = Ledger.open(folder)
    estimate = rerun_estimate(
        History(ledger.events()),
        space,
        has_state=lambda trial_id: (ledger.trial_folder(trial_id) / "checkpoint.pt").is_file(),
    )
    output.print(rerun_text(estimate))
