"""The train command: one configuration in this process, without Ray."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console as RichConsole

    from search.budget import Ladder
    from search.trial.task import TrialTask

_EXAMPLE = """examples:
  python scripts/train.py --space lr_bs.yaml --hparam lr=0.05 --hparam batch_size=64
  python scripts/train.py --space lr_bs.yaml --trial results/lr_bs:trial-0007 --out final
  python scripts/train.py --space lr_bs.yaml --set search.ladder.epochs=[1,2,6] --resize 1:14,3:20,5:28
  python scripts/train.py --space lr_bs.yaml --smoke

exit status: 0 done; 1 the training or a check failed; 2 unusable input"""

_VERDICTS = {True: "[green]passed[/]", False: "[red]failed[/]", None: "[dim]not applicable[/]"}


def parser() -> argparse.ArgumentParser:
    """The flags of scripts/train.py."""
    flags = argparse.ArgumentParser(
        prog="train.py",
        description="Train one configuration of a space up its ladder, in this process: to debug, to try "
        "out, or for a last full training.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
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
        type=_schedule,
        metavar="EPOCH:PX,...",
        help="grow the images of a full training, such as 1:14,3:20,5:28; scored at the last size",
    )
    add("--out", type=Path, metavar="DIR", help="keep the checkpoint here; a second call goes on from it")
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
    from search.report.console import open_console
    from search.report.wording import hparams_text
    from search.trial.failure import classify

    if options.keep_every is not None and (options.out is None or options.keep_every < 1):
        parser().error(f"--keep-every must be at least 1, beside --out, got {options.keep_every}")
    task = _task(options)
    output = open_console()
    output.print(hparams_text(task.hparams, task.hparams), soft_wrap=True)
    if options.smoke is not None:
        return _smoke(task, options, output)
    try:
        if options.probe:
            return _probe(task, options, output)
        if options.overfit is not None:
            return _overfit(task, options, output)
        _train(task, options, output)
    except Exception as error:
        failure = classify(error)
        if failure.cause != "data":  # a DataError is the user's to mend; the rest is a bug to find
            output.print(failure.traceback, style="dim", soft_wrap=True)
        output.print(f"failed: {failure.cause}: {failure.message}", style="red", soft_wrap=True)
        return 1
    return 0


def _train(task: TrialTask, options: argparse.Namespace, output: RichConsole) -> None:
    from search.energy import meter_for
    from search.report.plots import draw_plots
    from search.report.wording import duration, energy_text, value_text
    from search.tables.history import HistoryFile
    from search.trial import Checkpointing, run_trial
    from search.trial.used import why_unfit
    from trainables.contract import DataError

    trainable, hparams = task.load()
    is_on_gpu = options.device.startswith("cuda")
    meter = meter_for(gpus=float(is_on_gpu), cpus=os.cpu_count() or 1)
    meter.read()
    if task.ladder.joules and (why := why_unfit(meter.sources, is_on_gpu=is_on_gpu)):
        raise DataError(
            f"search.ladder measures rungs in joules, but of this training, {why}; or take --full"
        )
    checkpointing = Checkpointing(path=task.checkpoint, keep_every=options.keep_every)
    rows = run_trial(
        trainable,
        hparams,
        task.ladder,
        replace(task.env(), device=options.device, folder=options.out),
        meter,
        checkpointing=checkpointing if options.out else None,
        metric=task.metric,
        mode=task.mode,
        final=task.final if options.test else None,
    )
    history = HistoryFile(task.folder / "history.csv") if options.out or options.test else None
    for row in rows:
        if history:
            history.add(row)
        metrics = {**row.metrics, **(row.test or {})}
        text = "  ".join(f"{name} {value_text(value)}" for name, value in metrics.items())
        cost = f"{duration(row.seconds)}  {energy_text(row.energy.total_mj)}"
        output.print(f"epoch {row.epoch}  rung {row.rung}  {cost}{text}", soft_wrap=True)
        for name, note in row.notes.items():
            output.print(f"  {name}: {note}", style="dim", soft_wrap=True)
    if options.test:
        _write_config(task)
        for line in draw_plots(task.folder, f"seed {task.seed}"):
            output.print(f"warning: {line}", style="yellow", soft_wrap=True, markup=False)


def _write_config(task: TrialTask) -> None:
    """What the training can be repeated with, beside what it left."""
    from search.environment import versions
    from search.trial.config import config_text
    from trainables.atomic_write import replacing

    with replacing(task.folder / "config.yaml") as scratch:
        scratch.write_text(
            config_text(task, versions(), command=f"python {shlex.join(sys.argv)}"), encoding="utf-8"
        )


def _probe(task: TrialTask, options: argparse.Namespace, output: RichConsole) -> int:
    """Print what the top rung's first steps need; 1 where the trainable cannot say."""
    from trainables.contract import probed_memory
    from trainables.load import title_of

    trainable, hparams = task.load()
    env = replace(task.env(), device=options.device, folder=None)
    probe = probed_memory(trainable.start(hparams, task.ladder.top, env), task.ladder.top)
    if probe is None:
        output.print(f"{title_of(task.trainable)} does not say what memory it needs", soft_wrap=True)
        return 1
    output.print(f"peak memory {probe.peak_mib:.0f} MiB {probe.what}", soft_wrap=True)
    for name, note in probe.notes.items():
        output.print(f"  {name}: {note}", style="dim", soft_wrap=True)
    return 0


def _smoke(task: TrialTask, options: argparse.Namespace, output: RichConsole) -> int:
    """Print a verdict a line; 1 when one is bad."""
    from rich.markup import escape

    from search.trial.smoke import SmokeTest

    trainable, hparams = task.load()
    env = replace(task.env(), device=options.device, folder=None)
    resolution = task.ladder.rungs[0].resolution
    smoke = SmokeTest(trainable, hparams, env, resolution=resolution, num_examples=options.smoke)
    num_failed = 0
    for verdict in smoke.verdicts():
        word = _VERDICTS[verdict.has_passed]
        num_failed += verdict.has_passed is False
        output.print(f"{word}  {verdict.name}: {escape(verdict.text)}", soft_wrap=True)
    output.print(f"smoke test failed: {num_failed} checks" if num_failed else "smoke test passed")
    return int(num_failed > 0)


def _overfit(task: TrialTask, options: argparse.Namespace, output: RichConsole) -> int:
    """Print whether a few examples are learnt by heart, else what to look at; 1 when they are not."""
    from search.trial.overfit import CHECKLIST, overfitted

    trainable, hparams = task.load()
    env = replace(task.env(), device=options.device, folder=None)
    resolution = task.ladder.rungs[0].resolution
    result = overfitted(trainable, hparams, env, num_examples=options.overfit, resolution=resolution)
    word = _VERDICTS[result.has_passed]
    output.print(f"{word}  overfit on {options.overfit} examples: {result}", soft_wrap=True)
    if not result.has_passed:
        output.print("look at", *(f"  {point}" for point in CHECKLIST), sep="\n", soft_wrap=True)
    return int(not result.has_passed)


def _task(options: argparse.Namespace) -> TrialTask:
    from search.cli.search import SPACES
    from search.space import load_space
    from search.trial.task import task_for
    from trainables.load import load_trainable

    overrides = [*options.set, *_trial_overrides(options), *map(_fixed, options.hparam)]
    space = load_space(options.space, overrides=overrides, spaces_dir=SPACES, may_be_fixed=True)
    if options.resize:
        space = replace(space, ladder=_resized(space.ladder, options.resize))
    elif options.full:
        space = replace(space, ladder=space.ladder.only_top())
    return task_for(
        space,
        trial_id="train",
        hparams=space.default_hparams(load_trainable(space.trainable)),
        seed=space.seed if options.seed is None else options.seed,
        folder=options.out or Path.cwd(),
    )


def _schedule(text: str) -> list[tuple[int, int]]:
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
    from search.ledger import Ledger, LedgerError
    from search.ledger.history import History

    folder, _, trial_id = options.trial.rpartition(":")
    trials = History(Ledger.open(Path(folder)).events()).trials
    if trial_id not in trials:
        raise LedgerError(f"{folder} has no trial {trial_id!r}; it has {', '.join(trials) or 'none'}")
    hparams = trials[trial_id].hparams
    return [_fixed(f"{name}={json.dumps(value)}") for name, value in hparams.items() if value is not None]


def _fixed(assignment: str) -> str:
    name, equals, value = assignment.partition("=")
    return f"parameters.{name}={{value: {value}}}" if equals else f"parameters.{name}"
