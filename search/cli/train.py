"""The train command: one configuration in this process, without Ray."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from search.space import Space

_EXAMPLE = """examples:
  python scripts/train.py --space lr_bs.yaml --hparam lr=0.05 --hparam batch_size=64
  python scripts/train.py --space lr_bs.yaml --trial results/lr_bs:trial-0007 --out final

exit status: 0 done; 1 the training failed; 2 unusable input"""


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
    add("--hparam", action="append", default=[], metavar="NAME=VALUE", help="instead of the default; repeatable")
    add("--trial", metavar="RUN:TRIAL", help="take the hparams of a trial of an earlier run")
    add("--full", action="store_true", help="the top rung from the first epoch, as promotion trains")
    add("--out", type=Path, metavar="DIR", help="keep the checkpoint here; a second call goes on from it")
    add("--device", default="cpu", help="a torch device (default: cpu)")
    return flags


def main(options: argparse.Namespace) -> int:
    """Train, print a line an epoch, and give the exit status."""
    from rich.console import Console as RichConsole

    from search.failure import classify

    task = _task(options)
    output = RichConsole(highlight=False)
    output.print("  ".join(f"{name}={value}" for name, value in task.hparams.items()), soft_wrap=True)
    try:
        _train(task, options, output)
    except Exception as error:
        failure = classify(error)
        if failure.cause == "data":
            raise
        output.print_exception()
        output.print(f"failed: {failure.cause}: {failure.message}", style="red", soft_wrap=True)
        return 1
    return 0


def _train(task: TrialTask, options: argparse.Namespace, output: RichConsole) -> None:
    from search.energy import meter_for
    from search.report.wording import duration, energy_text, value_text
    from search.trial import Checkpointing, run_trial

    trainable, hparams = task.load()
    env = replace(task.env(), device=options.device)
    meter = meter_for(gpus=float(options.device.startswith("cuda")), cpus=os.cpu_count() or 1)
    checkpointing = Checkpointing(path=task.checkpoint) if options.out else None
    for row in run_trial(trainable, hparams, task.ladder, env, meter, checkpointing=checkpointing):
        metrics = "  ".join(f"{name} {value_text(value)}" for name, value in row.metrics.items())
        cost = f"{duration(row.seconds)}  {energy_text(row.energy.total_mj)}"
        output.print(f"epoch {row.epoch}  rung {row.rung}  {cost}  {metrics}", soft_wrap=True)
        for name, note in row.notes.items():
            output.print(f"  {name}: {note}", style="dim", soft_wrap=True)


def _task(options: argparse.Namespace) -> TrialTask:
    from search.cli.search import SPACES
    from search.space import load_space
    from search.task import task_for
    from trainables.load import load_trainable

    space = load_space(options.space, overrides=options.set, spaces_dir=SPACES)
    if options.full:
        space = replace(space, ladder=space.ladder.only_top())
    defaults = space.default_hparams(load_trainable(space.trainable))
    hparams = {**defaults, **_earlier(options.trial), **_given(options.hparam)}
    return task_for(
        space, trial_id="train", hparams=hparams, seed=space.seed, folder=options.out or Path("unused")
    )
