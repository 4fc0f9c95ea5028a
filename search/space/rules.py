"""What settings of a space go together: objectives, rungs of joules, horizons; and notes on them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import get_args

from search.space.errors import Problems, did_you_mean, listed
from search.space.schema import CostName, SearchSection
from search.space.space import Space

_ADVICE = "take horizon: full or rung, or leave it out"


def check_objective(section: SearchSection, metric: str, sampler: str, problems: Problems) -> None:
    """Add to `problems` what is wrong with the objective, and what cannot be done with two."""
    first, *rest = section.objective or (metric,)
    if first != metric:
        problems.add("search.objective", f"must begin with the metric, {metric}, got {first!r}")
    if len(rest) > 1:
        problems.add("search.objective", f"takes one name beside the metric, got {listed(rest)}")
    for name in set(rest[:1]) - set(get_args(CostName)):
        text = f"only {listed(get_args(CostName))} can stand beside the metric, got {name!r}"
        problems.add("search.objective", text + did_you_mean(name, get_args(CostName)))
    if rest:
        _check_beside(section, sampler, problems)


def _check_beside(section: SearchSection, sampler: str, problems: Problems) -> None:
    if section.scheduler.mode == "pasha":
        problems.add("search.scheduler.mode", "pasha compares one objective; take asha or asha_stopping")
    if sampler == "cmaes":
        problems.add("search.sampler", "cmaes takes one objective; take tpe, gp or nsga2")
    if section.warm_start:
        problems.add("search.warm_start", "earlier runs tell their metric alone; leave it out, or the joules")


def cost_named(section: SearchSection) -> CostName | None:
    """What a checked section minimises beside the metric."""
    return next((name for name in get_args(CostName) if name in section.objective[1:]), None)


def objective_notices(space: Space) -> Iterator[str]:
    """What a sampler does not learn with two objectives."""
    is_learning = space.sampler in {"tpe", "gp", "nsga2"} and not space.is_listed
    if space.cost and is_learning and space.scheduler.mode != "none":
        yield (
            f"search.objective: with two, {space.sampler} learns values of trials that end the ladder only; "
            "a metric at a low rung is not final"
        )


def check_joules(section: SearchSection, problems: Problems) -> None:
    """Add to `problems` what a ladder of joules cannot be combined with."""
    ladder = section.ladder
    if ladder is None or ladder.resource != "energy_j":
        return
    gpus = section.resources.gpus_per_trial
    if gpus is not None and 0 < gpus < 1 and not section.metering.exclusive_slots:
        problems.add(
            "search.resources.gpus_per_trial",
            f"{gpus:g} shares a GPU, whose joules are then not known well enough to end a rung; "
            "take 1, or set metering.exclusive_slots: true",
        )
    if section.scheduler.mode == "pasha":
        text = "pasha compares trials epoch by epoch, and here they differ in what an epoch uses"
        problems.add("search.scheduler.mode", f"{text}; take asha or asha_stopping")
    if section.validation_resolution == "rung" and isinstance(ladder.resolution, list):
        text = "must be top where rungs are measured in joules: an epoch that jumps a rung would be scored at"
        problems.add("search.validation_resolution", f"{text} another resolution than the others there")


def joules_notices(space: Space) -> Iterator[str]:
    """What the horizon makes of a trial that uses its joules before its epochs."""
    if space.ladder.joules and space.ladder.horizon == "full":
        yield (
            f"search.horizon: with full a trial that uses its {space.ladder.joules[-1]:g} J before epoch "
            f"{space.ladder.top.epochs} ends with its schedule cut short; anytime has none to cut"
        )


def check_horizon(space: Space, no_effect_anytime: Sequence[str], problems: Problems) -> None:
    """Add to `problems` every hyperparameter that is varied without effect.

    Args:
        no_effect_anytime: Hparams of the trainable that do nothing under the horizon "anytime".
    """
    text = f"does nothing with search.horizon: anytime, where no schedule falls; {_ADVICE}"
    for name in _idle(space, no_effect_anytime):
        if name in space.parameters:
            problems.add(f"parameters.{name}", text)
        for group, variants in space.ablations.items():
            if any(name in variant for variant in variants):
                problems.add(f"search.ablations.{group}", f"{name} {text}")
        if len({repr(point[name]) for point in space.trials if name in point}) > 1:
            problems.add("search.trials", f"{name} {text}")


def horizon_notices(space: Space, no_effect_anytime: Sequence[str]) -> Iterator[str]:
    """What the horizon makes of fixed hparams and of a ladder of one rung."""
    for name in _idle(space, no_effect_anytime):
        if name in space.fixed:
            yield f"parameters.{name}: ignored by the search with horizon: anytime; promotion uses it"
    if space.ladder.horizon == "rung" and len(space.ladder.rungs) == 1:
        yield "search.horizon: rung means full here, since the ladder has one rung"


def _idle(space: Space, no_effect_anytime: Sequence[str]) -> Sequence[str]:
    return no_effect_anytime if space.ladder.horizon == "anytime" else ()
