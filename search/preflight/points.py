"""The points of a space that can need different files: every model it may name. Pure."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from search.sampling.designs import designed
from search.space import Choice, Space
from search.space.parameters import identity

_MOST_POINTS = 5_000

Point = Mapping[str, Any]


def points_of(space: Space, defaults: Point) -> list[Point]:
    """Hparams that stand for everything the space can ask for, the default configuration first.

    A list or design gives its own points. Of a searched space every combination of choices among
    names (and of true, false and null) is taken, for those decide which model is built; numbers stay
    at their defaults, and a parameter that is switched off too. Where there are more than 5,000
    combinations, each pair of choices is taken instead.
    """
    listed = [proposal.hparams for proposal in designed(space, defaults)]
    started = [{**defaults, **point} for point in space.start]
    points = listed or [*started, *(_with(space, defaults, point) for point in _combinations(space))]
    return _once([defaults, *points])


def _combinations(space: Space) -> Iterator[Point]:
    choices = {
        name: parameter.values
        for name, parameter in space.parameters.items()
        if isinstance(parameter, Choice) and any(_is_name(value) for value in parameter.values)
    }
    if math.prod(map(len, choices.values())) <= _MOST_POINTS:
        groups: Iterable[tuple[str, ...]] = [tuple(choices)]
    else:
        groups = itertools.combinations(choices, 2)
    for names in groups:
        for values in itertools.product(*(choices[name] for name in names)):
            yield dict(zip(names, values, strict=True))


def _with(space: Space, defaults: Point, chosen: Point) -> Point:
    """The defaults with what is chosen, but for parameters whose condition is not met."""
    whole = {**defaults, **chosen}
    return {**defaults, **{name: value for name, value in chosen.items() if space.is_active(name, whole)}}


def _is_name(value: Any) -> bool:
    return value is None or isinstance(value, str | bool)


def _once(points: Iterable[Point]) -> list[Point]:
    return list({identity(point): point for point in reversed(list(points))}.values())[::-1]
