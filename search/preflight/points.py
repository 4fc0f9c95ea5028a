"""The points of a space that can need different files: every model it may name. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from search.sampling.designs import designed
from search.space import Choice, Normal, Parameter, Space
from search.space.parameters import identity, is_number
from search.space.together import combinations, is_name

_MOST_POINTS = 5_000

Point = Mapping[str, Any]


def points_of(space: Space, defaults: Point) -> list[Point]:
    """Hparams that cover everything the space can ask for, the default configuration first.

    A list or design gives its own points. For a searched space these are all combinations of choices among
    names (and true, false and null), since those decide which model is built; numbers, and parameters that
    are switched off, stay at their defaults. With more than 5,000 combinations, each pair of choices is
    combined instead.
    """
    listed = [proposal.hparams for proposal in designed(space, defaults)]
    started = [{**defaults, **point} for point in space.initial_points]
    points = listed or [*started, *(_with(space, defaults, point) for point in _combinations(space))]
    return _once([defaults, *points])


def rehearsed_points(points: Sequence[Point], space: Space, defaults: Point) -> list[Point]:
    """The points to try before a run, those nearest to the default configuration first.

    They include each pair of names (of models, weights, optimisers, ...) that occurs together, and each model
    with all numbers at their lowest and at their highest; for a list instead of the latter, the points with
    the lowest and the highest of each number.
    """
    ordered = sorted(
        points, key=lambda point: sum(identity(defaults[name]) != identity(point[name]) for name in point)
    )
    kept: list[Point] = []
    seen: set[Hashable] = set()
    for point in ordered:
        if new := _pairs(point) - seen:
            seen |= new
            kept.append(point)
    if space.is_listed:
        return _once([*kept, *_extremes(ordered)])
    by_model = {identity(point.get("model")): point for point in reversed(kept)}
    ends = (_at_end(space, point, end) for point in reversed(by_model.values()) for end in (min, max))
    return _once([*kept, *ends])


def _pairs(point: Point) -> set[Hashable]:
    named = [(name, identity(value)) for name, value in point.items() if is_name(value)]
    return {(), *itertools.combinations(named, 2), *((each,) for each in named)}


def _extremes(points: Sequence[Point]) -> Iterator[Point]:
    """For each number, the points where it is lowest and highest."""
    for name in points[0]:
        numbers = [point for point in points if is_number(point[name])]
        if numbers:
            yield min(numbers, key=lambda point: point[name])
            yield max(numbers, key=lambda point: point[name])


def _at_end(space: Space, point: Point, end: Callable[[Iterable[Any]], Any]) -> Point:
    """The point with each searched number at its lowest or its highest."""
    ends = {name: end(numbers) for name, each in space.parameters.items() if (numbers := _numbers(each))}
    return _with(space, point, ends)


def _numbers(parameter: Parameter) -> list[float]:
    """The ends of a range, or the numbers of a choice; none for a normal distribution."""
    if isinstance(parameter, Choice):
        return [value for value in parameter.values if is_number(value)]
    return [] if isinstance(parameter, Normal) else [parameter.low, parameter.high]


def _combinations(space: Space) -> Iterator[Point]:
    return combinations(space.parameters, most=_MOST_POINTS)


def _with(space: Space, defaults: Point, chosen: Point) -> Point:
    """The defaults with the chosen values, except for parameters whose condition is not met."""
    whole = {**defaults, **chosen}
    return {**defaults, **{name: value for name, value in chosen.items() if space.is_active(name, whole)}}


def _once(points: Iterable[Point]) -> list[Point]:
    return list({identity(point): point for point in reversed(list(points))}.values())[::-1]
