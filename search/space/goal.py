"""Metric, ladder and scheduler of a run, from W&B's keys and our own."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import replace

from search.budget import Ladder
from search.space.errors import KeyedError, Problems
from search.space.parameters import Fixed, Parameter
from search.space.schema import DEFAULT_EPOCHS, LadderAxes, Scheduler, SearchSection, SweepFile
from search.space.sweep_program import epochs_of_sweep, top_of_sweep
from trainables.core.contract import Mode, Trainable
from trainables.core.load import TrainableRef

_MINIMIZED = "metric.goal: not given; minimize, as in W&B"
_GOALS: Mapping[Mode, str] = {"max": "maximize", "min": "minimize"}


def metric_of(
    file: SweepFile, section: SearchSection, trainable: Trainable, problems: Problems, *, is_command: bool
) -> tuple[str, Mode, list[str]]:
    """The metric, its direction, and notices about how they were found.

    The trainable's own metric has the trainable's direction, whatever W&B would assume.
    """
    given = file.metric
    own_goal = _GOALS[trainable.mode]
    if given.name in (None, trainable.metric):
        if given.goal not in (None, own_goal):
            problems.add("metric.goal", f"must be {own_goal} for {trainable.metric}, got {given.goal}")
        is_theirs = is_command and given.name is not None and given.goal is None
        has_mode = section.command is not None and section.command.mode is not None
        return trainable.metric, trainable.mode, [_MINIMIZED] if is_theirs and not has_mode else []
    name = given.name or trainable.metric
    notices = [
        f"metric.name: the trainable's own metric is {trainable.metric}; each epoch must report {name}"
    ]
    known = {} if is_command else _known_modes(trainable, is_own=section.trainable.endswith(".py"))
    if mode := known.get(name):
        if given.goal not in (None, _GOALS[mode]):
            problems.add("metric.goal", f"must be {_GOALS[mode]} for {name}, got {given.goal}")
        return name, mode, notices
    if near := difflib.get_close_matches(name, [trainable.metric, *known] if known else [], n=1):
        problems.add("metric.name", f"{section.trainable} reports no {name}; did you mean {near[0]}?")
    if given.goal is None:
        notices.append(_MINIMIZED)
    return name, "max" if given.goal == "maximize" else "min", notices


def _known_modes(trainable: Trainable, *, is_own: bool) -> dict[str, Mode]:
    """The scores a trainable is known to report beside its metric, each with its direction.

    Args:
        is_own: The trainable is a user's file, whose scales do not tell the direction: for an error rate,
            lower is better.
    """
    scales = {} if is_own else trainable.scales
    of_scores: dict[str, Mode] = {
        f"val_{name}": "min" if scale.low == 0 and scale.high is None else "max"
        for name, scale in scales.items()
    }
    return of_scores | {name: measure.mode for name, measure in trainable.measures.items()}


def ladder_of(
    file: SweepFile,
    section: SearchSection,
    of_program: Mapping[str, Parameter | Fixed] | None,
    problems: Problems,
) -> Ladder | None:
    """The ladder: the section's, else that of W&B's `early_terminate`, else the usual; None if invalid.

    Args:
        of_program: The parameters of a sweep file with its own program, among which its epochs may be.
    """
    early = file.early_terminate
    axes = section.ladder or LadderAxes()
    if axes.epochs is None and section.ladder is not None and early is None:
        problems.add("search.ladder.epochs", f"is missing; write epochs: {DEFAULT_EPOCHS}")
        return None
    if early is not None:
        epochs = early.epochs(None if of_program is None else top_of_sweep(of_program))
    else:
        epochs = DEFAULT_EPOCHS if of_program is None else epochs_of_sweep(of_program)
    try:
        ladder = axes.over(axes.epochs or epochs)
        return replace(ladder.with_top(**dict(section.budget)), horizon=section.horizon)
    except KeyedError as error:
        problems.add(f"search.ladder.{error.key}", str(error))
    except ValueError as error:
        key, _, text = str(error).partition(" ")
        problems.add(*(("search.horizon", text) if key == "horizon" else ("search.ladder", str(error))))
    return None


def scheduler_of(
    file: SweepFile, section: SearchSection, reference: TrainableRef, ladder: Ladder
) -> Scheduler:
    """The section's scheduler; `asha_stopping` for a script that cannot resume, unless a mode is given.

    With `asha`, such a script would repeat its earlier epochs at each next rung. With several objectives
    `freeze_thaw` becomes `asha`: its model has one objective, and without the model only ranks decide.
    """
    scheduler, early = section.scheduler, file.early_terminate
    if scheduler.mode == "freeze_thaw" and len(section.objective) > 1:
        scheduler = scheduler.model_copy(update={"mode": "asha"})
    is_once = reference.command is not None and not reference.command["resume"]
    is_open = "mode" not in scheduler.model_fields_set and len(ladder.rungs) > 1
    if is_once and is_open and ladder.horizon == "full":
        scheduler = scheduler.model_copy(update={"mode": "asha_stopping"})
    if early is None or "eta" in scheduler.model_fields_set:
        return scheduler
    return scheduler.model_copy(update={"eta": early.eta})
