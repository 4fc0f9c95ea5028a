"""Writes a run in every requested form, or in none if one of them cannot be written.

All targets are checked before the first is written: files of a call that failed halfway would be in the way
of the next one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from search.command_lines import command_line
from search.export import ExportError, check_file, check_folder
from search.export.sweep import export_sweep, runs_file
from search.export.tracked_trial import LoggedTrial, logged
from search.export.trackers import export_mlflow, export_tensorboard, missing_mlflow, store_uri
from search.ledger.history import History
from search.output import Output
from search.printable import counted
from search.space import Space


def export_run(
    name: str,
    space: Space,
    history: History,
    *,
    optuna: Path | None,
    sweep: Path | None,
    tensorboard: Path | None,
    mlflow: Path | None,
    output: Output,
) -> None:
    """Write each target that is not None, and print the command that opens it.

    Args:
        name: The name of the study and of the experiment.
        optuna: An SQLite file; it must not exist.
        sweep: A YAML file; the table of runs goes beside it.
        tensorboard: A folder, new or empty.
        mlflow: A folder, new or empty.

    Raises:
        ExportError: A target is taken or cannot be made; the message lists every problem.
    """
    if problems := _problems(optuna, sweep, tensorboard, mlflow):
        raise ExportError("\n".join(problems))
    for notice in space.notices:
        output.note(notice)
    trials = [logged(trial) for trial in history.trials.values()]
    if sweep:  # first: it may refuse the space
        _write_sweep(space, trials, sweep, output)
    if optuna:
        from search.export.optuna import export_study  # loads Optuna, 1 s

        count = export_study(space, history, optuna, name=name)
        output.print(_shown(optuna, count, "optuna-dashboard", f"sqlite:///{optuna}"))
    if tensorboard:
        count = export_tensorboard(trials, tensorboard, metric=space.metric)
        output.print(_shown(tensorboard, count, "tensorboard", "--logdir", str(tensorboard)))
    if mlflow:
        count = export_mlflow(trials, mlflow, name=name)
        output.print(_shown(mlflow, count, "mlflow", "ui", "--backend-store-uri", store_uri(mlflow)))


def _shown(path: Path, count: int, *command: str) -> str:
    return f"{path}: {counted(count, 'trial')}; {command_line(command)} shows them"


def _write_sweep(space: Space, trials: Sequence[LoggedTrial], path: Path, output: Output) -> None:
    """Write a W&B sweep and its table of runs, and print what they cannot express of the space."""
    notes = export_sweep(space, trials, path)
    output.print(f"{path} and {runs_file(path)}: {counted(len(trials), 'run')}")
    for note in notes:
        output.note(note)


def _problems(
    optuna: Path | None, sweep: Path | None, tensorboard: Path | None, mlflow: Path | None
) -> list[str]:
    """Everything that is wrong with the targets, before anything is written."""
    problems = []
    if optuna:
        problems += check_file("--optuna", optuna)
    if sweep:
        problems += check_file("--sweep", sweep) or check_file("--sweep", runs_file(sweep))
    if tensorboard:
        problems += check_folder("--tensorboard", tensorboard)
    if mlflow:
        problems += [*check_folder("--mlflow", mlflow), *missing_mlflow()]
    return problems
