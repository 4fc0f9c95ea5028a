"""`program` and `command` of a sweep file, as the command that is searched."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from search.space.entry import Fixed
from search.space.parameters import Parameter, middle
from search.space.problems import Problems, did_you_mean, shown
from trainables.command.template import FORMS, escaped

_USUAL = ("${env}", "${interpreter}", "${program}", "${args}")
_WORD = re.compile(r"\$\{(\w+)\}")


def run_of_sweep(program: Any, command: Any, problems: Problems) -> tuple[str, ...]:
    """The words of `search.command.run` that do as W&B's agent does; () with a problem where none do.

    `${env}` is /usr/bin/env, `${interpreter}` the Python that runs the search; `${args}` and its like stay as
    they are. A place such as `{epochs}` is one here too.
    """
    words = list(_USUAL) if command is None else command
    if not isinstance(words, list) or not words:
        problems.add("command", f"must be a list of words such as {list(_USUAL)}, got {shown(command)}")
        return ()
    if program is not None and not isinstance(program, str):
        problems.add("program", f"must be a script's path, got {shown(program)}")
        return ()
    if "${program}" in words and program is None:
        problems.add("program", "is missing; write program: train.py")
        return ()
    known = {"env": "/usr/bin/env", "interpreter": "{python}", "program": escaped(program or "")}
    run = []
    for word in map(str, words):
        name = found[1] if (found := _WORD.fullmatch(word)) else None
        part = _WORD.search(word)
        if name is None and part and part[1] in (*known, *FORMS):
            problems.add("command", f"{part[0]} in {word!r} must be a word of its own")
        elif name in known:
            run.append(known[name])
        elif name in FORMS or name is None:
            run.append(word if name else escaped(word))
        else:
            others = [f"${{{other}}}" for other in (*known, *FORMS)]
            problems.add("command", f"{word} is not known{did_you_mean(word, others)}")
    return tuple(run)


def folder_of_sweep(program: Any, folder: Path) -> Path:
    """Where the program lies: beside the file, or else in this folder, where W&B's agent would be started."""
    is_here = isinstance(program, str) and not (folder / program).exists() and Path(program).exists()
    return Path.cwd() if is_here else folder


def what_is_open(
    entries: Mapping[str, Parameter | Fixed],
    defaults: Mapping[str, Any],
    *,
    has_ladder: bool,
    takes_epochs: bool,
) -> str | None:
    """What a sweep file does not say, as the keys to add; None where nothing is missing."""
    start = {
        name: middle(entry)
        for name, entry in entries.items()
        if name not in defaults and not isinstance(entry, Fixed)
    }
    keys, open_ = [], []
    if start:
        open_.append("which configuration the others are compared with")
        keys.append(f"command: {{defaults: {_flow(start)}}}")
    if not has_ladder:
        open_.append("how many epochs trials train")
        keys.append("ladder: {epochs: [1, 3, 9]}")
    if not keys:
        return None
    hint = (
        ""
        if takes_epochs
        else "; a script that takes its epochs by a flag gets them by --epochs={epochs} in command"
    )
    what, add = " and ".join(open_), ", ".join(keys)
    return f"W&B's file leaves open {what}: add, with values of your own, search: {{{add}}}{hint}"


def _flow(values: Mapping[str, Any]) -> str:
    """A mapping as YAML on one line."""
    return f"{{{', '.join(f'{name}: {json.dumps(value)}' for name, value in values.items())}}}"
