"""The train command: one configuration in this process, without Ray."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from search.cli import train_checks
from search.cli.parsing import CommandParser
from search.cli.train_task import check_resume, check_states, chosen_task, resize_schedule

if TYPE_CHECKING:
    from search.energy.reading import EnergyMeter
    from search.output import Output
    from search.trial import EpochRow
    from search.trial.task import TrialTask

_EXAMPLE = """examples:
  python scripts/train.py --space lr_bs.yaml --hparam lr=0.05 --hparam batch_size=64
  python scripts/train.py --space lr_bs.yaml --trial results/lr_bs:trial-0007 --out final
  python scripts/train.py --space lr_bs.yaml --set search.ladder.epochs=[1,2,6] --resize 1:14,3:20,5:28
  python scripts/train.py --space lr_bs.yaml --out final --keep-every 2
  python scripts/train.py --space lr_bs.yaml --out final --resume final/epoch-0004.pt
  python scripts/train.py --space lr_bs.yaml --smoke

exit status: 0 done; 1 the training or a check failed; 2 unusable input"""


def parser() -> argparse.ArgumentParser:
    """The flags of scripts/train.py."""
    flags = CommandParser(
        prog="train.py",
        description="Train one configuration of a space up its ladder, in this process: to debug, to try "
        "out, or for a last full training.",
        epilog=_EXAMPLE,
    )
    add = flags.add_argument
    add("--space", required=True, metavar="FILE", help="a name in spaces/, or a path")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="override a key of the file")
    add(
        "--hparam",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="instead of the default; repeatable",
    )
    add("--trial", metavar="RUN:TRIAL", help="take the hparams of a trial of an earlier run")
    add("--seed", type=int, metavar="N", help="of weights, order, augmentation (default: the space's)")
    add("--full", action="store_true", help="the top rung from the first epoch, as promotion trains")
    add(
        "--resize",
        type=resize_schedule,
        metavar="EPOCH:PX,...",
        help="grow the images of a full training, such as 1:14,3:20,5:28; scored at the last size",
    )
    add(
        "--out",
        type=Path,
        metavar="DIR",
        help="keep the checkpoint here; a second call with the same settings resumes from it",
    )
    add(
        "--resume",
        type=Path,
        metavar="FILE",
        help="resume from this state instead: a checkpoint.pt, best.pt, final.pt or epoch-0010.pt that the "
        "same settings left",
    )
    add(
        "--test",
        action="store_true",
        help="at the end evaluate on the test set; final.pt and the tables go to --out (default: here)",
    )
    add(
        "--keep-every",
        type=int,
        metavar="N",
        help="also keep the state of every N epochs in --out, as epoch-0010.pt and so on",
    )
    checks = flags.add_mutually_exclusive_group()
    checks.add_argument(
        "--smoke",
        type=int,
        nargs="?",
        const=64,
        metavar="N",
        help="a minute of checks instead: trains, scores, resumes to the bit, overfits; on N examples (64)",
    )
    checks.add_argument(
        "--probe",
        action="store_true",
        help="only measure the memory that the top rung needs: two steps and one scored batch",
    )
    checks.add_argument(
        "--overfit",
        type=int,
        metavar="N",
        help="learn N examples by heart instead, without augmentation; fails with what to look at",
    )
    add("--device", default="cpu", help="a torch device (default: cpu)")
    return flags


def main(options: argparse.Namespace) -> int:
    """Train, print a line an epoch, and give the exit status."""
    from search.output import Output
    from search.report.formatting import hparams_text
    from search.trial.failure import classify

    if options.keep_every is not None and (options.out is None or options.keep_every < 1):
        parser().error(f"--keep-every must be at least 1, beside --out, got {options.keep_every}")
    is_check = options.probe or options.smoke is not None or options.overfit is not None
    if options.resume and is_check:
        parser().error("--resume goes with a training, not with --smoke, --probe or --overfit")
    task = chosen_task(options)
    if not is_check and (options.out or options.test):
        check_states(task)
    if options.resume:
        check_resume(task, options.resume)
    output = Output()
    output.print(hparams_text(task.hparams, task.hparams))
    if options.smoke is not None:
        return train_checks.smoke(task, options, output)
    try:
        if options.probe:
            return train_checks.probe(task, options, output)
        if options.overfit is not None:
            return train_checks.overfit(task, options, output)
        _train(task, options, output)
    except Exception as error:
        failure = classify(error)
        if failure.cause != "data":  # a DataError is the user's to mend; the rest is a bug to find
            output.print(failure.traceback, style="dim")
        output.error(f"failed: {failure.cause}: {failure.message}")
        return 1
    return 0


def _train(task: TrialTask, options: argparse.Namespace, output: Output) -> None:
    from search.energy.process_meter import meter_for
    from search.energy.usable import unusable_reason
    from search.report.charts.training import draw_plots
    from search.tables.history import HistoryFile
    from trainables.core.contract import DataError

    is_on_gpu = options.device.startswith("cuda")
    history = HistoryFile(task.folder / "history.csv") if options.out or options.test else None
    with closing(meter_for(gpus=float(is_on_gpu), cpus=os.cpu_count() or 1)) as meter:
        meter.read()
        if task.ladder.joules and (why := unusable_reason(meter.sensors, is_on_gpu=is_on_gpu)):
            raise DataError(
                f"search.ladder measures rungs in joules, but of this training, {why}; or take --full"
            )
        for row in _rows(task, options, meter):
            if history:
                history.add(row)
            _show(row, output)
    if options.test:
        _write_config(task)
        for line in draw_plots(task.folder, f"seed {task.seed}"):
            output.warn(line)


def _rows(task: TrialTask, options: argparse.Namespace, meter: EnergyMeter) -> Iterator[EpochRow]:
    from search.trial import Checkpointing, run_trial
    from search.trial.stretch import Stretch

    stretch = Stretch(meter)
    with stretch.starting():
        trainable, hparams = task.load()
    checkpointing = Checkpointing(path=task.checkpoint, keep_every=options.keep_every)
    yield from run_trial(
        trainable,
        hparams,
        task.ladder,
        replace(task.context(), device=options.device, folder=options.out),
        meter,
        checkpointing=checkpointing if options.out else None,
        identity=task.identity,
        resume=options.resume,
        metric=task.metric,
        mode=task.mode,
        final=task.final if options.test else None,
        stretch=stretch,
    )


def _show(row: EpochRow, output: Output) -> None:
    from search.report.formatting import duration, energy_text, value_text

    metrics = {**row.metrics, **(row.test or {})}
    text = "  ".join(f"{name} {value_text(value)}" for name, value in metrics.items())
    cost = f"{duration(row.seconds)}  {energy_text(row.energy.total_mj)}"
    output.print(f"epoch {row.epoch}  rung {row.rung}  {cost}{text}")
    for name, note in row.notes.items():
        output.print(f"  {name}: {note}", style="dim")


def _write_config(task: TrialTask) -> None:
    """What the training can be repeated with, beside what it left."""
    from search.provenance import versions
    from search.secrets import without_secrets
    from search.trial.config import config_text
    from trainables.core.files import replacing

    with replacing(task.folder / "config.yaml") as scratch:
        scratch.write_text(
            config_text(task, versions(), command=f"python {shlex.join(without_secrets(sys.argv))}"),
            encoding="utf-8",
        )
