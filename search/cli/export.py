"""The export command: a run as the files of Optuna, W&B, TensorBoard and MLflow."""

from __future__ import annotations

import argparse
from pathlib import Path

from search.cli.parser import CommandParser

_EPILOG = """examples:
  {command} mine --optuna study.db              then: optuna-dashboard sqlite:///study.db
  {command} mine --sweep sweep.yaml --tensorboard events --mlflow experiments

exit status: 0 everything is written; 2 unusable input, and nothing is written"""
_TARGETS = ("optuna", "sweep", "tensorboard", "mlflow")


def parser(prog: str = "export.py") -> CommandParser:
    """The flags of the command."""
    flags = CommandParser(
        prog=prog,
        description="Write a run, even an unfinished one, as files of other programs. Overwrites nothing.",
        epilog=_EPILOG,
    )
    add = flags.add_argument
    flags.add_run()
    add("--optuna", type=Path, metavar="FILE", help="a study in SQLite: all trials, curves, states")
    add(
        "--sweep",
        type=Path,
        metavar="FILE",
        help="the space as a W&B sweep file, with the runs beside it as W&B exports them: sweep-runs.csv for "
        "sweep.yaml",
    )
    add("--tensorboard", type=Path, metavar="DIR", help="event files: curves and hyperparameters")
    add("--mlflow", type=Path, metavar="DIR", help="an experiment in DIR/mlflow.db; needs mlflow")
    flags.add_results()
    return flags


def main(options: argparse.Namespace) -> int:
    """Write what was asked for and return the exit status."""
    from search import api

    targets = {name: getattr(options, name) for name in _TARGETS}
    if not any(targets.values()):
        options.refuse(f"give at least one of {', '.join(f'--{name}' for name in _TARGETS)}")
    api.export(options.run, results=options.results, **targets)
    return 0
