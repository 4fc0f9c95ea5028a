"""Points that are known before a run starts: lists, designs, ablations and grids. Pure."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from search.sampling.axes import axis_of
from search.sampling.proposal import Point, Proposal, first_points
from search.space import Choice, Normal, Parameter, Space
from search.space.parameters import identity, is_same, num_values, range_values


def designed(space: Space, defaults: Mapping[str, Any]) -> list[Proposal]:
    """Return the points of the space's trials, design, ablations or grid, each once; [] if it has none.

    The default configuration and the space's initial points come first. With repeats, every point comes once
    before any comes again, so that a run cut short has seen as many of them as possible.

    Args:
        defaults: The default configuration: every hparam of the trainable.
    """
    points = list(_points(space, defaults))
    if not points:
        return []
    once = _without_repeats([*first_points(space, defaults), *points])
    return [
        Proposal(hparams=point, proposed_by=proposed_by, seed=_seed(space.training.seed, repeat))
        for repeat in range(space.repeats)
        for point, proposed_by in once
    ]


def describe_design(proposals: Sequence[Proposal]) -> list[str]:
    """Return one line per proposal: how it differs from the first one, the default configuration."""
    default = proposals[0].hparams if proposals else {}
    return [_described(proposal, default) for proposal in proposals]


def listed_values(parameter: Parameter, levels: int | None) -> list[Any]:
    """Return the values that a design tries: the listed ones, or `levels` of a range, even on its own scale.

    A normal distribution is cut into parts of equal probability, and each part gives its median.
    """
    if isinstance(parameter, Choice):
        return list(parameter.values)
    if (count := num_values(parameter)) and (levels is None or count <= levels):
        return range_values(parameter)
    assert levels is not None, "the space lets no range without levels into a design"
    middles = [(index + 0.5) / levels for index in range(levels)]
    ends = [index / (levels - 1) for index in range(levels)]
    values = [axis_of(parameter).at(share) for share in (middles if isinstance(parameter, Normal) else ends)]
    return list({identity(value): value for value in values}.values())


def ablated(space: Space, defaults: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the points of the space's ablations, each with the name of its group; groups may share points."""
    for name, variants in space.ablations.items():
        for values in variants:
            yield from ((name, _settled(space, defaults, chosen)) for chosen in _combined(values))


def _points(space: Space, defaults: Mapping[str, Any]) -> Iterator[Point]:
    yield from (({**defaults, **point}, "list") for point in space.trials)
    yield from ((point, "design") for _, point in ablated(space, defaults))
    if space.design == "one-factor":
        yield from ((point, "design") for point in _one_factor(space, defaults))
    elif space.design is not None:
        yield from ((point, "design") for point in _joint(space, defaults))
    elif space.sampler == "grid" and not space.trials and not space.ablations:
        yield from ((point, "sampler") for point in _joint(space, defaults))


def _joint(space: Space, defaults: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield every combination. Those that differ only in what a condition switches off come out equal."""
    values = {name: listed_values(parameter, space.levels) for name, parameter in space.parameters.items()}
    return (_settled(space, defaults, chosen) for chosen in _combined(values))


def _one_factor(space: Space, defaults: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for name, parameter in space.parameters.items():
        needed = _needed(space, defaults, name)
        for value in listed_values(parameter, space.levels):
            yield _settled(space, defaults, {**needed, name: value})


def _combined(values: Mapping[str, Iterable[Any]]) -> Iterator[dict[str, Any]]:
    return (dict(zip(values, chosen, strict=True)) for chosen in itertools.product(*values.values()))


def _needed(space: Space, defaults: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the values that other parameters need for `name` to be active in the default configuration."""
    needed: dict[str, Any] = {}
    for other, values in space.when.get(name, {}).items():
        needed |= _needed(space, defaults, other)
        if not any(is_same(defaults[other], value) for value in values):
            needed[other] = values[0]
    return needed


def _settled(space: Space, defaults: Mapping[str, Any], chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Return the default configuration with the chosen values, except those that a condition switches off."""
    free = {name: value for name, value in chosen.items() if name not in space.parameters}
    point = {**defaults, **free}
    for name in space.search_order():
        if name in chosen and space.is_active(name, point):
            point[name] = chosen[name]
    return point


def _without_repeats(points: Iterable[Point]) -> list[Point]:
    once: dict[Any, Point] = {}
    for point, proposed_by in points:
        once.setdefault(identity(point), (point, proposed_by))
    return list(once.values())


def _seed(seed: int, repeat: int) -> int | None:
    if repeat == 0:
        return None
    return int.from_bytes(hashlib.sha256(f"repeat {seed} {repeat}".encode()).digest()[:4])


def _described(proposal: Proposal, default: Mapping[str, Any]) -> str:
    changed = [
        f"{name}={value}"
        for name, value in proposal.hparams.items()
        if name not in default or not is_same(value, default[name])
    ]
    seed = "" if proposal.seed is None else f" (seed {proposal.seed})"
    return (" ".join(changed) or "the default configuration") + seed
