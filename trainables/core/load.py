"""References to trainables, and loading what they refer to. Only the reference travels to workers."""

from __future__ import annotations

import importlib
import itertools
import json
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import trainables
from trainables.core.contract import Trainable, UnknownTrainable
from trainables.core.suggest import suggest
from trainables.core.user_file import load_file

__all__ = ["TrainableRef", "UnknownTrainable", "load_trainable", "trainable_names"]

_SHARED = {
    "core",
    "engine",
    "template",
}  # folders beside the families: code that they share, and the template of a new one


def trainable_names() -> list[str]:
    """Names of the built-in trainables, found in the package's folder."""
    found = {module.name for module in pkgutil.iter_modules(trainables.__path__)}
    return sorted(found - _SHARED - {"command"})


@dataclass(frozen=True, kw_only=True)
class TrainableRef:
    """A trainable as plain data, sent to workers, each of which imports the trainable itself.

    Exactly one attribute is set.

    Attributes:
        name: A built-in family: a module or package of `trainables`.
        path: A Python file of the user's.
        command: A script, as the JSON form of its complete `CommandSpec`, without which it has no meaning.
    """

    name: str | None = None
    path: Path | None = None
    command: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if [self.name, self.path, self.command].count(None) != 2:
            raise ValueError("a trainable is a name, a path or a command: exactly one of them")

    @classmethod
    def of(cls, text: str) -> TrainableRef:
        """Parse a reference as a user writes it: a path ends in .py, anything else is a name."""
        return cls(path=Path(text)) if text.endswith(".py") else cls(name=text)

    @classmethod
    def of_command(cls, description: Mapping[str, Any]) -> TrainableRef:
        """Refer to the script of this description, normalised by a round trip through JSON (tuples to lists).

        Keys are sorted, as W&B's agent sorts the flags that it passes to a script.
        """
        return cls(command=json.loads(json.dumps(description, sort_keys=True)))

    def load(self) -> Trainable:
        """Import the trainable.

        Raises:
            UnknownTrainable: No such module or file, or the file fails on import or exports no TRAINABLE.
        """
        if self.command is not None:
            # Imported here, as only training a script needs its runner, 600 lines of processes and pipes.
            made: Trainable = importlib.import_module("trainables.command").trainable_of(self.command)
            return made
        if self.path is not None:
            return load_file(self.path)
        assert self.name is not None
        trainable: Trainable = _module_by_name(self.name).TRAINABLE
        return trainable

    @property
    def title(self) -> str:
        """Readable name; for a command, the words before its first flag."""
        if self.command is None:
            return str(self)
        words = itertools.takewhile(lambda word: not word.startswith(("-", "${")), self.command["run"])
        return " ".join(words).removeprefix("/usr/bin/env ").replace("{python}", "python")

    @property
    def plain(self) -> str | dict[str, Any]:
        """The form for YAML and JSON: a name or path as text, a command as its description."""
        return dict(self.command) if self.command is not None else str(self)

    def __str__(self) -> str:
        """Text that identifies the trainable: two commands that differ in a flag differ here too."""
        if self.command is not None:
            return json.dumps(self.command, sort_keys=True)
        return str(self.path or self.name)

    def __hash__(self) -> int:  # the description is a dict, which has no hash of its own
        return hash(str(self))


def load_trainable(text: str) -> Trainable:
    """Import the trainable of this name, or from this Python file.

    Raises:
        UnknownTrainable: See `TrainableRef.load`.
    """
    return TrainableRef.of(text).load()


def _module_by_name(name: str) -> ModuleType:
    names = trainable_names()
    if name not in names:
        hint = suggest(name, names)
        raise UnknownTrainable(f"no trainable is named {name!r}{hint} (there are {', '.join(names)})")
    return importlib.import_module(f"trainables.{name}")
