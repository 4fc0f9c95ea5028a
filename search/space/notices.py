"""What a user should know about a space although it is no error.

`NOTICES` lists functions of a space and its draft, whose lines are printed in this order before a search and
by --dry-run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from search.space.command import command_notices
from search.space.conditions import needed
from search.space.errors import listed, shown
from search.space.parameters import Choice, Integer, Parameter, Real, described, is_same, num_values
from search.space.rules import Draft
from search.space.schema import DEFAULT_EPOCHS
from search.space.space import Space
from search.space.sweep_program import program_notices
from search.space.yaml_parser import scalar_notes

# W&B's keys that have no effect on what is searched.
_WITHOUT_EFFECT = (
    *("apiVersion", "kind", "job", "image_uri", "project", "entity", "controller", "scheduler"),
)
_WIDE = 100  # from this ratio on, 90 % of a linear range lies in its last decade
_LOG_NAMES = ("lr", "learning_rate", "weight_decay")
_FROM_FINISHED = ("gp", "nsga2", "cmaes")


def _of_sweep_keys(space: Space, draft: Draft) -> Iterator[str]:
    """How W&B's keys were read, and what was chosen for missing ones."""
    file, ladder = draft.file, draft.section.ladder
    has_epochs = ladder is not None and ladder.epochs is not None
    is_program = [key for key in ("program", "command") if getattr(file, key) is not None]
    if (unused := is_program) and not draft.is_command:
        yield f"{listed(unused)}: ignored; search.trainable names what is trained"
    if unused := [key for key in _WITHOUT_EFFECT if getattr(file, key) is not None]:
        yield f"{listed(unused)}: ignored; they are for W&B's servers"
    if file.name not in (None, space.name):
        yield f"name: the run is called {space.name}, a name that its folder can have"
    if file.method == "custom":
        yield "method: custom is a scheduler of W&B; search.sampler is tpe here"
    if file.metrics is not None:
        yield "metrics: ignored; trials are ranked by the one under metric"
    if file.metric.target is not None:
        yield "metric.target: ignored; search.limits decide when the run ends"
    if file.metric.impute is not None or file.metric.impute_while_running is not None:
        yield "metric.impute: ignored; a failed trial has no score here, and the sampler knows that"
    if draft.is_of_sweep:
        given = {} if draft.section.command is None else draft.section.command.defaults
        has_ladder = has_epochs or file.early_terminate is not None
        yield from program_notices(draft.declared.entries, given, has_ladder=has_ladder)
    elif file.early_terminate is None and not has_epochs:
        yield f"search.ladder: not given; epochs are {DEFAULT_EPOCHS}"
    if file.early_terminate is not None and has_epochs:
        yield "early_terminate: its brackets are ignored; search.ladder sets the epochs"
    elif file.early_terminate is not None:
        yield f"early_terminate: read as search.ladder.epochs: {[rung.epochs for rung in space.ladder.rungs]}"


def _of_reading(space: Space, draft: Draft) -> Iterator[str]:
    """What was read in a way that may surprise."""
    yield from draft.declared.notes
    yield from scalar_notes(draft.scalars, is_sweep=draft.file.is_sweep)


def _of_end(space: Space, draft: Draft) -> Iterator[str]:
    if space.is_listed and draft.section.sampler not in (None, "grid"):
        yield f"search.sampler: ignored; {draft.section.lists[0]} decides which points are trained"
    if not any((space.limits.trials, space.limits.hours, space.limits.most_kwh)) and not space.is_listed:
        yield "search.limits: none given; the run continues until it is interrupted"


def _of_sampler(space: Space, draft: Draft) -> Iterator[str]:
    """What the sampler costs or leaves to chance."""
    sampler = space.sampler
    if space.is_listed:
        return
    if sampler == "gp":  # measured on two cores: import 6 s, 520 MB
        yield "search.sampler: gp loads torch into the search's own process: seconds, and half a GB"
    if sampler not in _FROM_FINISHED:
        return
    if space.scheduler.mode != "none" and not space.beside:  # with several objectives tpe does not either
        yield f"search.sampler: {sampler} learns nothing from trials that a rung stops; tpe does"
    at_random = [
        name
        for name, parameter in space.parameters.items()
        if name in space.when or _is_lost(sampler, parameter)
    ]
    if at_random:
        yield f"search.sampler: {sampler} draws {listed(at_random)} at random; tpe does not"


def _is_lost(sampler: str, parameter: Parameter) -> bool:
    is_name = isinstance(parameter, Choice) and parameter.probabilities is None and not parameter.is_ordered
    return sampler == "cmaes" and is_name


def _of_parameters(space: Space, draft: Draft) -> Iterator[str]:
    """What is allowed for a parameter but seldom meant."""
    assert draft.trainable is not None, "a space has a trainable"
    assert draft.check is not None, "a space's values were checked"
    defaults = space.default_hparams(draft.trainable)
    for name, parameter in space.parameters.items():
        where = f"parameters.{name}"
        if isinstance(parameter, Real) and not parameter.log and _is_wide(name, parameter):
            yield f"{where}: most draws will be near {parameter.high}; consider log_uniform_values"
        if isinstance(parameter, Integer) and draft.check.takes_fractions(name):
            yield f"{where}: only whole numbers are tried; write min: {parameter.low}.0 for fractions"
        if not parameter.contains(defaults[name]) and space.is_active(name, defaults):
            value, allowed = shown(defaults[name]), described(parameter)
            yield f"{where}: the default configuration, trial 0, has {value}, which is not {allowed}"
        for other, values in needed(name, space.when).items():
            if reason := _never(space, other, values):
                yield f"search.when.{name}: never true, since {reason}"


def _never(space: Space, name: str, values: Sequence[Any]) -> str | None:
    """Why a parameter never has any of the values that conditions need; None if it may."""
    if name in space.fixed:
        has_one = any(is_same(space.fixed[name], value) for value in values)
        return None if has_one else f"{name} is {shown(space.fixed[name])}"
    if not values:
        return f"conditions need different values of {name}"
    if name in space.parameters and num_values(space.parameters[name]) is None and not space.is_listed:
        return f"a draw of {name}, from a range, is never exactly {listed(values)}; give it values"
    return None


def _is_wide(name: str, real: Real) -> bool:
    is_logarithmic = name.rpartition(".")[2].endswith(_LOG_NAMES)
    return is_logarithmic and 0 <= real.low * _WIDE <= real.high


def _of_horizon(space: Space, draft: Draft) -> Iterator[str]:
    """How the horizon affects fixed hyperparameters and a ladder of one rung."""
    for name in draft.idle_hparams:
        if name in space.fixed:
            yield f"parameters.{name}: ignored by the search with horizon: anytime; promotion uses it"
    if space.ladder.horizon == "rung" and len(space.ladder.rungs) == 1:
        yield "search.horizon: rung means full here, since the ladder has one rung"


def _of_command(space: Space, draft: Draft) -> Iterator[str]:
    if (description := space.trainable.command) is not None:
        is_chosen = "mode" not in draft.section.scheduler.model_fields_set
        is_mode_chosen = is_chosen and space.scheduler.mode == "asha_stopping"
        yield from command_notices(
            description, space.ladder, space.scheduler.mode, is_mode_chosen=is_mode_chosen
        )


def _of_objective(space: Space, draft: Draft) -> Iterator[str]:
    """What the scheduler and the sampler do differently with several objectives."""
    if draft.section.scheduler.mode == "freeze_thaw" and space.scheduler.mode == "asha":
        yield (
            "search.scheduler.mode: asha instead of freeze_thaw, whose model of learning curves has only one "
            "metric; with several objectives trials are ranked by dominance"
        )
    is_learning = space.sampler in {"tpe", "gp", "nsga2"} and not space.is_listed
    if space.beside and is_learning and space.scheduler.mode != "none":
        yield (
            f"search.objective: with several, {space.sampler} learns only from trials that complete the "
            "ladder, as a metric at a low rung is not final"
        )


def _of_joules(space: Space, draft: Draft) -> Iterator[str]:
    """How `horizon: full` treats a trial that uses up its joules before its epochs."""
    if space.ladder.joules and space.ladder.horizon == "full":
        yield (
            f"search.horizon: with full a trial that uses its {space.ladder.joules[-1]:g} J before epoch "
            f"{space.ladder.top.epochs} ends with its schedule cut short; anytime has none to cut"
        )


NOTICES: tuple[Callable[[Space, Draft], Iterator[str]], ...] = (
    _of_sweep_keys,
    _of_reading,
    _of_end,
    _of_sampler,
    _of_parameters,
    _of_horizon,
    _of_command,
    _of_objective,
    _of_joules,
)


def notices_of(space: Space, draft: Draft) -> list[str]:
    """All notices of the space, in order."""
    return [notice for of_one_thing in NOTICES for notice in of_one_thing(space, draft)]
