"""YAML text as Python data, or the reason why it is none. Nothing in it is run, whatever its tags say.

Unquoted words are read as by PyYAML, which W&B uses for sweep files. PyYAML follows YAML 1.1, where `no` is
false, `010` is 8 and `12:30` is 750. There are two exceptions: `1e-4`, text to PyYAML for want of a dot, is a
number here, since nobody means the text; and dates are text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from ruamel.yaml import YAML
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.resolver import VersionedResolver
from ruamel.yaml.tag import Tag

from search.space.errors import is_within, shown

Report = Callable[[str, str], None]
Kind = Literal["word", "number", "date", "exponent", "text"]

MOST_VALUES = 300_000  # a few nested anchors can expand to billions; 10,000 trials have some 100,000
# What YAML says of the mistakes that are made most, and what to do.
_REMEDIES = {
    "'\\t'": "a tab; indent with spaces",
    "another document": "a second document begins; keep one, and remove the line with ---",
    "mapping values are not allowed": "a colon where no key can be; quote the text, or indent it rightly",
    "<block": "it does not continue the lines above; indent it like those that it belongs to",
    "cannot start any token": "{problem}; quote the text",
    "constructor for the tag": "{problem}; write plain numbers, text, lists and mappings",
}
_TRUE, _FALSE = ("yes", "on"), ("no", "off")
_INT = re.compile(
    r"[-+]?(?:0b[01_]+|0[0-7_]+|0x[0-9a-fA-F_]+|(?:0|[1-9][0-9_]*)|[1-9][0-9_]*(?::[0-5]?[0-9])+)"
)
_FLOAT = re.compile(
    r"[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)?|[-+]?\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?"
    r"|[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*"
)
_EXPONENT = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)[eE][-+]?[0-9]+")
_DATE = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt]|[ \t]+)[0-9]{1,2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]*)?"
    r"(?:[ \t]*(?:Z|[-+][0-9]{1,2}(?::[0-9]{2})?))?"
)
# What ruamel takes for a number by YAML 1.2.
_OTHER_NUMBER = re.compile(
    r"(?!_)[-+]?(?:0o?[0-7_]+|[0-9_]+|\.[0-9_]+|[0-9][0-9_]*(?:\.[0-9_]*)?[eE][-+]?[0-9]+|\.[0-9_]+[eE][-+][0-9]+)"
)
_PLAIN = Tag(suffix="tag:jouletune,2026:plain")


class UnreadableError(Exception):
    """The text cannot be read at all; the message is the only problem to report."""


@dataclass(frozen=True)
class Document:
    """What a text says.

    Attributes:
        content: Its data, with a `PlainScalar` for each word that YAML's versions read differently.
        holders: The keys of a mapping in whose values there are anchors.
    """

    content: Any
    holders: tuple[str, ...]


def parsed(text: str, report: Report) -> Document:
    """The document in a YAML or JSON text.

    Args:
        report: Called with a place and a problem, for keys that are given twice.

    Raises:
        UnreadableError: It is no YAML, has several documents, or its anchors make it too large.
    """
    yaml = YAML(typ="safe", pure=True)
    yaml.Resolver = PlainResolver
    holders: list[str] = []

    class Constructor(SafeConstructor):
        def construct_document(self, node: Node) -> Any:
            _check_size(node)  # before it is constructed: merging anchors multiplies them
            holders.extend(_holders(node))
            return super().construct_document(node)

        def check_mapping_key(self, node: Node, key_node: Node, mapping: Any, key: Any, value: Any) -> bool:
            is_new = key not in mapping
            if not is_new:
                text = key.text if isinstance(key, PlainScalar) else key
                report(f"line {key_node.start_mark.line + 1}", f"the key {shown(text)} is given twice")
            return is_new

    Constructor.add_constructor(_PLAIN.suffix, lambda _, node: plain_scalar(node.value) or node.value)
    yaml.Constructor = Constructor
    try:
        return Document(yaml.load(text), tuple(holders))
    except UnreadableError:
        raise
    except MarkedYAMLError as error:
        raise UnreadableError(_syntax_problem(error)) from None
    except RecursionError:
        raise UnreadableError("is nested too deeply") from None
    except Exception as error:  # ruamel raises others too, such as ValueError for the date 2024-99-99
        raise UnreadableError(f"is not YAML: {error or type(error).__name__}") from None


def _syntax_problem(error: MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    problem = str(error.problem or error.context).replace("tag:yaml.org,2002:", "!!")
    remedy = next((text for words, text in _REMEDIES.items() if words in problem), "{problem}")
    return where + remedy.replace("{problem}", problem)


def _check_size(root: Node) -> None:
    """Check how many values a document has once its anchors are expanded.

    Raises:
        UnreadableError: It has too many, or an anchor contains itself.
    """
    sizes: dict[int, int] = {}

    def size_of(node: Node) -> int:
        if (known := sizes.get(id(node))) is not None:
            if known == 0:  # being counted
                line = node.start_mark.line + 1
                raise UnreadableError(f"line {line}: an anchor contains itself")
            return known
        sizes[id(node)] = 0
        sizes[id(node)] = 1 + sum(map(size_of, _parts(node)))
        return sizes[id(node)]

    if (size := size_of(root)) > MOST_VALUES:
        raise UnreadableError(f"is too large: with its anchors it has {size} values, more than {MOST_VALUES}")


def _holders(root: Node) -> list[str]:
    pairs = root.value if isinstance(root, MappingNode) else []
    return [key.value for key, value in pairs if _has_anchor(value)]


def _has_anchor(node: Node) -> bool:
    return node.anchor is not None or any(map(_has_anchor, _parts(node)))


def _parts(node: Node) -> list[Node]:
    if isinstance(node, MappingNode):
        return [part for pair in node.value for part in pair]
    return node.value if isinstance(node, SequenceNode) else []


@dataclass(frozen=True)
class PlainScalar:
    """A word that YAML's versions read differently: as it is written, and as it is read here."""

    text: str
    value: Any
    kind: Kind


@dataclass(frozen=True)
class ReadScalar:
    """A `PlainScalar` and its place, such as `parameters.pretrained.value`."""

    at: str
    scalar: PlainScalar


class PlainResolver(VersionedResolver):
    """Tags the words that `plain_scalar` knows, so that they are read by it, and quoted when written."""

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        if kind is ScalarNode and implicit[0] and plain_scalar(value) is not None:
            return _PLAIN
        return super().resolve(kind, value, implicit)


def plain_scalar(text: str) -> PlainScalar | None:
    """What an unquoted word means; None if YAML 1.1 and 1.2 agree about it."""
    if text.lower() in _TRUE + _FALSE and text in (text.lower(), text.upper(), text.capitalize()):
        return PlainScalar(text, text.lower() in _TRUE, "word")
    if _DATE.fullmatch(text):
        return PlainScalar(text, text, "date")
    if _INT.fullmatch(text):
        is_usual = re.fullmatch(r"[-+]?(?:0|[1-9][0-9]*|0x[0-9a-fA-F]+)", text)
        return None if is_usual else PlainScalar(text, _int(text.replace("_", "")), "number")
    if _FLOAT.fullmatch(text):
        digits = text.replace("_", "")
        return PlainScalar(text, _float(digits), "number") if "_" in text or ":" in text else None
    if _EXPONENT.fullmatch(text):
        return PlainScalar(text, float(text), "exponent")
    return PlainScalar(text, text, "text") if _OTHER_NUMBER.fullmatch(text) or text == "=" else None


def scalar_notes(read: Iterable[ReadScalar], *, is_sweep: bool) -> Iterator[str]:
    """Yield a line for each place where a reader might take a word for something else.

    Args:
        is_sweep: Values such as 1e-4 get a line as well: W&B passes the text to a script.
    """
    places: dict[str, list[str]] = {}
    for each in read:
        if each.scalar.kind != "exponent" or (is_sweep and _is_value(each.at)):
            places.setdefault(re.sub(r"\[\d+\]$", "", each.at), []).append(_reading(each.scalar))
    for place, readings in places.items():
        yield f"{place}: {', '.join(dict.fromkeys(readings))}"


def scalar_hint(where: str, read: Iterable[ReadScalar]) -> str:
    """The end of a problem at `where` that such a word may have caused; empty if there is none."""
    here = [each.scalar for each in read if is_within(each.at, where)]
    taken = [
        f"{scalar.text} is {shown(scalar.value)}" for scalar in here if scalar.kind in ("word", "number")
    ]
    return f" (without quotes {', '.join(dict.fromkeys(taken))}, as W&B reads it)" if taken else ""


def _is_value(at: str) -> bool:
    return bool(re.search(r"\.values?(\[\d+\])*$", at))


def _reading(scalar: PlainScalar) -> str:
    if scalar.kind == "date":
        return f"{scalar.text} is text here; quote it"
    if scalar.kind == "text":
        return f"{scalar.text} is text, as W&B reads it"
    if scalar.kind == "exponent":
        return f"{scalar.text} is a number here, and text to W&B; write {dotted(scalar.value)} for both"
    return f"{scalar.text} is {shown(scalar.value)}, as W&B reads it; quote it for the text"


def dotted(number: float) -> str:
    """The number as every YAML version reads it: with a dot, and a sign in the exponent."""
    text = repr(number)
    return text if "." in text or "e" not in text else text.replace("e", ".0e")


def _int(digits: str) -> int:
    sign, digits = (-1 if digits.startswith("-") else 1), digits.lstrip("+-")
    if ":" in digits:
        return sign * int(_base_60(digits))
    base = {"0b": 2, "0x": 16}.get(digits[:2], 8 if digits.startswith("0") else 10)
    return sign * int(digits.removeprefix("0b").removeprefix("0x") or "0", base)


def _float(digits: str) -> float:
    sign, digits = (-1 if digits.startswith("-") else 1), digits.lstrip("+-")
    return sign * (_base_60(digits) if ":" in digits else float(digits))


def _base_60(digits: str) -> float:
    total = 0.0
    for part in digits.split(":"):
        total = 60 * total + float(part)
    return total
