"""What train.py does instead of training: checks a configuration in a minute, and prints what was found.

There are four checks for four questions: does the trainable keep its contract (`--smoke`), can the model
learn at all (`--overfit`), does it fit in GPU memory (`--probe`), and which learning rates are worth
searching (`--lr-range`). None writes a checkpoint or a history.
"""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

from rich.text import Text

from search.ledger import csv_text
from search.output import Output
from search.printable import counted
from search.report.formatting import hparams_text
from search.space import load_space
from search.space.yaml_file import override_list
from search.training import TrainingRequest, prepare_training, train
from search.trial.failure import classify
from search.trial.lr_range import FILE, HIGHEST, LOWEST, RULE, coverage, suggested_range
from search.trial.overfit import CHECKLIST, try_to_overfit
from search.trial.smoke import SmokeTest
from search.trial.task import TrialTask
from trainables.core.files import replacing
from trainables.core.optional import LrRangeStep, lr_range_of, probed_memory

_OUTCOMES = {True: ("passed", "green"), False: ("failed", "red"), None: ("not applicable", "dim")}


def train_or_check(
    request: TrainingRequest,
    output: Output,
    *,
    smoke: int | None = None,
    overfit: int | None = None,
    should_probe: bool = False,
    lr_range: int | None = None,
) -> bool:
    """Train as `request` says, or check what would be trained; print the findings, or why it failed.

    Args:
        smoke: Number of examples for a smoke test; None runs none. `overfit` likewise.
        should_probe: Only measure memory.
        lr_range: Number of steps of a learning-rate range test; None runs none.

    Returns:
        Whether the training completed, or the check passed.

    Raises:
        SpaceError: The space cannot be used; and whatever else `prepare_training` raises.
    """
    task = prepare_training(request)
    if smoke is not None:
        output.print(hparams_text(task.hparams, task.hparams))
        return smoke_test(task, smoke, request, output)
    try:
        if should_probe or overfit is not None or lr_range is not None:
            output.print(hparams_text(task.hparams, task.hparams))
        if should_probe:
            return probe_memory(task, request, output)
        if lr_range is not None:
            return run_lr_range_test(task, lr_range, request, output)
        if overfit is not None:
            return overfit_examples(task, overfit, request, output)
        train(task, request, output)
    except Exception as error:
        failure = classify(error)
        if failure.cause != "data":  # the user can fix a DataError; anything else may be a bug
            output.print(failure.traceback, style="dim")
        output.error(f"failed: {failure.cause}: {failure.message}")
        return False
    return True


def probe_memory(task: TrialTask, request: TrainingRequest, output: Output) -> bool:
    """Print the peak memory of the top rung's first steps, the most that a trial of these hparams needs.

    Returns:
        False if the trainable cannot measure it.
    """
    trainable, hparams = task.load()
    context = replace(task.context(), device=request.device, folder=None)
    found = probed_memory(trainable.start(hparams, task.ladder.top, context), task.ladder.top)
    if found is None:
        output.print(f"{task.trainable.title} does not say how much memory it needs")
        return False
    output.print(f"peak memory {found.peak_mib:.0f} MiB {found.what}")
    for name, note in found.notes.items():
        output.print(f"  {name}: {note}", style="dim")
    return True


def smoke_test(task: TrialTask, num_examples: int, request: TrainingRequest, output: Output) -> bool:
    """Run the smoke test and print one line per check; return False if any failed."""
    trainable, hparams = task.load()
    context = replace(task.context(), device=request.device, folder=None)
    lowest = task.ladder.rungs[0]
    checks = SmokeTest(
        trainable,
        hparams,
        context,
        resolution=lowest.resolution,
        num_examples=num_examples,
        num_epochs=lowest.epochs if task.trainable.command else 1,  # a script may score only its end
        is_script=task.trainable.command is not None,
    )
    num_failed = 0
    for result in checks.results():
        word = _OUTCOMES[result.has_passed]
        num_failed += result.has_passed is False
        output.print(Text.assemble(word, f"  {result.name}: {result.text}"))
    output.print(f"smoke test failed: {counted(num_failed, 'check')}" if num_failed else "smoke test passed")
    return num_failed == 0


def overfit_examples(task: TrialTask, num_examples: int, request: TrainingRequest, output: Output) -> bool:
    """Print whether a few examples can be overfit, and if not, what to check; return whether they can."""
    trainable, hparams = task.load()
    context = replace(task.context(), device=request.device, folder=None)
    resolution = task.ladder.rungs[0].resolution
    result = try_to_overfit(trainable, hparams, context, num_examples=num_examples, resolution=resolution)
    word = _OUTCOMES[result.has_passed]
    output.print(Text.assemble(word, f"  overfit on {num_examples} examples: {result}"))
    if not result.has_passed:
        output.print("check", *(f"  {point}" for point in CHECKLIST), sep="\n")
    return result.has_passed


def run_lr_range_test(task: TrialTask, num_steps: int, request: TrainingRequest, output: Output) -> bool:
    """Train one step at each of rising learning rates; write the curve and its plot, print a suggested range.

    Args:
        num_steps: Steps between the lowest and the highest rate, evenly on a logarithmic scale; fewer are
            taken if the loss blows up.

    Returns:
        False if the training has no optimiser whose rate could rise.
    """
    trainable, hparams = task.load()
    context = replace(task.context(), device=request.device, folder=None)
    top = task.ladder.top
    rising = lr_range_of(
        trainable.start(hparams, top, context), top, low=LOWEST, high=HIGHEST, num_steps=num_steps
    )
    if rising is None:
        output.print(f"{task.trainable.title} has no optimiser whose learning rate could rise")
        return False
    steps = list(rising)
    folder = request.out or Path.cwd()
    found = suggested_range(steps)
    columns = [field.name for field in fields(LrRangeStep)]
    with replacing(folder / FILE) as scratch:
        scratch.write_text(csv_text(columns, [vars(step) for step in steps]), encoding="utf-8")
    from search.report.charts.training import draw_lr_range  # Matplotlib, 0.3 s

    plot = (folder / FILE).with_suffix(".png")
    draw_lr_range(steps, found, plot, task.trainable.title)
    ended = "the loss blew up" if len(steps) < num_steps else "all steps were taken"
    output.print(f"{len(steps)} steps, lr {steps[0].lr:g} to {steps[-1].lr:.3g}: {ended}")
    if found is None:
        output.print("no rate lowered the loss by 5 %: nothing is suggested; try more steps, or --overfit 32")
    else:
        output.print(
            f"suggested lr: {found.low:.2g} to {found.high:.2g}  (steepest at {found.steepest:.2g}, a tenth "
            f"of the rate with the lowest loss {found.safe:.2g})"
        )
        output.print(f"rule: {RULE}", style="dim")
        space = load_space(request.space, overrides=override_list(request.overrides))
        output.print(coverage(space, found))
    output.print(f"files: {folder / FILE} and {plot.name}")
    return True
