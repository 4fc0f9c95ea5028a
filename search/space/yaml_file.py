"""Read the plain content of a space from a name, a path or a Python mapping, and apply overrides."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path, PurePath
from types import ModuleType
from typing import Any

from search.command_lines import typed_command
from search.space.distributions import DISTRIBUTIONS
from search.space.errors import Problems, is_within, listed, shown
from search.space.paths import file_meant
from search.space.schema import SweepFile
from search.space.yaml_parser import MOST_VALUES, PlainScalar, ReadScalar, Report, UnreadableError, parsed
from trainables.core.data_source import long_form

# A change to a space: "parameters.lr.max=0.3", whose value is YAML, or a key and a Python value.
Override = str | tuple[str, Any]
Overrides = Mapping[str, Any] | str | Sequence[Override]  # as the library takes them
_DEEPEST = 30
_LARGEST_INT = 2**63 - 1
_LARGEST_FILE = 8 * 2**20  # bytes; the YAML of 10,000 trials has 2 MB, of which 0.1 MB are read in a second
# Everything in these is text: --aug no stays as written.
_WORDS = tuple(f"search.command.{key}" for key in ("run", "resume", "test", "env", "flags"))
_LIMITS = "search.limits."  # there 1:30 is no 90, as it is to YAML 1.1
_REMEDIES = {"date": "quote it", "datetime": "quote it", "set": "give a list, which has an order"}
_DISTRIBUTION = "{distribution: log_uniform_values, min: 0.0001, max: 0.1}"
_CODE = "a space is plain data: name the Python file that has it, such as ./my_model.py"


@dataclass
class Content:
    """A space as plain data, and the words in it that need an explanation.

    Attributes:
        mapping: Text keys, finite numbers, no anchors left.
        overridden: The places that overrides set or emptied.
        holders: The top keys that only hold anchors, which are not in `mapping`.
    """

    mapping: dict[str, Any]
    scalars: list[ReadScalar] = field(default_factory=list)
    overridden: list[str] = field(default_factory=list)
    holders: Sequence[str] = ()


def read_content(
    path: Path, overrides: Sequence[Override], problems: Problems, *, spaces_dir: Path
) -> Content | None:
    """The file's content with the overrides applied.

    Returns:
        None, with the reason added to `problems`, if nothing further can be checked.
    """
    try:
        document = parsed(_read_text(path, spaces_dir), problems.add)
    except UnreadableError as error:
        problems.add("file", str(error))
        return None
    raw = document.content
    if not isinstance(raw, dict):
        is_empty = raw is None
        problems.add("file", "is empty" if is_empty else f"must be a mapping of keys, got {_kind(raw)}")
        return None
    return plain_content(raw, overrides, problems, holders=document.holders)


def plain_content(
    raw: Mapping[Any, Any],
    overrides: Sequence[Override],
    problems: Problems,
    *,
    holders: Sequence[str] = (),
) -> Content | None:
    """The content of a space, read or given, with the overrides applied; None if it has no end."""
    plain = _Plain(problems.add)
    try:
        content = Content(plain.mapping(raw, "", 0), plain.scalars, holders=holders)
        for override in overrides:
            _apply(override, content, problems)
        _check_keys(content)
    except UnreadableError as error:
        problems.add("file", str(error))
        return None
    return content


def _check_keys(content: Content) -> None:
    """Take out the top keys that only hold anchors, as a sweep file may have them.

    Raises:
        UnreadableError: It is something else than a space, such as another program's file. One problem then
            stands for those of its every key.
    """
    known, ours = SweepFile.model_fields, ("parameters", "search")
    content.holders = [key for key in content.holders if key in content.mapping and key not in known]
    for key in content.holders:
        del content.mapping[key]
    unknown = [key for key in content.mapping if key not in known]
    is_typo = any(difflib.get_close_matches(key.lower(), ours, cutoff=0.9) for key in unknown)
    if unknown and not is_typo and not any(key in content.mapping for key in ours):
        raise UnreadableError(
            f"is not a space: it has {listed(unknown[:8])}, but neither parameters nor search; a space is "
            "a W&B sweep file: parameters: {lr: {min: 0.001, max: 0.1}} and so on (docs/spaces.md)"
        )


def _read_text(path: Path, spaces_dir: Path) -> str:
    content = _read_bytes(path, spaces_dir)
    if len(content) > _LARGEST_FILE:
        limit = f"more than {_LARGEST_FILE // 2**20} MiB"
        raise UnreadableError(f"is no space: it has {limit}; search.trials takes a JSON file of many points")
    if path.suffix == ".py":
        script = typed_command("init-script", path)
        raise UnreadableError(f"is a script, and is not run here; {script} writes a space from its flags")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnreadableError(f"is not UTF-8 text (byte {error.start}); save it as UTF-8") from None


def _read_bytes(path: Path, spaces_dir: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_LARGEST_FILE + 1)
    except FileNotFoundError:
        raise UnreadableError(f"there is no such file{file_meant(path, spaces_dir)}") from None
    except IsADirectoryError:
        raise UnreadableError("is a folder; name the file in it") from None
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        raise UnreadableError(f"cannot be read: {getattr(error, 'strerror', None) or error}") from None


class _Plain:
    """Copies what came from the parser or from Python, and reports what has no place in a space.

    Attributes:
        scalars: The words that YAML's versions read differently, each with its place.
    """

    def __init__(self, report: Report) -> None:
        self._report = report
        self._count = 0
        self.scalars: list[ReadScalar] = []

    def mapping(self, raw: Mapping[Any, Any], at: str, depth: int) -> dict[str, Any]:
        plain: dict[str, Any] = {}
        for given, value in raw.items():
            key = given.text if isinstance(given, PlainScalar) else given
            if problem := _key_problem(key, value):
                self._report(at or "file", problem)
            else:
                plain[str(key)] = self.value(value, f"{at}.{key}" if at else key, depth + 1)
        return plain

    def value(self, raw: Any, at: str, depth: int) -> Any:
        self._count += 1
        if depth > _DEEPEST or self._count > MOST_VALUES:
            raise UnreadableError(f"is too deep or too large at {at[:80]}; does it contain itself?")
        raw = of_python(raw)
        if isinstance(raw, Mapping):
            return self.mapping(raw, at, depth)
        if isinstance(raw, list | tuple):
            return [self.value(item, f"{at}[{index}]", depth + 1) for index, item in enumerate(raw)]
        return self._scalar(raw, at)

    def _scalar(self, raw: Any, at: str) -> Any:
        is_clock = isinstance(raw, PlainScalar) and ":" in raw.text and at.startswith(_LIMITS)
        if isinstance(raw, PlainScalar) and (is_clock or at.startswith(_WORDS)):
            raw = raw.text
        elif isinstance(raw, PlainScalar):
            self.scalars.append(ReadScalar(at, raw))
            raw = raw.value
        if raw is None or isinstance(raw, bool):
            return raw
        if isinstance(raw, str):
            return self._text(raw, at)
        if isinstance(raw, int) and abs(raw) <= _LARGEST_INT:
            return raw
        if isinstance(raw, float) and math.isfinite(raw):
            return float(raw)
        needed = "finite and below 2**63" if isinstance(raw, int | float) else "a number or text"
        self._report(at, f"must be {needed}, got {_kind(raw, at)}")
        return None

    def _text(self, text: str, at: str) -> str | None:
        """The text, with characters whole that JSON writes in two halves, as it does with those of emoji."""
        try:
            return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            self._report(at, f"has half of a character, got {shown(text)}")
            return None


def _key_problem(key: Any, value: Any) -> str | None:
    """What is wrong with a key; a blank of another kind than the usual comes with text copied from a page."""
    if not isinstance(key, str) or not key:
        is_comma = isinstance(key, int) and value is None  # {min: 0,1}
        remedy = "write decimals with a point, or quote it" if is_comma else "quote it"
        return f"a key must be text, got {shown(key)}; {remedy}"
    if key != key.strip() or not key.isprintable():
        return f"the key {key!a} has characters that cannot be seen; type it again, after plain spaces"
    return None


def of_python(value: Any) -> Any:
    """A Python value as a file would give it: converts enums, paths, ranges, and NumPy and torch values."""
    if isinstance(value, Enum):
        return of_python(value.value)
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, range):
        return list(value)
    if isinstance(value, str):
        return str(value)
    if hasattr(value, "tolist"):  # arrays, and the scalars of NumPy and torch
        return value.tolist()
    return value


def _kind(raw: Any, at: str = "") -> str:
    if isinstance(raw, int | float):
        return shown(raw) if isinstance(raw, float) else "a larger number"
    if isinstance(raw, list | str):
        return "a list" if isinstance(raw, list) else "text"
    kind = type(raw).__name__
    if kind in _REMEDIES:
        return f"a {kind}; {_REMEDIES[kind]}"
    if at.startswith("parameters."):  # such as a distribution of Ray Tune's or Optuna's
        return f"a {kind}; write a distribution, such as {_DISTRIBUTION}"
    is_code = callable(raw) or isinstance(raw, ModuleType)
    return f"a {kind}; {_CODE if is_code else 'write it as one'}"


def override_list(overrides: Overrides) -> list[Override]:
    """Overrides in their order: KEY=VALUE as after --set, or keys with Python values."""
    if isinstance(overrides, str):
        return [overrides]
    return list(overrides.items()) if isinstance(overrides, Mapping) else list(overrides)


def override_key(override: Override) -> str:
    """The dotted key that an override sets."""
    return (override.partition("=")[0] if isinstance(override, str) else override[0]).strip()


def override_text(override: Override) -> str:
    """An override as it is written after --set; a Python value as JSON, which YAML reads."""
    return override if isinstance(override, str) else f"{override[0]}={json.dumps(override[1], default=str)}"


def _apply(override: Override, content: Content, problems: Problems) -> None:
    if isinstance(override, str):
        _apply_text(override, content, problems)
        return
    at, value = override[0].strip(), override[1]
    where = f"override {at}"
    if not all(at.split(".")):
        problems.add(where, "must be a dotted key, such as parameters.lr.max")
        return
    _put(at, value, where, content, problems)


def _apply_text(override: str, content: Content, problems: Problems) -> None:
    where = f"override {override}"
    dotted, equals, text = override.partition("=")
    at = dotted.strip()
    if not equals or not all(at.split(".")):
        problems.add(where, "must be KEY=VALUE, such as parameters.lr.max=0.3")
        return
    try:
        value = parsed(text, lambda _, problem: problems.add(where, problem)).content
    except UnreadableError as error:
        problems.add(where, f"the value {error}")
        return
    _put(at, value, where, content, problems)


def _put(at: str, given: Any, where: str, content: Content, problems: Problems) -> None:
    """Put a value into the content, checked like a value of the file."""
    plain = _Plain(problems.add)
    value = plain.value(given, at, 0)
    replaced = put(content.mapping, at, value, where, problems)
    content.scalars[:] = [
        scalar for scalar in content.scalars if not any(is_within(scalar.at, place) for place in replaced)
    ]
    content.scalars += plain.scalars
    content.overridden += replaced


# The keys of a parameter that go together; a key of another kind replaces them.
_KINDS = (
    frozenset({"value"}),
    frozenset({"values", "probabilities"}),
    frozenset({"min", "max", "q"}),
    frozenset({"mu", "sigma", "q"}),
)


def put(mapping: dict[str, Any], at: str, value: Any, where: str, problems: Problems) -> list[str]:
    """Set `value` at the dotted place `at`; return the places that were set or emptied.

    A name may itself have dots, or be in a group: `parameters.optimizer.lr.value` is found both under
    `optimizer.lr` and under `optimizer: {parameters: {lr: ...}}`. In a parameter, `value` replaces `values`,
    `min` and `max`, and so on. Data in its short form becomes the mapping that it is short for:
    `search.data.split=report` over `python-stdlib` gives `{name: python-stdlib, split: report}`.

    Args:
        where: What problems call the override.
    """
    keys = at.split(".")
    place: list[str] = []
    while len(keys) > 1:
        key, keys = _next_key(mapping, keys)
        place.append(key)
        if mapping.get(key) is None:
            mapping[key] = {}
        if place == ["search", "data"] and isinstance(mapping[key], str):
            mapping[key] = dict(long_form(mapping[key]))  # a name or KIND:PATH, to which an option is added
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
    """The keys, with `parameters` put first if the mapping is a group of parameters."""
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
    """The keys of a parameter that do not go with a new key."""
    if key == "distribution":
        takes = DISTRIBUTIONS.get(value if isinstance(value, str) else "")
        return set(entry) - takes[0] if takes else set()
    kinds = [kind for kind in _KINDS if key in kind]
    if not kinds:
        return set()
    if key == "values":
        return _replaced(entry, "probabilities", None) | {"probabilities"}  # these belonged to the old values
    gone = {name for kind in _KINDS for name in kind} - frozenset().union(*kinds)
    takes = DISTRIBUTIONS.get(str(entry.get("distribution")))
    return gone | ({"distribution"} if takes and key not in takes[0] else set())
