"""`when` and `initial_points`: the places where a space speaks of its parameters by name."""

from __future__ import annotations

import graphlib
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Annotated, Any

from pydantic import PlainValidator

from search.space.errors import KeyedError, Problems, did_you_mean, shown, wrong_kind
from search.space.parameters import Fixed, Parameter, described, is_same

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


def check_conditions(
    when: Conditions, parameters: Mapping[str, Parameter | Fixed], broken: Iterable[str], problems: Problems
) -> None:
    """Add to `problems` the conditions that can never be met, or that speak of what is not there.

    Args:
        broken: Parameters that have a problem of their own and are not checked further.
    """
    known = [*parameters, *broken]
    for name, others in when.items():
        if name not in known:
            problems.add(f"search.when.{name}", f"is not among the parameters{did_you_mean(name, known)}")
        elif isinstance(parameters.get(name), Fixed):
            problems.add(f"search.when.{name}", "has one fixed value, so it cannot have a condition")
        for other, values in others.items():
            where = f"search.when.{name}.{other}"
            if other not in known:
                problems.add(where, f"is not among the parameters{did_you_mean(other, known)}")
            elif other in parameters:
                _check_values(where, values, parameters[other], problems)
    try:
        ordered(when, when)
    except graphlib.CycleError as error:
        problems.add("search.when", f"conditions go in a circle: {' -> '.join(error.args[1])}")


def check_start(
    initial_points: Sequence[Mapping[str, Any]],
    parameters: Mapping[str, Parameter | Fixed],
    broken: Iterable[str],
    problems: Problems,
) -> None:
    """Add to `problems` the start points that name no searched parameter or leave its range."""
    known = [*parameters, *broken]
    for index, point in enumerate(initial_points):
        for name, value in point.items():
            where = f"search.initial_points[{index}].{name}"
            if name not in known:
                problems.add(where, f"is not among the parameters{did_you_mean(name, known)}")
            elif name in parameters and not _allows(parameters[name], value):
                problems.add(where, _outside(value, parameters[name]))


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
            if name not in names or name not in parameters or _allows(parameters[name], value)
        }
        for point in initial_points
    )
    return tuple(point for point in kept if point)


def when_within(
    when: Conditions, parameters: Mapping[str, Parameter | Fixed], names: Container[str]
) -> dict[str, dict[str, tuple[Any, ...]]]:
    """The conditions without those of parameters that are fixed now, and without values that are gone.

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
    return tuple(value for value in values if entry.contains(value)) or values


def is_active(name: str, hparams: Mapping[str, Any], when: Conditions) -> bool:
    """Whether all that the condition of `name` speaks of is active itself and has such a value."""
    return all(
        other in hparams
        and any(is_same(hparams[other], value) for value in values)
        and is_active(other, hparams, when)
        for other, values in when.get(name, {}).items()
    )


def _check_values(where: str, values: Sequence[Any], entry: Parameter | Fixed, problems: Problems) -> None:
    if not values:
        problems.add(where, "must be a value or a list of values, got an empty list")
    if isinstance(entry, Fixed):
        return  # an override may fix what a condition speaks of; that may switch the parameter off
    for value in values:
        if not entry.contains(value):
            problems.add(where, _outside(value, entry))


def _allows(entry: Parameter | Fixed, value: Any) -> bool:
    return is_same(entry.value, value) if isinstance(entry, Fixed) else entry.contains(value)


def _outside(value: Any, entry: Parameter | Fixed) -> str:
    if isinstance(entry, Fixed):
        return f"is fixed at {shown(entry.value)}, got {shown(value)}"
    if isinstance(value, str) and described(entry).startswith("a "):
        return wrong_kind(described(entry), value)
    return f"must be {described(entry)}, got {shown(value)}"
