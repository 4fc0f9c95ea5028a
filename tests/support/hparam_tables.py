"""The tables of docs/hyperparameters.md, from the hyperparameters that the trainables declare."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from trainables.core.load import load_trainable, trainable_names
from trainables.engine.hparams import TrainingHparams

DOCUMENT = Path(__file__).parents[2] / "docs/hyperparameters.md"
_MARK = "<!-- written by `python -m tests.support.hparam_tables`, from trainables/*/__init__.py -->\n"
_ATTRIBUTE = re.compile(r"    (\w+): (.*(?:\n        .*)*)")


def meanings(hparams: type) -> dict[str, str]:
    """What the docstrings of a dataclass and its bases say about each attribute; the nearest class wins."""
    found: dict[str, str] = {}
    for kind in hparams.__mro__:
        _, _, attributes = (inspect.getdoc(kind) or "").partition("Attributes:\n")
        for name, text in _ATTRIBUTE.findall(attributes):
            found.setdefault(name, " ".join(text.split()))
    return found


def defaults(hparams: type) -> dict[str, Any]:
    """The fields of a dataclass of hyperparameters with their defaults."""
    return {each.name: each.default for each in dataclasses.fields(hparams)}


def tables() -> str:
    """The hyperparameters that most trainables share, then each trainable's own."""
    shared = defaults(TrainingHparams)
    parts = ["\n## What most trainables share\n\n", _table(TrainingHparams, shared)]
    for name in trainable_names():
        hparams = load_trainable(name).hparams
        own = defaults(hparams)
        parts.append(f"\n## {name}\n\n")
        if issubclass(hparams, TrainingHparams):
            other = {each: own[each] for each in shared if own[each] != shared[each]}
            parts.append(_beside(other))
            own = {each: value for each, value in own.items() if each not in shared}
        parts.append(_table(hparams, own))
    return "".join(parts)


def _beside(other: dict[str, Any]) -> str:
    """A sentence: the trainable also has the shared hyperparameters, with these changed defaults."""
    changed = ", ".join(f"`{name}` {_default(value)}" for name, value in other.items())
    return f"All of the shared ones{f', with {changed}' if changed else ''}, and\n\n"


def _table(hparams: type, names: Iterable[str]) -> str:
    found, values = meanings(hparams), defaults(hparams)
    rows = [f"| `{name}` | {_default(values[name])} | {_cell(found.get(name, ''))} |" for name in names]
    return "\n".join(["| name | default | meaning |", "|---|---|---|", *rows, ""])


def _default(value: Any) -> str:
    """A default value as written in a space."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str) and "," in value:
        return f'"{value}"'
    return f"{value:g}" if isinstance(value, float) else str(value)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def document() -> str:
    """The document as it should be: the text above the mark, then up-to-date tables."""
    above, _, _ = DOCUMENT.read_text(encoding="utf-8").partition(_MARK)
    return above + _MARK + tables()


if __name__ == "__main__":
    DOCUMENT.write_text(document(), encoding="utf-8")
