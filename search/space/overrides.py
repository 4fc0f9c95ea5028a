"""Where a dotted override belongs in the content of a space, and what it takes the place of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from search.space.distributions import DISTRIBUTIONS
from search.space.problems import Problems, shown

# The keys of a parameter that can stand together; one of another kind takes their place.
_KINDS = (
    frozenset({"value"}),
    frozenset({"values", "probabilities"}),
    frozenset({"min", "max", "q"}),
    frozenset({"mu", "sigma", "q"}),
)


def put(mapping: dict[str, Any], at: str, value: Any, where: str, problems: Problems) -> list[str]:
    """Lay `value` over the content at the dotted place `at`; gives the places whose content has gone.

    A name may have dots itself, and lie in a group: `parameters.optimizer.lr.value` is found both under
    `optimizer.lr` and under `optimizer: {parameters: {lr: ...}}`. In a parameter, `value` takes the place of
    `values`, of `min` and `max`, and so on.

    Args:
        where: Of the override, for problems.
    """
    keys = at.split(".")
    place: list[str] = []
    while len(keys) > 1:
        key, keys = _next_key(mapping, keys)
        place.append(key)
        if mapping.get(key) is None:
            mapping[key] = {}
        if not isinstance(mapping[key], dict):
            problems.add(where, f"{'.'.join(place)} is {shown(mapping[key])}, not a mapping")
            return []
        mapping = mapping[key]
        keys = _in_group(mapping, keys, place)
    if not keys:  # a name with dots was the whole rest
        return []
    return _set(mapping, place, keys[0], value)


def _next_key(mapping: Mapping[str, Any], keys: list[str]) -> tuple[str, list[str]]:
    """The longest run of the keys that is one key of the mapping, and the rest, which is never empty."""
    for length in range(len(keys) - 1, 1, -1):
        if (name := ".".join(keys[:length])) in mapping:
            return name, keys[length:]
    return keys[0], keys[1:]


def _in_group(mapping: Mapping[str, Any], keys: list[str], place: list[str]) -> list[str]:
    """The keys with `parameters` before them where the mapping is a group of parameters."""
    is_group = place[0] == "parameters" and len(place) > 1 and isinstance(mapping.get("parameters"), dict)
    return ["parameters", *keys] if is_group and keys[0] != "parameters" else keys


def _set(mapping: dict[str, Any], place: list[str], key: str, value: Any) -> list[str]:
    at = ".".join(place)
    gone = {key}
    if place[:1] == ["parameters"] and len(place) > 1:
        gone |= _replaced(mapping, key, value)
    for name in gone & set(mapping):
        del mapping[name]
    mapping[key] = value
    return [f"{at}.{name}" if at else name for name in gone]


def _replaced(entry: Mapping[str, Any], key: str, value: Any) -> set[str]:
    """The keys of a parameter that do not go with a new one."""
    if key == "distribution":
        takes = DISTRIBUTIONS.get(value if isinstance(value, str) else "")
        return set(entry) - takes[0] if takes else set()
    kinds = [kind for kind in _KINDS if key in kind]
    if not kinds:
        return set()
    if key == "values":
        return _replaced(entry, "probabilities", None) | {"probabilities"}  # they were of the old values
    gone = {name for kind in _KINDS for name in kind} - frozenset().union(*kinds)
    takes = DISTRIBUTIONS.get(str(entry.get("distribution")))
    return gone | ({"distribution"} if takes and key not in takes[0] else set())
