"""The problems of a space file, collected and worded as one message."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from trainables.core.suggest import suggest

_LONGEST_SHOWN = 60


class SpaceError(ValueError):
    """A space file cannot be used. The message lists every problem in it, not just the first."""

    def __init__(self, file: str, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__(as_message(file, problems))


def as_message(file: str, problems: Sequence[str]) -> str:
    """Format the problems as a message, on one line if there is only one."""
    if len(problems) == 1:
        return f"{file}: {problems[0].removeprefix('file: ')}"
    return f"{file} has {len(problems)} problems:\n" + "\n".join(f"  {problem}" for problem in problems)


class KeyedError(ValueError):
    """A problem of one key, found while the section around it was checked as a whole."""

    def __init__(self, key: str, text: str) -> None:
        super().__init__(text)
        self.key = key


@dataclass
class Problems:
    """The problems found so far, each once, in the order they were found."""

    lines: list[str] = field(default_factory=list)

    def add(self, where: str, text: str) -> None:
        line = f"{where}: {' '.join(text.split())}"
        if line not in self.lines:
            self.lines.append(line)

    def concern(self, where: str) -> bool:
        """Whether there is a problem at `where` or below it."""
        return any(_is_at(line, where) for line in self.lines)

    def replace(self, where: str, text: str) -> None:
        """Replace all problems at `where` and below it with a single one."""
        self.lines = [line for line in self.lines if not _is_at(line, where)]
        self.add(where, text)


def _is_at(line: str, where: str) -> bool:
    return line.startswith((f"{where}:", f"{where}.", f"{where}["))


def is_within(at: str, place: str) -> bool:
    """Whether the dotted place `at` is `place` or lies below it."""
    return at == place or at.startswith((f"{place}.", f"{place}["))


def shown(value: Any) -> str:
    """A value as its author wrote it, cut to a readable length."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 3] + "..."


def listed(values: Iterable[Any]) -> str:
    return ", ".join(value if isinstance(value, str) else shown(value) for value in values)


def did_you_mean(name: Any, allowed: Iterable[str]) -> str:
    """The end of a sentence that names the nearest allowed word, or lists them when none is near."""
    names = list(allowed)
    return suggest(str(name), names) or (f" (there are {', '.join(names)})" if names else "")


def not_among(expected: str, value: Any) -> str:
    """Why `value` is none of the words that pydantic lists as `'a', 'b' or 'c'`."""
    allowed = re.findall(r"'([^']*)'", expected)
    hint = suggest(str(value), allowed)
    return f"must be one of {listed(allowed) or expected}, got {shown(value)}{hint}"


def wrong_kind(needed: str, value: Any) -> str:
    """Why `value` is not `needed`, with what to write instead where that is clear."""
    if not isinstance(value, str):
        return f"must be {needed}, got {shown(value)}"
    fix = _unquoted(value, needed)
    return (
        f"is text, {shown(value)}; write {fix}" if fix else f"must be {needed}, got the text {shown(value)}"
    )


def _unquoted(text: str, needed: str) -> str | None:
    if "true or false" in needed:
        words = {"yes": "true", "on": "true", "true": "true", "no": "false", "off": "false", "false": "false"}
        return words.get(text.strip().lower())
    if "," in text and "list" in needed:
        return f"[{text.strip()}]"
    if "number" not in needed:
        return None
    try:
        number = float(text)
    except ValueError:
        return None
    is_fit = number.is_integer() or "whole" not in needed
    return f"{text.strip()} without quotes" if is_fit else None
