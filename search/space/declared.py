"""All entries under `parameters:`: nested groups flattened, each one read, each problem named."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from search.space.distributions import notes_of, to_parameter
from search.space.entry import Entry, Fixed
from search.space.parameters import Choice, Parameter
from search.space.problems import KeyedError, Problems, shown
from search.space.section import validated


@dataclass
class Declared:
    """The parameters of a space by name; one of a nested group is named with a dot: `optimizer.lr`.

    Attributes:
        broken: Names of those that have problems of their own.
        groups: For each of a nested group its keys from the outermost on.
        notes: What is read in a way that not everybody expects.
    """

    entries: dict[str, Parameter | Fixed] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    groups: dict[str, tuple[str, ...]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def read_parameters(
    raw: Any, problems: Problems, *, may_be_fixed: bool = False, is_listed: bool = False
) -> Declared:
    """Read all of them.

    Args:
        may_be_fixed: Take parameters that leave nothing to search.
        is_listed: Each value is tried once, however often it is given.
    """
    declared = Declared()
    if not isinstance(raw, dict):
        got = "is missing" if raw is None else f"must be a mapping, got {shown(raw)}"
        problems.add("parameters", f"{got}; write parameters: {{lr: {{min: 0.001, max: 0.1}}}}")
        return declared
    for path, fields in _flattened(raw, ()):
        name = ".".join(path)
        if name in declared.entries or name in declared.broken:
            group = ".".join((path if len(path) > 1 else declared.groups.get(name, path))[:-1])
            text = f"is there twice, as {name} and in the group {group}; give one of them"
            problems.add(f"parameters.{name}", text)
            continue
        _declare(declared, path, fields, problems, is_listed)
    is_fixed = all(isinstance(entry, Fixed) for entry in declared.entries.values())
    if not may_be_fixed and not declared.broken and is_fixed:
        problems.add("parameters", "nothing to search; give at least one parameter values, or min and max")
    return declared


def _declare(
    declared: Declared, path: tuple[str, ...], fields: Any, problems: Problems, is_listed: bool
) -> None:
    name = ".".join(path)
    read = _read(f"parameters.{name}", fields, problems)
    if read is None:
        declared.broken.append(name)
        return
    entry, parameter = read
    if is_listed and isinstance(parameter, Choice) and entry.probabilities is None:
        parameter = replace(parameter, probabilities=None)
    else:
        declared.notes += [f"parameters.{name}: {note}" for note in notes_of(entry, parameter)]
    declared.entries[name] = parameter
    if len(path) > 1:
        declared.groups[name] = path


def _flattened(raw: Mapping[str, Any], groups: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every parameter with its keys from the outermost group on."""
    for name, fields in raw.items():
        if isinstance(fields, dict) and isinstance(fields.get("parameters"), dict) and len(fields) == 1:
            yield from _flattened(fields["parameters"], (*groups, name))
        else:
            yield (*groups, name), fields


def _read(where: str, fields: Any, problems: Problems) -> tuple[Entry, Parameter | Fixed] | None:
    if not isinstance(fields, dict):
        key = "values" if isinstance(fields, list) else "value"
        problems.add(where, f"must be a mapping, got {shown(fields)}; write {{{key}: {shown(fields)}}}")
        return None
    entry = validated(Entry, fields, where, problems)
    if problems.concern(where):
        return None
    try:
        return entry, to_parameter(entry)
    except KeyedError as error:
        problems.add(f"{where}.{error.key}", str(error))
    except ValueError as error:
        problems.add(where, str(error))
    return None
