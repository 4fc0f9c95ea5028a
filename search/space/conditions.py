"""`when`, `initial_points` and `defaults`: where a space refers to its parameters by name.

A condition `momentum: {optimizer: [sgd]}` searches momentum only where optimizer is sgd; elsewhere the
trainable's default is used. Conditions chain: a parameter is active only if those in its condition are.
"""

from __future__ import annotations

import graphlib
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import PlainValidator

from search.space.errors import KeyedError, is_within, listed, shown, wrong_kind
from search.space.parameters import Fixed, Parameter, described, is_same

# For each parameter, the other parameters it depends on, with the values of which each must have one.
Conditions = Mapping[str, Mapping[str, tuple[Any, ...]]]


def _conditions(value: Any) -> dict[str, dict[str, tuple[Any, ...]]]:
    form = "must look like {momentum: {optimizer: sgd}}"
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
    """The names, each after those in its condition, so that a draw can decide them one by one.

    Raises:
        graphlib.CycleError: Conditions depend on each other.
    """
    known = list(names)
    return list(
        graphlib.TopologicalSorter(
            {name: [other for other in when.get(name, {}) if other in known] for name in known}
        ).static_order()
    )


def is_active(name: str, hparams: Mapping[str, Any], when: Conditions) -> bool:
    """Whether every parameter in the condition of `name` is active and has one of the values.

    Args:
        hparams: A whole configuration, or the part decided so far: a parameter missing from it is not
            active. In the order of `ordered`, whatever a condition needs is decided before it is checked.
    """
    return all(
        other in hparams
        and any(is_same(hparams[other], value) for value in values)
        and is_active(other, hparams, when)
        for other, values in when.get(name, {}).items()
    )


def needed(name: str, when: Conditions) -> dict[str, tuple[Any, ...]]:
    """The values that each parameter must have for `name` to be active, by all the conditions in its chain.

    They are empty for a parameter of which two conditions need different values.
    """
    values: dict[str, tuple[Any, ...]] = {}
    chain = [name]
    for each in chain:  # grows while it is iterated
        for other, allowed in when.get(each, {}).items():
            before = values.get(other, allowed)
            values[other] = tuple(value for value in before if any(is_same(value, one) for one in allowed))
            chain += [other] if other not in chain else []
    return values


def allows(entry: Parameter | Fixed, value: Any) -> bool:
    """Whether the parameter may have the value, or is fixed at it."""
    return is_same(entry.value, value) if isinstance(entry, Fixed) else entry.contains(value)


def outside_text(entry: Parameter | Fixed, value: Any) -> str:
    """Why a parameter does not allow the value, for a message."""
    if isinstance(entry, Fixed):
        return f"is fixed at {shown(entry.value)}, got {shown(value)}"
    if isinstance(value, str) and described(entry).startswith("a "):
        return wrong_kind(described(entry), value)
    return f"must be {described(entry)}, got {shown(value)}"


@dataclass
class NamedSettings:
    """The parameters of one file and the settings that refer to them by name, which change together.

    Attributes:
        entries: Each parameter, searched or fixed.
        when: The conditions under which a parameter is searched.
        initial_points: Points, each partial, that are tried first.
        defaults: Values of trial 0 that replace the trainable's own.
        notes: Lines that tell the user what was changed here.
    """

    entries: dict[str, Parameter | Fixed]
    when: dict[str, dict[str, tuple[Any, ...]]]
    initial_points: tuple[dict[str, Any], ...]
    defaults: dict[str, Any]
    notes: list[str]

    @property
    def searched(self) -> dict[str, Parameter]:
        """The parameters that have more than one value to choose from."""
        return {name: entry for name, entry in self.entries.items() if not isinstance(entry, Fixed)}

    @property
    def fixed(self) -> dict[str, Any]:
        """The values of the fixed parameters."""
        return {name: entry.value for name, entry in self.entries.items() if isinstance(entry, Fixed)}

    def adapt_to_overrides(self, overridden: Sequence[str]) -> None:
        """Drop from points and conditions what overridden parameters no longer allow, and note it.

        `--set parameters.lr.max=0.1` over a file whose initial point has lr 0.3 would otherwise be an error
        in a line that the user did not write, and need a second override. What was overridden itself stays
        and is checked: there a value out of range is the user's mistake.

        Args:
            overridden: Dotted places that overrides set or emptied, such as "parameters.lr.max".
        """
        places = [place.replace(".parameters.", ".") for place in overridden]
        names = [name for name in self.entries if any(is_within(p, f"parameters.{name}") for p in places)]
        if not any(is_within(place, "search.initial_points") for place in places):
            points = _points_within(self.initial_points, self.entries, names)
            if points != self.initial_points:
                self.notes.append(f"search.initial_points: left out what {listed(names)} no longer allows")
            self.initial_points = points
        self.defaults = dict(*_points_within([self.defaults], self.entries, names))
        if not any(is_within(place, "search.when") for place in places):
            when = _when_within(self.when, self.entries, names)
            if when != self.when:
                self.notes.append(f"search.when: left out what {listed(names)} no longer allows")
            self.when = self._without_unreachable(when)

    def _without_unreachable(
        self, when: dict[str, dict[str, tuple[Any, ...]]]
    ) -> dict[str, dict[str, tuple[Any, ...]]]:
        """Return the conditions that can be met, and no longer search the parameters of the others.

        They keep the trainable's default. Kept in the space, they would be listed as searched, and appear in
        importances, without ever being drawn.
        """
        kept = {name: others for name, others in when.items() if all(others.values())}
        left_out = [name for name in when if name not in kept and name in self.entries]
        if left_out:
            self.notes.append(f"parameters: left out {listed(left_out)}, whose conditions cannot be met")
        self.entries = {name: entry for name, entry in self.entries.items() if name not in left_out}
        return kept

    def rename(self, own: Mapping[str, str]) -> None:
        """Rename each parameter to the trainable's own name, wherever it is referred to.

        Args:
            own: The trainable's name for each name in the file: `optimizer.lr` of a nested group is `lr`.
        """
        if not (changed := [f"{name} is {other}" for name, other in own.items() if name != other]):
            return
        self.notes.append(f"parameters: {', '.join(changed)} of the trainable")
        self.entries = {own[name]: entry for name, entry in self.entries.items()}
        self.when = {
            own.get(name, name): {own.get(other, other): values for other, values in others.items()}
            for name, others in self.when.items()
        }
        self.initial_points = tuple(_renamed(point, own) for point in self.initial_points)
        self.defaults = _renamed(self.defaults, own)


def _renamed(point: Mapping[str, Any], own: Mapping[str, str]) -> dict[str, Any]:
    return {own.get(name, name): value for name, value in point.items()}


def _points_within(
    initial_points: Sequence[Mapping[str, Any]],
    parameters: Mapping[str, Parameter | Fixed],
    names: Container[str],
) -> tuple[dict[str, Any], ...]:
    """The points without values that the changed parameters, `names`, no longer allow.

    A value that was never allowed stays, so that the rules report it: only an override excuses one.
    """
    kept = (
        {
            name: value
            for name, value in point.items()
            if name not in names or name not in parameters or allows(parameters[name], value)
        }
        for point in initial_points
    )
    return tuple(point for point in kept if point)


def _when_within(
    when: Conditions, parameters: Mapping[str, Parameter | Fixed], names: Container[str]
) -> dict[str, dict[str, tuple[Any, ...]]]:
    """The conditions, without those of parameters that are now fixed and without values that are gone.

    With `optimizer` overridden to [adamw], `{momentum: {optimizer: [sgd]}}` becomes
    `{momentum: {optimizer: ()}}`: a condition without any value can never be met.

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
