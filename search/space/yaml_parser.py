"""YAML text as Python data, or the reason why it is none. Nothing in it is run, whatever its tags say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

from search.space.errors import shown
from search.space.plain_scalars import PlainResolver, PlainScalar, add_constructor

Report = Callable[[str, str], None]
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

    add_constructor(Constructor)
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
