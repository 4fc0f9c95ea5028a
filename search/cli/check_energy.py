"""The check of a run's energy tables: re-adds them, and compares them with the journal."""

from __future__ import annotations

import argparse
import csv
import sys

from search.cli.parser import CommandParser

_EPILOG = """example:
  {command} results/lr_bs-20261121-090000

exit status: 0 everything adds up; 1 something does not; 2 no run there"""


def parser(prog: str = "check_energy.py") -> CommandParser:
    """The flags of the command."""
    flags = CommandParser(
        prog=prog,
        description="Re-add trials.csv, energy.csv and devices.csv of a run to the millijoule.",
        epilog=_EPILOG,
    )
    flags.add_run()
    flags.add_results()
    return flags


def main(options: argparse.Namespace) -> int:
    """Check the run and give the exit status."""
    from search.accounting.reconciliation import check_energy
    from search.accounting.unreported import reported_mj
    from search.ledger import csv_text
    from search.saved_runs import opened_run
    from search.tables import live_tables

    ledger, space, history = opened_run(options.run, options.results)
    written = {path.name: path.read_text(encoding="utf-8") for path in ledger.folder.glob("*.csv")}
    trials, rungs, devices = (_rows(written, name) for name in ("trials.csv", "energy.csv", "devices.csv"))
    is_over = history.ended is not None
    check = check_energy(trials, rungs, devices, reported=reported_mj(history), is_over=is_over)
    tables = live_tables(space, history).items()
    stale = [name for name, table in tables if written.get(name) != csv_text(*table)]
    if stale and history.ended is None:
        check.notes.append(f"{', '.join(stale)}: older than the journal; the run goes on, or was killed")
    elif stale:
        check.problems.append(f"{', '.join(stale)}: not what the journal says; changed after the run")
    for note in (*space.notices, *check.notes):
        print(f"note: {note}")
    for problem in check.problems:
        print(problem, file=sys.stderr)
    if not check.problems:
        total_j = sum(float(row["energy_device_j"]) for row in devices)
        print(f"{len(trials)} trials, {len(devices)} device rows, {total_j:.3f} J: everything adds up")
    return 1 if check.problems else 0


def _rows(written: dict[str, str], name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(written.get(name, "").splitlines()))
