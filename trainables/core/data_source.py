"""Data sources that `search.data` may name: parsed, resolved, checked and described from typed fields.

A family declares its sources as frozen dataclasses beside the code that reads them:

    @dataclass(frozen=True, kw_only=True)
    class Coco(DataSource):
        "Boxes in COCO's JSON."
        coco: FilePath
        images: FolderPath | None = None

The first field names the source, so a space writes `data: {coco: boxes.json, images: pics}`. There are two
short forms: `coco:boxes.json` is `{coco: boxes.json}`, and a bare name such as `digits` is `{name: digits}`.
A bare path that exists is given to the source that can read it, if only one can: `photos` is
`{imagefolder: photos}` to a classifier of images.
Standard library only: spaces are checked without torch.
"""

from __future__ import annotations

import dataclasses
import difflib
import errno
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import MISSING, dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin, get_type_hints
from urllib.parse import parse_qsl

from trainables.core.contract import DataError, DataSpec
from trainables.core.suggest import suggest, suggest_path

FilePath = Annotated[Path, "FILE"]  # must be a file
FolderPath = Annotated[Path, "FOLDER"]  # must be a folder
AnyPath = Annotated[Path, "PATH"]  # may be either
NAME = "name"  # the key that a bare name is short for
_PREFIXED = re.compile(r"(?P<kind>[A-Za-z][\w-]*):(?P<value>.+)", re.DOTALL)
_WITH_QUERY = re.compile(r"(?P<short>[^?]*)\?(?P<query>\w+=.*)", re.DOTALL)
_PLAIN = re.compile(r"[\w./~][\w./~+@%= -]*(?<! )")  # needs no quotes within {} in YAML
_NOT_TEXT = re.compile(r"~|true|false|yes|no|on|off|y|n|null|[\d._+-]+(e[+-]?\d+)?", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class DataSource:
    """Base class of all sources. A subclass's docstring states in one sentence what is read.

    Fields may be `FilePath`, `FolderPath`, `AnyPath`, `str`, `int` (1 or more), `bool` or a `Literal` of
    strings, each also `| None`. The first field of a source that needs no files is
    `name: Literal["digits"] = "digits"`.
    Messages and documents show the second argument of `Annotated` as a placeholder for the value.

    Attributes:
        endings: Suffixes of the files that it reads, in lower case; a bare path must have one of them. Empty
            for any.
    """

    endings: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def may_read(cls, path: Path) -> bool:
        """Whether a bare path that exists, of the right kind, may mean this source."""
        return not (cls.endings and path.is_file() and path.suffix.lower() not in cls.endings)

    def to_plain(self) -> DataSpec:
        """Return the canonical form for JSON and YAML: a bare name, or a mapping without default values.

        Equal sources have equal canonical forms, however they were written: cache keys, journals and the
        comparison on resume rely on it.
        """
        first, *options = dataclasses.fields(self)
        content = {first.name: _plain(getattr(self, first.name))}
        for field in options:
            if (value := getattr(self, field.name)) != field.default:
                content[field.name] = _plain(value)
        return str(content[NAME]) if content.keys() == {NAME} else content

    def __str__(self) -> str:
        return data_text(self.to_plain())

    def path_problems(self) -> list[str]:
        """A line for each path that does not exist, or is a file in place of a folder or the reverse."""
        problems = []
        for field in dataclasses.fields(self):
            path = getattr(self, field.name)
            if isinstance(path, Path):
                problems += _path_problems(field.name, path, _placeholder(type(self), field.name))
        return problems

    @classmethod
    def key(cls) -> str:
        """The name of the first field, by which a mapping is recognised."""
        return dataclasses.fields(cls)[0].name

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Names of the source: its key, or the bare names that stand for it."""
        return get_args(_type_of(cls, NAME)) if cls.key() == NAME else (cls.key(),)

    @classmethod
    def forms(cls) -> list[str]:
        """The ways to write it, shortest first: "coco:PATH" and "{coco: PATH, images: FOLDER}"."""
        key, *options = [field.name for field in dataclasses.fields(cls)]
        first = cls.names() if key == NAME else (_placeholder(cls, key),)
        short = list(first) if key == NAME else [f"{key}:{first[0]}"]
        rest = "".join(f", {option}: {_placeholder(cls, option)}" for option in options)
        if len(_required(cls)) > 1:
            short = []
        return short + ([f"{{{key}: {'|'.join(first)}{rest}}}"] if options else [])


_Source = TypeVar("_Source", bound=DataSource)


def read_source(data: DataSpec, kinds: Sequence[type[_Source]]) -> _Source:
    """Return the source that `data` names, in whichever form it is written.

    Raises:
        DataError: It matches none of `kinds`, or its options are wrong; the message has every problem.
    """
    source, problems = _read(data, kinds, lambda key: None)
    if source is None:
        raise DataError("; ".join(problems))
    return source


def resolve_data(
    data: DataSpec, kinds: Sequence[type[DataSource]], folder_of: Callable[[str], Path], *, must_exist: bool
) -> tuple[DataSpec, list[str]]:
    """Return the canonical form of `data` with absolute paths, and all of its problems.

    Args:
        kinds: The trainable's sources. Without any, `data` means something to the trainable alone and is
            returned unchanged.
        folder_of: Returns the base folder of relative paths under a key.
        must_exist: Whether a path that does not exist is a problem.
    """
    if not kinds:
        return (data if isinstance(data, str) else dict(data)), []
    source, problems = _read(data, kinds, folder_of)
    if source is None:
        return data, problems
    return source.to_plain(), source.path_problems() if must_exist else []


def data_text(data: DataSpec) -> str:
    """Format `data` as one readable line, which `search.data` parses as the same source."""
    if isinstance(data, str):
        return data
    if len(data) == 1:
        ((key, value),) = data.items()
        if isinstance(value, str) and _PLAIN.fullmatch(value):
            return f"{key}:{value}"
    return f"{{{', '.join(f'{key}: {_flow_scalar(value)}' for key, value in data.items())}}}"


def listed_sources(kinds: Sequence[type[DataSource]]) -> str:
    """All forms of all sources, for messages: "shapes, coco:PATH, {coco: PATH, images: FOLDER}"."""
    return ", ".join(form for kind in kinds for form in kind.forms())


def sources_table(kinds: Sequence[type[DataSource]]) -> str:
    """All sources as a Markdown table of their forms and what each reads."""
    rows = [
        f"| {', '.join(f'`{form}`'.replace('|', chr(92) + '|') for form in kind.forms())} "
        f"| {' '.join((kind.__doc__ or '').split())} |"
        for kind in kinds
    ]
    return "\n".join(["| `search.data` | what is read |", "|---|---|", *rows])


def _read(
    data: DataSpec, kinds: Sequence[type[_Source]], folder_of: Callable[[str], Path | None]
) -> tuple[_Source | None, list[str]]:
    """The source, or None with the problems."""
    if isinstance(data, str) and (hint := _as_mapping(data, kinds)):
        return None, [f"options are not written after a ?; write data: {hint}"]
    given = long_form(data)
    meant = [kind for kind in kinds if _is_meant(kind, given)]
    if not meant and isinstance(data, str) and (readers := _readers_of_path(data, kinds, folder_of)):
        meant, given = readers, {readers[0].key(): data}
        if len(meant) > 1:
            forms = " or ".join(f"{kind.key()}:{data}" for kind in meant)
            return None, [f"{data} may be read in {len(meant)} ways; write {forms}"]
    if len(meant) > 1:
        names = [given[NAME] if kind.key() == NAME else kind.key() for kind in meant]
        return None, [f"{' and '.join(names)} are two data sources; give one of them"]
    if not meant:
        base = folder_of(kinds[0].key()) or Path()
        return None, [_unread(data, base, kinds) or _unknown(data, given, kinds)]
    kind = meant[0]
    fields = {field.name for field in dataclasses.fields(kind)}
    problems = [_unknown_option(kind, key) for key in given if key not in fields]
    values: dict[str, Any] = {}
    for key in fields & given.keys():
        try:
            values[key] = _value(_type_of(kind, key), given[key], folder_of(key))
        except ValueError as error:
            problems.append(f"{key} {error}")
    if missing := [key for key in _required(kind) if key not in given]:
        written = [f"{key}: {_flow_scalar(value)}" for key, value in given.items()]
        written += [f"{key}: {_placeholder(kind, key)}" for key in missing]
        problems.append(f"{kind.key()} needs {' and '.join(missing)} too: {{{', '.join(written)}}}")
    return (None, problems) if problems else (kind(**values), [])


def long_form(data: DataSpec) -> Mapping[str, Any]:
    """Expand a short form: `coco:boxes.json` to `{coco: boxes.json}`, `digits` to `{name: digits}`."""
    if not isinstance(data, str):
        return data
    found = _PREFIXED.fullmatch(data)
    return {found["kind"]: found["value"]} if found else {NAME: data}


def _is_meant(kind: type[DataSource], given: Mapping[str, Any]) -> bool:
    return kind.key() in given and (kind.key() != NAME or given[NAME] in kind.names())


def _readers_of_path(
    data: str, kinds: Sequence[type[_Source]], folder_of: Callable[[str], Path | None]
) -> list[type[_Source]]:
    """The sources that need nothing but a path and can read what is at this one."""
    readers = []
    for kind in kinds:
        placeholder = _placeholder(kind, kind.key()) if _required(kind) == [kind.key()] else ""
        path = (folder_of(kind.key()) or Path()) / Path(data).expanduser()
        found = _found_at(path)
        if found and placeholder in (found, "PATH") and kind.may_read(path):
            readers.append(kind)
    return readers


def _as_mapping(data: str, kinds: Sequence[type[DataSource]]) -> str:
    """Convert the former form `coco:FILE?images=FOLDER` to a mapping; empty for anything else."""
    found = _WITH_QUERY.fullmatch(data)
    given = long_form(found["short"]) if found else {}
    kind = next((kind for kind in kinds if _is_meant(kind, given)), None)
    if found is None or kind is None:
        return ""
    options = dict(parse_qsl(found["query"], keep_blank_values=True))
    known = {field.name for field in dataclasses.fields(kind)}
    typed = {key: _guessed(kind, key, text) if key in known else text for key, text in options.items()}
    return data_text({**given, **typed})


def _guessed(kind: type[DataSource], key: str, text: str) -> Any:
    types = _alternatives(_type_of(kind, key))
    if bool in types:
        return text not in ("", "0", "false")
    return int(text) if int in types and text.isdecimal() else text


def _unread(data: DataSpec, base: Path, kinds: Sequence[type[DataSource]]) -> str:
    """Why the path that `data` is cannot be read as it is; empty if it is not a path."""
    path = base / Path(data).expanduser() if isinstance(data, str) else base
    found = _found_at(path)
    if not isinstance(data, str) or not (found or data.startswith(("/", "./", "../", "~"))):
        return ""
    there_are = f"there are {listed_sources(kinds)}"
    if not found:
        return f"{path} {_absence_reason(path)}; {there_are}"
    if found == "FOLDER":
        return f"{path} is a folder that none of the sources reads; {there_are}"
    archives = [ending for _, of_format, _ in shutil.get_unpack_formats() for ending in of_format]
    remedy = "unpack it, and give its folder; " if path.name.lower().endswith(tuple(archives)) else ""
    return f"{path} is a file that none of the sources reads; {remedy}{there_are}"


def _unknown(data: DataSpec, given: Mapping[str, Any], kinds: Sequence[type[DataSource]]) -> str:
    known = [name for kind in kinds for name in kind.names()]
    there_are = f"there are {listed_sources(kinds)}"
    if NAME in given:
        bare = [name for kind in kinds if kind.key() == NAME for name in kind.names()]
        name = str(given[NAME])
        return f"no data source is named {name!r}; {there_are}{suggest(name, bare)}"
    if isinstance(data, str):
        ((key, rest),) = given.items()
        near = difflib.get_close_matches(key, [kind.key() for kind in kinds if kind.key() != NAME], n=1)
        meant = f"; did you mean {near[0]}:{rest}?" if near else ""
        return f"no data source is named {data!r}; {there_are}{meant}"
    keys = ", ".join(map(str, given)) or "nothing"
    near_key = next((text for key in given if (text := suggest(str(key), known))), "")
    return f"no data source has the keys {keys}; {there_are}{near_key}"


def _unknown_option(kind: type[DataSource], key: str) -> str:
    options = [field.name for field in dataclasses.fields(kind)][1:]
    takes = f"it takes {', '.join(options)}" if options else "it takes no options"
    return f"{kind.names()[0]} has no option {key}; {takes}{suggest(key, options)}"


def _value(wanted: Any, given: Any, folder: Path | None) -> Any:
    """Convert `given` to the type of a field.

    Raises:
        ValueError: It has another type; the message continues after the field's name.
    """
    types = _alternatives(wanted)
    if given is None and type(None) in types:
        return None
    if get_origin(types[0]) is Literal:
        allowed = get_args(types[0])
        if given not in allowed:
            raise ValueError(f"must be {' or '.join(map(str, allowed))}, got {given!r}")
        return given
    if bool in types:
        if not isinstance(given, bool):
            raise ValueError(f"must be true or false, got {given!r}")
        return given
    if int in types:
        if not isinstance(given, int) or isinstance(given, bool) or given < 1:
            raise ValueError(f"must be a whole number of 1 or more, got {given!r}")
        return given
    if not isinstance(given, str) or not given.strip():
        raise ValueError(f"must be text, got {given!r}")
    if types[0] not in (FilePath, FolderPath, AnyPath):
        return given
    path = Path(given).expanduser()
    return path if folder is None else Path(os.path.realpath(folder / path))  # resolve() refuses loops


def _path_problems(key: str, path: Path, placeholder: str) -> list[str]:
    found = _found_at(path)
    if not found:
        return [f"{path} {_absence_reason(path)}"]
    if placeholder == "FOLDER" and found == "FILE":
        return [f"{path} is a file; {key} must be a folder"]
    if placeholder == "FILE" and found == "FOLDER":
        return [f"{path} is a folder; {key} must be a file"]
    return []


def _found_at(path: Path) -> str:
    """What is at a path: FILE, FOLDER, or nothing, as for a name that is too long or in a closed folder."""
    with suppress(OSError, ValueError):
        return "FOLDER" if path.is_dir() else "FILE" if path.exists() else ""
    return ""


def _absence_reason(path: Path) -> str:
    """Why nothing is found at a path, with what may be meant."""
    try:
        path.stat()
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR):
            return f"cannot be read: {error.strerror}"
    except ValueError:  # a null byte
        pass
    return f"does not exist{suggest_path(path)}"


def _type_of(kind: type[DataSource], key: str) -> Any:
    return get_type_hints(kind, include_extras=True)[key]


def _alternatives(wanted: Any) -> tuple[Any, ...]:
    """The members of a union, such as (Path, NoneType) for `Path | None`; any other type alone."""
    is_union = get_origin(wanted) in (Union, UnionType)
    return get_args(wanted) if is_union else (wanted,)


def _required(kind: type[DataSource]) -> list[str]:
    return [field.name for field in dataclasses.fields(kind) if field.default is MISSING]


def _placeholder(kind: type[DataSource], key: str) -> str:
    """The placeholder for a field's value: FOLDER, time|report, true, 384, N."""
    field = next(field for field in dataclasses.fields(kind) if field.name == key)
    wanted, *_ = types = _alternatives(_type_of(kind, key))
    if get_origin(wanted) is Literal:
        return "|".join(get_args(wanted))
    if get_origin(wanted) is Annotated:
        return str(wanted.__metadata__[0])
    if int in types and field.default is None:
        return "N"
    return _flow_scalar(not field.default if bool in types else field.default)


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


def _flow_scalar(value: Any) -> str:
    """Format a scalar within a YAML flow mapping, quoted if it would otherwise be read as something else."""
    is_bare = isinstance(value, str) and _PLAIN.fullmatch(value) and not _NOT_TEXT.fullmatch(value)
    return str(value) if is_bare else json.dumps(value, ensure_ascii=False)
