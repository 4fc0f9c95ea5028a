"""From the flags of train.py to the one task that it trains."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from search.budget import Ladder
    from search.trial.task import TrialTask


def chosen_task(options: argparse.Namespace) -> TrialTask:
    """The configuration, ladder and seed that the flags ask for.

    Raises:
        SpaceError: The space or what overrides it cannot be used.
        LedgerError: There is no such earlier trial.
        DataError: The data is missing or unfit.
    """
    from search.space import SPACES, load_space
    from search.trial.task import task_for
    from trainables.core.load import load_trainable

    overrides = [*options.set, *_trial_overrides(options), *map(_fixed, options.hparam)]
    space = load_space(options.space, overrides=overrides, spaces_dir=SPACES, may_be_fixed=True)
    if options.resize:
        space = replace(space, ladder=_resized(space.ladder, options.resize))
    elif options.full:
        space = replace(space, ladder=space.ladder.only_top())
    task = task_for(
        space,
        trial_id="train",
        hparams=space.default_hparams(load_trainable(space.trainable)),
        seed=space.seed if options.seed is None else options.seed,
        folder=options.out or Path.cwd(),
    )
    _check(task, options.space)
    return replace(task, auto_precision=_auto_precision(task))


def _auto_precision(task: TrialTask) -> str:
    """What the precision "auto" means here, where there is a choice."""
    trainable, _ = task.load()
    return trainable.choose_precision(task.context()) if task.precision == "auto" else ""


def _check(task: TrialTask, space: str) -> None:
    """See that there is such a model and such data, as preflight does for a search."""
    from search.space import SpaceError

    trainable, hparams = task.load()
    try:
        trainable.weights(hparams)
    except ValueError as error:
        raise SpaceError(space, [f"parameters.model: {error}"]) from error
    trainable.check_data(task.context())


def check_states(task: TrialTask) -> None:
    """See that the states in the task's folder, which it resumes from or replaces, are its own.

    A checkpoint that is damaged is nobody's: the training sets it aside and says so.

    Raises:
        LedgerError: They are of another training; the message lists every difference.
    """
    from search.ledger import LedgerError
    from search.trial.checkpoints import differences
    from trainables.core.checkpoint import UnreadableCheckpoint, read_identity

    problems: dict[str, list[str]] = {}
    for path in _states_in(task.folder):
        try:
            found = differences(read_identity(path), task.identity)
        except UnreadableCheckpoint as error:
            found = [] if path.stem.startswith(task.checkpoint.stem) else [str(error)]
        for line in found:
            problems.setdefault(line, []).append(path.name)
    if problems:
        lines = [f"  {line} ({', '.join(names)})" for line, names in problems.items()]
        raise LedgerError(
            "\n".join(
                [
                    f"{task.folder} holds another training:",
                    *lines,
                    "give another --out, the settings of before, or move these files away",
                ]
            )
        )


def _states_in(folder: Path) -> list[Path]:
    names = ("checkpoint.pt", "checkpoint-previous.pt", "best.pt", "final.pt", "epoch-*.pt")
    return [path for name in names for path in sorted(folder.glob(name))]


def check_resume(task: TrialTask, file: Path) -> None:
    """See that `file` is a state that the task can resume from.

    Raises:
        LedgerError: There is none, it is damaged, or it is of other settings; the message lists them.
    """
    from search.ledger import LedgerError
    from search.trial.checkpoints import check_of, settings_in
    from trainables.core.checkpoint import UnreadableCheckpoint, read_identity

    try:
        check_of(file, settings_in(task.identity), None, read_identity(file))
    except FileNotFoundError as error:
        raise LedgerError(f"--resume: {file} does not exist") from error
    except UnreadableCheckpoint as error:
        raise LedgerError(f"--resume: {error}") from error


def resize_schedule(text: str) -> list[tuple[int, int]]:
    """Epochs with sides in pixels."""
    try:
        pairs = [[int(number) for number in pair.split(":")] for pair in text.split(",")]
        return [(epoch, side) for epoch, side in pairs]
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"write EPOCH:PX,..., such as 1:14,3:20,5:28, got {text!r}"
        ) from None


def _resized(ladder: Ladder, schedule: list[tuple[int, int]]) -> Ladder:
    from search.space import SpaceError

    try:
        return ladder.resized(schedule)
    except ValueError as error:
        raise SpaceError("--resize", [str(error)]) from error


def _trial_overrides(options: argparse.Namespace) -> list[str]:
    """The hparams of an earlier trial; those that are None are the trainable's default."""
    if options.trial is None:
        return []
    from search.cli.runs import run_folder
    from search.ledger import Ledger, LedgerError
    from search.ledger.history import History

    run, colon, trial_id = options.trial.rpartition(":")
    if not colon:
        raise LedgerError(f"--trial must be RUN:TRIAL, such as {options.trial}:trial-0000")
    trials = History(Ledger.open(run_folder(run, Path("results"))).events()).trials
    if trial_id not in trials:
        raise LedgerError(f"{run} has no trial {trial_id!r}; it has {', '.join(trials) or 'none'}")
    hparams = trials[trial_id].hparams
    return [_fixed(f"{name}={json.dumps(value)}") for name, value in hparams.items() if value is not None]


def _fixed(assignment: str) -> str:
    name, equals, value = assignment.partition("=")
    return f"parameters.{name}={{value: {value}}}" if equals else f"parameters.{name}"
