"""The export command: a run as the files of Optuna, W&B, TensorBoard and MLflow."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from search.cli.parsing import CommandParser
from search.cli.runs import add_results_flag, add_run_argument, opened_run

if TYPE_CHECKING:
    from search.ledger import Ledger
    from search.ledger.history import History
    from search.space import Space

_EXAMPLE = """examples:
  python scripts/export.py mine --optuna study.db              then: optuna-dashboard sqlite:///study.db
  python scripts/export.py mine --sweep sweep.yaml --tensorboard events --mlflow experiments

exit status: 0 everything is written; 2 unusable input, and nothing is"""
_FLAGS = ("optuna", "sweep", "tensorboard", "mlflow")


def parser() -> argparse.ArgumentParser:
    """The flags of scripts/export.py."""
    flags = CommandParser(
        prog="export.py",
        description="Write a run, also one that goes on, as other programs' files. Nothing is overwritten.",
        epilog=_EXAMPLE,
    )
    add = flags.add_argument
    add_run_argument(flags)
    add("--optuna", type=Path, metavar="FILE", help="a study in SQLite: all trials, curves, states")
    add(
        "--sweep",
        type=Path,
        metavar="FILE",
        help="the space as a W&B sweep file; beside it, as FILE-runs.csv, the table of runs that W&B exports",
    )
    add("--tensorboard", type=Path, metavar="DIR", help="event files: curves and hyperparameters")
    add("--mlflow", type=Path, metavar="DIR", help="an experiment in DIR/mlflow.db; needs mlflow")
    add_results_flag(flags)
    return flags


def main(options: argparse.Namespace) -> int:
    """Write what was asked for and give the exit status."""
    from search.export import ExportError

    if not any(getattr(options, name) for name in _FLAGS):
        parser().error(f"give at least one of {', '.join(f'--{name}' for name in _FLAGS)}")
    ledger, space, history = opened_run(options.run, options.results)
    if problems := _problems(options):
        raise ExportError("\n".join(problems))
    for notice in space.notices:
        print(f"note: {notice}")
    for line in _written(options, ledger, space, history):
        print(line)
    return 0


def _problems(options: argparse.Namespace) -> list[str]:
    """Everything that is wrong with the flags, before anything is written."""
    from search.export import check_file, check_folder
    from search.export.sweep import runs_file
    from search.export.trackers import missing_mlflow

    problems = []
    if options.optuna:
        problems += check_file("--optuna", options.optuna)
    if options.sweep:
        problems += check_file("--sweep", options.sweep) or check_file("--sweep", runs_file(options.sweep))
    if options.tensorboard:
        problems += check_folder("--tensorboard", options.tensorboard)
    if options.mlflow:
        problems += [*check_folder("--mlflow", options.mlflow), *missing_mlflow()]
    return problems


def _written(options: argparse.Namespace, ledger: Ledger, space: Space, history: History) -> list[str]:
    """A line for each export, with the command that opens it."""
    from search.export.tracked_trial import logged

    name, lines = ledger.folder.name, []
    trials = [logged(trial) for trial in history.trials.values()]
    if options.sweep:  # first: it may refuse the space
        from search.export.sweep import export_sweep, runs_file

        notes = export_sweep(space, trials, options.sweep)
        lines.append(f"{options.sweep} and {runs_file(options.sweep)}: {len(trials)} runs")
        lines += [f"note: {note}" for note in notes]
    if options.optuna:
        from search.export.optuna import export_study

        count = export_study(space, history, options.optuna, name=name)
        lines.append(
            f"{options.optuna}: {count} trials; optuna-dashboard sqlite:///{options.optuna} shows them"
        )
    if options.tensorboard:
        from search.export.trackers import export_tensorboard

        count = export_tensorboard(trials, options.tensorboard, metric=space.metric)
        lines.append(
            f"{options.tensorboard}: {count} trials; tensorboard --logdir {options.tensorboard} shows them"
        )
    if options.mlflow:
        from search.export.trackers import export_mlflow, store_uri

        count = export_mlflow(trials, options.mlflow, name=name)
        uri = store_uri(options.mlflow)
        lines.append(f"{options.mlflow}: {count} trials; mlflow ui --backend-store-uri {uri} shows them")
    return lines
