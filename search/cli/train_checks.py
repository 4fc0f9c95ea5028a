"""What train.py does instead of training: try a configuration out in a minute, and say what was found."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from search.output import Output
    from search.trial.task import TrialTask

_VERDICTS = {True: ("passed", "green"), False: ("failed", "red"), None: ("not applicable", "dim")}


def probe(task: TrialTask, options: argparse.Namespace, output: Output) -> int:
    """Print what the top rung's first steps need; 1 where the trainable cannot say."""
    from trainables.core.load import title_of
    from trainables.core.optional import probed_memory

    trainable, hparams = task.load()
    context = replace(task.context(), device=options.device, folder=None)
    found = probed_memory(trainable.start(hparams, task.ladder.top, context), task.ladder.top)
    if found is None:
        output.print(f"{title_of(task.trainable)} does not say what memory it needs")
        return 1
    output.print(f"peak memory {found.peak_mib:.0f} MiB {found.what}")
    for name, note in found.notes.items():
        output.print(f"  {name}: {note}", style="dim")
    return 0


def smoke(task: TrialTask, options: argparse.Namespace, output: Output) -> int:
    """Print a verdict a line; 1 when one is bad."""
    from rich.text import Text

    from search.trial.smoke import SmokeTest
    from trainables.core.load import command_of

    trainable, hparams = task.load()
    context = replace(task.context(), device=options.device, folder=None)
    lowest = task.ladder.rungs[0]
    smoke_test = SmokeTest(
        trainable,
        hparams,
        context,
        resolution=lowest.resolution,
        num_examples=options.smoke,
        num_epochs=lowest.epochs if command_of(task.trainable) else 1,  # a script may score its end only
    )
    num_failed = 0
    for verdict in smoke_test.verdicts():
        word = _VERDICTS[verdict.has_passed]
        num_failed += verdict.has_passed is False
        output.print(Text.assemble(word, f"  {verdict.name}: {verdict.text}"))
    output.print(f"smoke test failed: {num_failed} checks" if num_failed else "smoke test passed")
    return int(num_failed > 0)


def overfit(task: TrialTask, options: argparse.Namespace, output: Output) -> int:
    """Print whether a few examples are learnt by heart, else what to look at; 1 when they are not."""
    from rich.text import Text

    from search.trial.overfit import CHECKLIST, overfitted

    trainable, hparams = task.load()
    context = replace(task.context(), device=options.device, folder=None)
    resolution = task.ladder.rungs[0].resolution
    result = overfitted(trainable, hparams, context, num_examples=options.overfit, resolution=resolution)
    word = _VERDICTS[result.has_passed]
    output.print(Text.assemble(word, f"  overfit on {options.overfit} examples: {result}"))
    if not result.has_passed:
        output.print("look at", *(f"  {point}" for point in CHECKLIST), sep="\n")
    return int(not result.has_passed)
