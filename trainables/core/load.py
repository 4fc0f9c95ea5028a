"""From a trainable's name to the trainable. Only the name travels to workers."""

from __future__ import annotations

import importlib
import itertools
import json
import pkgutil
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import trainables
from trainables.core.contract import Trainable, UnknownTrainable
from trainables.core.suggest import suggest
from trainables.core.user_file import load_file

__all__ = [
    "UnknownTrainable",
    "command_of",
    "load_trainable",
    "name_of_command",
    "title_of",
    "trainable_names",
]

_SHARED = {
    "core",
    "engine",
    "template",
}  # folders beside the families: what these share, and what a new one starts from
_COMMAND = "command:"  # before the description of a script, in JSON: it has no meaning without one


def trainable_names() -> list[str]:
    """Names of the trainables that come with the program, found in the package's folder."""
    found = {module.name for module in pkgutil.iter_modules(trainables.__path__)}
    return sorted(found - _SHARED - {"command"})


def name_of_command(description: Mapping[str, Any]) -> str:
    """The name of the trainable that a description of a script means, `CommandSpec` as plain data."""
    return _COMMAND + json.dumps(description, sort_keys=True)


def command_of(name: str) -> dict[str, Any] | None:
    """The description that `name_of_command` was given; None of any other name."""
    if not name.startswith(_COMMAND):
        return None
    description: dict[str, Any] = json.loads(name.removeprefix(_COMMAND))
    return description


def title_of(name: str) -> str:
    """The name as a line for people has it: of a command, the words before its first flag."""
    command = command_of(name)
    if command is None:
        return name
    words = itertools.takewhile(lambda word: not word.startswith(("-", "${")), command["run"])
    return " ".join(words).removeprefix("/usr/bin/env ").replace("{python}", "python")


def load_trainable(name: str) -> Trainable:
    """Import the trainable `name`: a module of this package, a path to a Python file, or a command.

    Raises:
        UnknownTrainable: No such module or file, or the file fails on import or exports no TRAINABLE.
    """
    if (description := command_of(name)) is not None:
        made: Trainable = importlib.import_module("trainables.command").trainable_of(description)
        return made
    if name.endswith(".py"):
        return load_file(Path(name))
    trainable: Trainable = _module_by_name(name).TRAINABLE
    return trainable


def _module_by_name(name: str) -> ModuleType:
    names = trainable_names()
    if name not in names:
        hint = suggest(name, names)
        raise UnknownTrainable(f"no trainable is named {name!r}{hint} (there are {', '.join(names)})")
    return importlib.import_module(f"trainables.{name}")
