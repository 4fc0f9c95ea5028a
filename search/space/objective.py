"""What a search optimises: its metric alone, or joules beside it; and with what the two go together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

from search.space.problems import Problems, did_you_mean, listed
from search.space.resolved import Space
from search.space.schema import CostName, SearchSection


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
    if section.scheduler.mode == "grow":
        problems.add("search.scheduler.mode", "grow compares one objective; take promotion or stopping")
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
