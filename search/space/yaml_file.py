"""Read the plain content of a space from a name, a path or a Python mapping, and apply overrides."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path, PurePath
from types import ModuleType
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.nodes import Node

from search.space.distributions import DISTRIBUTIONS
from search.space.errors import Problems, SpaceError, is_within, shown
from search.space.plain_scalars import PlainResolver, PlainScalar, ReadScalar, add_constructor
from trainables.core.data_source import long_form

Report = Callable[[str, str], None]
# A change to a space: "parameters.lr.max=0.3", whose value is YAML, or a key and a Python value.
Override = str | tuple[str, Any]
Overrides = Mapping[str, Any] | str | Sequence[Override]  # as the library takes them
_SUFFIXES = (".yaml", ".yml")
_DEEPEST = 30
_MOST_VALUES = 20_000  # a few nested anchors can expand to billions
_LARGEST_INT = 2**63 - 1
# Everything in these is text: --aug no stays as written.
_WORDS = tuple(f"search.command.{key}" for key in ("run", "resume", "test", "env", "flags"))
_REMEDIES = {"date": "quote it", "datetime": "quote it", "set": "give a list, which has an order"}
_DISTRIBUTION = "{distribution: log_uniform_values, min: 0.0001, max: 0.1}"
_CODE = "a space is plain data: name the Python file that has it, such as ./my_model.py"


class _UnreadableError(Exception):
    """The file cannot be read at all; the message is the only problem to report."""


def find_file(source: str | Path, spaces_dir: Path) -> Path:
    """The file a user means: a bare name is in `spaces_dir`; other text, and any `Path`, is a path.

    Raises:
        SpaceError: It is neither, such as a function: the caller expects a search as Ray Tune's.
    """
    if isinstance(source, Path):
        return source.absolute()
    if not isinstance(source, str):
        needed = "must be a name, a file's path or a mapping whose search.trainable names what is trained"
        raise SpaceError("the space", [f"{needed}, got a {type(source).__name__}"])
    path = Path(source).expanduser()
    if "/" in source or path.is_absolute():
        return path
    return spaces_dir / (source if source.endswith(_SUFFIXES) else f"{source}.yaml")


@dataclass
class Content:
    """A space as plain data, and the words in it that need an explanation.

    Attributes:
        mapping: Text keys, finite numbers, no anchors left.
        overridden: The places that overrides set or emptied.
    """

    mapping: dict[str, Any]
    scalars: list[ReadScalar] = field(default_factory=list)
    overridden: list[str] = field(default_factory=list)


def read_content(
    path: Path, overrides: Sequence[Override], problems: Problems, *, spaces_dir: Path
) -> Content | None:
    """The file's content with the overrides applied.

    Returns:
        None, with the reason added to `problems`, if nothing further can be checked.
    """
    try:
        raw = _parse(_read_text(path, spaces_dir), problems.add)
    except _UnreadableError as error:
        problems.add("file", str(error))
        return None
    if not isinstance(raw, dict):
        is_empty = raw is None
        problems.add("file", "is empty" if is_empty else f"must be a mapping of keys, got {_kind(raw)}")
        return None
    return plain_content(raw, overrides, problems)


def plain_content(raw: Mapping[Any, Any], overrides: Sequence[Override], problems: Problems) -> Content:
    """The content of a space, read or given, with the overrides applied."""
    plain = _Plain(problems.add)
    content = Content(plain.mapping(raw, "", 0), plain.scalars)
    for override in overrides:
        _apply(override, content, problems)
    return content


def _read_text(path: Path, spaces_dir: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise _UnreadableError(f"there is no such file{_file_meant(path, spaces_dir)}") from None
    except IsADirectoryError:
        raise _UnreadableError("is a folder; name the file in it") from None
    except UnicodeDecodeError as error:
        raise _UnreadableError(f"is not UTF-8 text (byte {error.start}); save it as UTF-8") from None
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        raise _UnreadableError(f"cannot be read: {error}") from None


def _file_meant(path: Path, spaces_dir: Path) -> str:
    if Path(path.name).is_file():
        return f"; for the one in this folder write ./{path.name}"
    if (spaces_dir / path.name).is_file():
        return f"; for the program's own write {path.name}"
    stems = sorted(file.stem for file in path.parent.glob("*.yaml"))  # with .yaml all names look alike
    near = difflib.get_close_matches(path.stem, stems, n=1)
    if near:
        return f"; did you mean {near[0]}.yaml?"
    return f" (there are {', '.join(f'{stem}.yaml' for stem in stems)})" if stems else ""


def _parse(text: str, report: Report) -> Any:
    yaml = YAML(typ="safe", pure=True)
    yaml.Resolver = PlainResolver

    class Constructor(SafeConstructor):
        def check_mapping_key(self, node: Node, key_node: Node, mapping: Any, key: Any, value: Any) -> bool:
            is_new = key not in mapping
            if not is_new:
                text = key.text if isinstance(key, PlainScalar) else key
                report(f"line {key_node.start_mark.line + 1}", f"the key {shown(text)} is given twice")
            return is_new

    add_constructor(Constructor)
    yaml.Constructor = Constructor
    try:
        return yaml.load(text)
    except MarkedYAMLError as error:
        raise _UnreadableError(_syntax_problem(error)) from None
    except RecursionError:
        raise _UnreadableError("is nested too deeply") from None
    except Exception as error:  # ruamel raises others too, such as ValueError for the date 2024-99-99
        raise _UnreadableError(f"is not YAML: {error or type(error).__name__}") from None


def _syntax_problem(error: MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    if "'\\t'" in str(error.problem):
        return f"{where}a tab; indent with spaces"
    return f"{where}{error.problem or error.context}"


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
            if isinstance(key, str) and key:
                plain[str(key)] = self.value(value, f"{at}.{key}" if at else key, depth + 1)
            else:
                self._report(at or "file", f"a key must be text, got {shown(key)}; quote it")
        return plain

    def value(self, raw: Any, at: str, depth: int) -> Any:
        self._count += 1
        if depth > _DEEPEST or self._count > _MOST_VALUES:
            self._report("file", f"is too deep or too large at {at[:80]}; does an anchor contain itself?")
            return None
        raw = of_python(raw)
        if isinstance(raw, Mapping):
            return self.mapping(raw, at, depth)
        if isinstance(raw, list | tuple):
            return [self.value(item, f"{at}[{index}]", depth + 1) for index, item in enumerate(raw)]
        return self._scalar(raw, at)

    def _scalar(self, raw: Any, at: str) -> Any:
        if isinstance(raw, PlainScalar) and at.startswith(_WORDS):
            raw = raw.text
        elif isinstance(raw, PlainScalar):
            self.scalars.append(ReadScalar(at, raw))
            raw = raw.value
        if raw is None or isinstance(raw, str | bool):
            return raw
        if isinstance(raw, int) and abs(raw) <= _LARGEST_INT:
            return raw
        if isinstance(raw, float) and math.isfinite(raw):
            return float(raw)
        needed = "finite and below 2**63" if isinstance(raw, int | float) else "a number or text"
        self._report(at, f"must be {needed}, got {_kind(raw, at)}")
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
        parsed = _parse(text, lambda _, problem: problems.add(where, problem))
    except _UnreadableError as error:
        problems.add(where, f"the value {error}")
        return
    _put(at, parsed, where, content, problems)


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
