"""`when` and `initial_points`: the places where a space speaks of its parameters by name."""

from __future__ import annotations

import graphlib
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Annotated, Any

from pydantic import PlainValidator

from search.space.errors import KeyedError, shown
from search.space.parameters import Fixed, Parameter, is_same

Conditions = Mapping[str, Mapping[str, tuple[Any, ...]]]


def _conditions(value: Any) -> dict[str, dict[str, tuple[Any, ...]]]:
    form = "must be as in {momentum: {optimizer: sgd}}"
    if not isinstance(value, dict):
        raise ValueError(f"{form}, got {shown(value)}")
    for name, others in value.items():
        if not isinstance(others, dict) or not others:
            raise KeyedError(name, f"{form}, got {shown(others)}")
    return {name: {other: _as_tuple(v) for other, v in others.items()} for name, others in value.items()}


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, list) else (value,)


def _points(value: Any) -> tuple[dict[str, Any], ...]:
    if not isinstance(value, list) or not all(isinstance(point, dict) for point in value):
        raise ValueError(f"must be a list of points such as [{{lr: 0.1}}], got {shown(value)}")
    return tuple(value)


When = Annotated[dict[str, dict[str, tuple[Any, ...]]], PlainValidator(_conditions)]
Points = Annotated[tuple[dict[str, Any], ...], PlainValidator(_points)]


def ordered(names: Iterable[str], when: Conditions) -> list[str]:
    """The names, each after those its condition speaks of.

    Raises:
        graphlib.CycleError: Conditions that depend on each other.
    """
    known = list(names)
    return list(
        graphlib.TopologicalSorter(
            {name: [other for other in when.get(name, {}) if other in known] for name in known}
        ).static_order()
    )


def start_within(
    initial_points: Sequence[Mapping[str, Any]],
    parameters: Mapping[str, Parameter | Fixed],
    names: Container[str],
) -> tuple[dict[str, Any], ...]:
    """The start points without what their parameter no longer allows, for parameters among `names`."""
    kept = (
        {
            name: value
            for name, value in point.items()
            if name not in names or name not in parameters or allows(parameters[name], value)
        }
        for point in initial_points
    )
    return tuple(point for point in kept if point)


def when_within(
    when: Conditions, parameters: Mapping[str, Parameter | Fixed], names: Container[str]
) -> dict[str, dict[str, tuple[Any, ...]]]:
    """The conditions without those of parameters that are fixed now, and without values that are gone.

    A condition that is left without any value can never be met.


    Args:
        names: The parameters that changed; the conditions of the others, and on them, stay as they are.
    """
    return {
        name: {other: _left(other, values, parameters, names) for other, values in others.items()}
        for name, others in when.items()
        if not (name in names and isinstance(parameters.get(name), Fixed))
    }


def _left(
    other: str, values: tuple[Any, ...], parameters: Mapping[str, Parameter | Fixed], names: Container[str]
) -> tuple[Any, ...]:
    entry = parameters.get(other)
    if other not in names or entry is None or isinstance(entry, Fixed):
        return values
    return tuple(value for value in values if entry.contains(value))


def is_active(name: str, hparams: Mapping[str, Any], when: Conditions) -> bool:
    """Whether all that the condition of `name` speaks of is active itself and has such a value."""
    return all(
        other in hparams
        and any(is_same(hparams[other], value) for value in values)
        and is_active(other, hparams, when)
        for other, values in when.get(name, {}).items()
    )


def allows(entry: Parameter | Fixed, value: Any) -> bool:
    """Whether the parameter may have the value, or is fixed at it."""
    return is_same(entry.value, value) if isinstance(entry, Fixed) else entry.contains(value)
