"""What a search would run, before it runs: parameters, ladder, limits, and the forecast.

`--dry-run` prints it: the last chance to see that a limit leaves out half of a list, or that the top rung is
at 16 pixels.
"""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from search.forecast import Forecast
from search.ledger import Ledger
from search.output import Output
from search.report.forecast import forecast_lines, ladder_table
from search.report.formatting import given_limits_text, parameter_text, rerun_text
from search.run.rerun import RerunEstimate, estimate_rerun
from search.sampling.designs import describe_design, designed
from search.space import Space

# One line of docs/ladder.md, "Why asha is the default".
_WHY_DEFAULT = (
    "the default; freeze_thaw needed a third to three quarters of its epochs on recorded curves, "
    "but was no better in real searches of 16 trials"
)


def print_plan(space: Space, output: Output, forecast: Forecast | None = None) -> None:
    """Print parameters, ladder, limits, a list's points, and what the search will take.

    Args:
        forecast: None prints the plan alone, as for rungs measured in joules.
    """
    objective = ", ".join(f"{name} ({mode})" for name, mode in zip(space.objective, space.modes, strict=True))
    output.print(Text.assemble((space.name, "bold"), f": {space.title}, {objective}"))
    output.print(_parameters(space))
    output.print(ladder_table(space, forecast))
    output.print(_horizon(space))
    proposals = designed(space, space.default_hparams(space.trainable.load()))  # none if a sampler chooses
    for line in describe_design(proposals):
        output.print(line)
    if space.limits.trials is not None and len(proposals) > space.limits.trials:
        left_out = len(proposals) - space.limits.trials
        output.warn(f"limits.trials leaves out the last {left_out} points")
    output.print(f"sampler {space.sampler_name}, seed {space.training.seed}; limits: {_limits(space)}")
    print_scheduler(space, output)
    print_deadlines(space, output)
    print_packing(space, output)
    for line in forecast_lines(forecast) if forecast else ():
        output.print(line)


def print_notices(space: Space, output: Output) -> None:
    """Print what the user should know about the space that is not an error."""
    for notice in space.notices:
        output.note(notice)


def print_rerun_estimate(ledger: Ledger, space: Space, output: Output) -> RerunEstimate:
    """Print what it will cost to run the failed trials of the run in `ledger` again, and return it."""
    estimate = estimate_rerun(ledger, space)
    output.print(rerun_text(estimate))
    return estimate


def print_scheduler(space: Space, output: Output) -> None:
    """Print the default scheduler and the reason for it, if the space does not choose one."""
    is_open = "mode" not in space.scheduler.model_fields_set and len(space.ladder.rungs) > 1
    if is_open and not space.is_listed:
        output.print(f"scheduler {space.scheduler.mode}: {_WHY_DEFAULT}", style="dim")


def _limits(space: Space) -> str:
    return given_limits_text(space.limits) or "none: runs until interrupted"


def print_deadlines(space: Space, output: Output) -> None:
    """Print what may end an epoch early: the end of the run, after a grace period, and
    `limits.epoch_minutes`.

    It is printed before each search, because both may cut short an epoch that someone is waiting for.
    """
    grace = f"at the end, running epochs have {space.limits.grace_s:g} s to finish and are then interrupted"
    limit = space.limits.epoch_s
    alone = f"an epoch is stopped after {limit:g} s" if limit else "single epochs have no time limit"
    output.print(f"{grace}; {alone}", style="dim")


def print_packing(space: Space, output: Output) -> None:
    """Print what the forecast cannot know when trials share devices by memory."""
    if space.resources.pack:
        output.print(
            "packed by memory: how many trials train at a time is known once they are measured; the forecast "
            "assumes one at a time, the longest that the search can take",
            style="dim",
        )


def _horizon(space: Space) -> str:
    """What the learning-rate schedule spans, in words: it decides whether scores of rungs compare."""
    full = f"{space.ladder.top.epochs} epochs" if space.ladder.joules else "the whole ladder"
    text = {
        "full": f"one learning-rate schedule over {full}",
        "rung": f"each rung trains from scratch with its own schedule, {space.ladder.ends[-1]} epochs in all",
        "anytime": "a constant learning rate; averaged weights are scored",
    }[space.ladder.horizon]
    return f"horizon {space.ladder.horizon}: {text}"


def _parameters(space: Space) -> Table:
    """The parameters with their ranges, then those that are fixed."""
    table = Table("parameter", "searched over", box=None, pad_edge=False, header_style="dim")
    for name, parameter in space.parameters.items():
        table.add_row(name, parameter_text(parameter))
    for name, value in space.fixed.items():
        table.add_row(name, f"{value} (fixed)")
    return table
