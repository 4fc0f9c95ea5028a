"""Trains one configuration in this process, without Ray, as train.py does.

The request is turned into one task. The states in its folder are checked before any training starts, and each
epoch is printed as it ends.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from search.budget import Ladder
from search.energy.process_meter import meter_for
from search.energy.reading import EnergyMeter
from search.energy.usable import unusable_reason
from search.ledger import Ledger, LedgerError
from search.output import Output
from search.printable import counted, first_line
from search.provenance import versions
from search.report.formatting import duration, energy_text, hparams_text, value_text
from search.run_names import run_folder
from search.secrets import without_secrets
from search.space import SpaceError, SpaceSource, load_space
from search.space.yaml_file import Override, Overrides, override_list
from search.tables.history import HistoryFile
from search.trial import Checkpointing, EpochRow, run_task
from search.trial.batch_size import is_auto, model_of, with_batch_size
from search.trial.checkpoints import check_of, differences, settings_in
from search.trial.task import TrialTask, config_text, task_for
from trainables.core.checkpoint import UnreadableCheckpoint, read_identity
from trainables.core.contract import DataError
from trainables.core.files import replacing


@dataclass(frozen=True, kw_only=True)
class TrainingRequest:
    """What to train, and what to keep of it.

    Attributes:
        space: A name in spaces/, a path, or a mapping.
        overrides: Dotted keys of the space: a mapping, or KEY=VALUE strings.
        hparams: Hparams that replace the defaults: a mapping, or NAME=VALUE strings.
        trial: RUN:TRIAL, a trial whose hparams are used.
        seed: Seed of weights, order and augmentation; defaults to the space's.
        is_full: Train the top rung's budget from the first epoch, as promotion does.
        resize: Pairs of an epoch and the resolution in pixels from there on, for a full training.
        out: Folder in which checkpoints are kept; None keeps none.
        resume: A state to resume from instead of the folder's own checkpoint.
        should_test: Evaluate on the test set at the end.
        keep_every: Also keep the state after each multiple of this many epochs.
        is_check: Nothing is kept or tested, so the folder's states do not matter.
    """

    space: SpaceSource
    overrides: Overrides = ()
    hparams: Mapping[str, Any] | Sequence[str] = ()
    trial: str | None = None
    seed: int | None = None
    is_full: bool = False
    resize: Sequence[tuple[int, int]] = ()
    out: Path | None = None
    resume: Path | None = None
    should_test: bool = False
    keep_every: int | None = None
    device: str = "cpu"
    is_check: bool = False


def prepare_training(request: TrainingRequest) -> TrialTask:
    """Return the requested configuration, ladder and seed, with model, data and saved states checked.

    Raises:
        SpaceError: The space or its overrides cannot be used.
        LedgerError: There is no such earlier trial, or the states in the folder are of another training.
        DataError: The data is missing or unsuitable.
    """
    overrides = [
        *override_list(request.overrides),
        *_trial_overrides(request.trial),
        *map(_fixed, override_list(request.hparams)),
    ]
    space = load_space(request.space, overrides=overrides, may_be_fixed=True)
    name = "the space" if isinstance(request.space, Mapping) else str(request.space)
    if request.resize:
        space = replace(space, ladder=_resized(space.ladder, request.resize))
    elif request.is_full:
        space = replace(space, ladder=space.ladder.only_top())
    task = task_for(
        space,
        trial_id="train",
        hparams=space.default_hparams(space.trainable.load()),
        seed=space.training.seed if request.seed is None else request.seed,
        folder=request.out or Path.cwd(),
    )
    _check_model_and_data(task, name)
    _check_device(task, request.device)
    task = replace(task, training=replace(task.training, auto_precision=_auto_precision(task)))
    task = _with_batch_size(task, request.device)
    if not request.is_check and (request.out or request.should_test):
        _check_states(task)
    if request.resume:
        _check_resume(task, request.resume)
    return task


def train(task: TrialTask, request: TrainingRequest, output: Output) -> list[EpochRow]:
    """Train `task`, print one line per epoch, and keep what was requested; return the rows of its epochs.

    Raises:
        DataError: The rungs are measured in joules, and nothing measures those of this training.
    """
    output.print(hparams_text(task.hparams, task.hparams))
    is_on_gpu = request.device.startswith("cuda")
    file = HistoryFile(task.files.history) if request.out or request.should_test else None
    rows = []
    with closing(meter_for(gpus=float(is_on_gpu), cpus=os.cpu_count() or 1)) as meter:
        meter.read()
        if task.ladder.joules and (why := unusable_reason(meter.sensors, is_on_gpu=is_on_gpu)):
            raise DataError(f"search.ladder measures rungs in joules, but in this training {why}; use --full")
        for row in _train_rows(task, request, meter):
            rows.append(row)
            if file:
                file.add(row)
            _print_row(row, output)
    if request.should_test:
        _write_config(task)
        from search.report.charts.training import draw_plots  # Matplotlib, 0.3 s, only for tests

        for line in draw_plots(task.folder, f"seed {task.training.seed}"):
            output.warn(line)
    output.print(_ending_line(task, rows, folder=task.folder if file else None))
    return rows


def _train_rows(task: TrialTask, request: TrainingRequest, meter: EnergyMeter) -> Iterator[EpochRow]:
    task = replace(
        task,
        training=replace(task.training, device=request.device, folder=request.out),
        should_test=request.should_test,
        bounds={},  # its numbers are reported all the same
        is_judged_by_joules=False,  # compared with no other, it need not wait for a sensor's next tick
    )
    own = Checkpointing(path=task.checkpoint, keep_every=request.keep_every)
    return run_task(
        task,
        meter,
        checkpointing=own if request.out else None,
        resume=request.resume,
        should_keep_model=request.out is not None,
    )


def _ending_line(task: TrialTask, rows: Sequence[EpochRow], *, folder: Path | None) -> str:
    """Return "trained 9 epochs: val_accuracy 0.93, on the test set 0.92   files: final"."""
    metric, last = task.metric, rows[-1]
    score = (last.test or {}).get(metric.replace("val_", "test_", 1))
    test = "" if score is None else f", on the test set {value_text(score)}"
    files = f"   files: {folder}" if folder else ""
    value = value_text(last.metrics.get(metric))
    return f"trained {counted(last.epoch, 'epoch')}: {metric} {value}{test}{files}"


def _print_row(row: EpochRow, output: Output) -> None:
    metrics = {**row.metrics, **(row.test or {})}
    text = "  ".join(f"{name} {value_text(value)}" for name, value in metrics.items())
    cost = f"{duration(row.seconds)}  {energy_text(row.energy.total_mj)}"
    output.print(f"epoch {row.epoch}  rung {row.rung}  {cost}{text}")
    for name, note in row.notes.items():
        output.print(f"  {name}: {note}", style="dim")


def _write_config(task: TrialTask) -> None:
    """Write the settings with which the training can be repeated to its folder."""
    with replacing(task.files.config) as scratch:
        scratch.write_text(
            config_text(task, versions(), command=f"python {shlex.join(without_secrets(sys.argv))}"),
            encoding="utf-8",
        )


def _auto_precision(task: TrialTask) -> str:
    """Return what the precision "auto" means here; empty for any other precision."""
    trainable, _ = task.load()
    return trainable.choose_precision(task.context()) if task.training.precision == "auto" else ""


def _with_batch_size(task: TrialTask, device: str) -> TrialTask:
    """Return the task with a number for batch_size "auto": its checkpoint's, or what fits in memory here."""
    if not is_auto(task.hparams):
        return task
    try:
        return replace(task, hparams={**task.hparams, "batch_size": _saved_batch_size(task)})
    except (OSError, UnreadableCheckpoint, LookupError):  # there is none to resume from
        trainable, hparams = task.load()
        context = replace(task.context(), device=device, folder=None)
        choice = trainable.choose_batch_size(trainable.start, hparams, task.ladder.rungs, context, 1.0)
        return replace(task, hparams=with_batch_size(task.hparams, {model_of(task.hparams): choice}))


def _saved_batch_size(task: TrialTask) -> int:
    size: int = read_identity(task.checkpoint)["hparams"]["batch_size"]
    return size


def _check_model_and_data(task: TrialTask, space: str) -> None:
    """Check that the model and the data exist, as preflight does for a search.

    Raises:
        SpaceError: There is no such model.
        DataError: The data is missing or unsuitable.
    """
    trainable, hparams = task.load()
    try:
        trainable.weights(hparams)
    except ValueError as error:
        raise SpaceError(space, [f"parameters.model: {error}"]) from error
    trainable.check_data(task.context())


def _check_device(task: TrialTask, device: str) -> None:
    """Check that the device exists and that torch computes on it.

    Raises:
        SpaceError: There is no such device, or torch does not compute on it.
    """
    if device == "cpu":
        return
    trainable, _ = task.load()
    try:
        trainable.check_device(device)
    except Exception as error:  # CUDA raises errors of many kinds; the first line says what is wrong
        raise SpaceError("--device", [f"{device}: {first_line(error)}; or use cpu"]) from error


def _check_states(task: TrialTask) -> None:
    """Check that the states in the task's folder, which it resumes from or replaces, are its own.

    A damaged checkpoint belongs to no training: it is set aside, with a message.

    Raises:
        LedgerError: They belong to another training; the message lists every difference.
    """

    problems: dict[str, list[str]] = {}
    for path in task.files.states():
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
                    "give another --out or the earlier settings, or move these files away",
                ]
            )
        )


def _check_resume(task: TrialTask, file: Path) -> None:
    """Check that `file` is a state that the task can resume from.

    Raises:
        LedgerError: The file is missing, damaged, or of other settings, which the message lists.
    """

    try:
        check_of(file, settings_in(task.identity), None, read_identity(file))
    except FileNotFoundError as error:
        raise LedgerError(f"--resume: {file} does not exist") from error
    except UnreadableCheckpoint as error:
        raise LedgerError(f"--resume: {error}") from error


def _resized(ladder: Ladder, schedule: Sequence[tuple[int, int]]) -> Ladder:
    try:
        return ladder.resized(list(schedule))
    except ValueError as error:
        raise SpaceError("--resize", [str(error)]) from error


def _trial_overrides(given: str | None) -> list[Override]:
    """Return overrides with the hparams of an earlier trial; for None the trainable's default applies."""
    if given is None:
        return []
    run, colon, trial_id = given.rpartition(":")
    if not colon:
        raise LedgerError(f"--trial must be RUN:TRIAL, such as {given}:trial-0000")
    trials = Ledger.open(run_folder(run, Path("results"))).read_history().trials
    if trial_id not in trials:
        raise LedgerError(f"{run} has no trial {trial_id!r}; it has {', '.join(trials) or 'none'}")
    return [_fixed(hparam) for hparam in trials[trial_id].hparams.items()]


def _fixed(hparam: Override) -> Override:
    """Return the override that fixes a hyperparameter to one value."""
    if not isinstance(hparam, str):
        return f"parameters.{hparam[0]}", {"value": hparam[1]}
    name, equals, value = hparam.partition("=")
    return f"parameters.{name}={{value: {value}}}" if equals else f"parameters.{name}"
