"""All entries under `parameters:`: nested groups flattened, each one read, each problem named."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from search.space.distributions import to_parameter
from search.space.entry import Entry, Fixed
from search.space.parameters import Parameter
from search.space.problems import KeyedError, Problems, shown
from search.space.section import validated


def read_parameters(
    raw: Any, problems: Problems, may_be_fixed: bool = False
) -> tuple[dict[str, Parameter | Fixed], list[str]]:
    """The parameters by dotted name, and the names of those that have problems."""
    entries: dict[str, Parameter | Fixed] = {}
    broken = []
    if not isinstance(raw, dict):
        got = "is missing" if raw is None else f"must be a mapping, got {shown(raw)}"
        problems.add("parameters", f"{got}; write parameters: {{lr: {{min: 0.001, max: 0.1}}}}")
        return {}, []
    for name, fields in _flattened(raw, ""):
        entry = _read(f"parameters.{name}", fields, problems)
        if entry is None:
            broken.append(name)
        else:
            entries[name] = entry
    if not may_be_fixed and not broken and all(isinstance(entry, Fixed) for entry in entries.values()):
        problems.add("parameters", "nothing to search; give at least one parameter values, or min and max")
    return entries, broken


def _flattened(raw: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, fields in raw.items():
        if isinstance(fields, dict) and isinstance(fields.get("parameters"), dict) and len(fields) == 1:
            yield from _flattened(fields["parameters"], f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", fields


def _read(where: str, fields: Any, problems: Problems) -> Parameter | Fixed | None:
    if not isinstance(fields, dict):
        key = "values" if isinstance(fields, list) else "value"
        problems.add(where, f"must be a mapping, got {shown(fields)}; write {{{key}: {shown(fields)}}}")
        return None
    entry = validated(Entry, fields, where, problems)
    if problems.concern(where):
        return None
    try:
        return to_parameter(entry)
    except KeyedError as error:
        problems.add(f"{where}.{error.key}", str(error))
    except ValueError as error:
        problems.add(where, str(error))
    return None
