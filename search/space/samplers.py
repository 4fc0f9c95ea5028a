"""What the sampler that a space names needs, and what it cannot do."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping

from search.space.conditions import Conditions
from search.space.errors import Problems, listed
from search.space.parameters import Choice, Parameter

_PACKAGES: Mapping[str, tuple[str, ...]] = {"gp": ("scipy", "torch"), "cmaes": ("cmaes",)}
_FROM_FINISHED = ("gp", "nsga2", "cmaes")


def check_sampler(sampler: str, problems: Problems) -> None:
    """Add to `problems` the packages that the sampler needs and this environment has not."""
    missing = [name for name in _PACKAGES.get(sampler, ()) if importlib.util.find_spec(name) is None]
    if missing:
        text = f"{sampler} needs {listed(missing)}; pip install {' '.join(missing)}, or take tpe"
        problems.add("search.sampler", text)


def sampler_notices(
    sampler: str, parameters: Mapping[str, Parameter], when: Conditions, scheduler: str, has_cost: bool
) -> Iterator[str]:
    """What the sampler costs or leaves to chance."""
    if sampler == "gp":  # measured on two cores: import 6 s, 520 MB
        yield "search.sampler: gp loads torch into the search's own process: seconds, and half a GB"
    if sampler not in _FROM_FINISHED:
        return
    if scheduler != "none" and not has_cost:  # with joules beside the metric tpe does not either
        yield f"search.sampler: {sampler} learns nothing from trials that a rung stops; tpe does"
    at_random = [
        name for name, parameter in parameters.items() if name in when or _is_lost(sampler, parameter)
    ]
    if at_random:
        yield f"search.sampler: {sampler} draws {listed(at_random)} at random; tpe does not"


def _is_lost(sampler: str, parameter: Parameter) -> bool:
    is_name = isinstance(parameter, Choice) and parameter.probabilities is None and not parameter.is_ordered
    return sampler == "cmaes" and is_name
