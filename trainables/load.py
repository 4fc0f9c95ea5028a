"""From a trainable's name to the trainable. Only the name travels to workers."""

from __future__ import annotations

import importlib
import importlib.util
import itertools
import json
import pkgutil
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import trainables
from trainables.contract import Trainable
from trainables.nearest import meant, meant_path

_NOT_TRAINABLES = {
    "atomic_write",
    "checkpoint",
    "contract",
    "data_summary",
    "engine",
    "gpu",
    "load",
    "nearest",
    "optional",
    "weights",
}
_COMMAND = "command:"  # before the description of a script, in JSON: it has no meaning without one


class UnknownTrainable(ValueError):
    """No trainable has this name; the message lists those there are."""


def trainable_names() -> list[str]:
    """Names of the trainables that come with the program, found in the package's folder."""
    found = {module.name for module in pkgutil.iter_modules(trainables.__path__)}
    return sorted(found - _NOT_TRAINABLES - {"command"})


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
    words = itertools.takewhile(lambda word: not word.startswith("-"), command["run"])
    return " ".join(words).replace("{python}", "python")


def load_trainable(name: str) -> Trainable:
    """Import the trainable `name`: a module of this package, a path to a Python file, or a command.

    Raises:
        UnknownTrainable: No such module or file, or the file exports no TRAINABLE.
    """
    if (description := command_of(name)) is not None:
        made: Trainable = importlib.import_module("trainables.command").trainable_of(description)
        return made
    module = _module_from_file(Path(name)) if name.endswith(".py") else _module_by_name(name)
    trainable = getattr(module, "TRAINABLE", None)
    if not isinstance(trainable, Trainable):
        raise UnknownTrainable(
            f"{name} exports no TRAINABLE; end the file with TRAINABLE = Trainable(hparams=..., ...)"
        )
    return trainable


def _module_by_name(name: str) -> ModuleType:
    names = trainable_names()
    if name not in names:
        hint = meant(name, names)
        raise UnknownTrainable(f"no trainable is named {name!r}{hint} (there are {', '.join(names)})")
    return importlib.import_module(f"trainables.{name}")


def _module_from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise UnknownTrainable(f"trainable file {path} does not exist{meant_path(path)}")
    spec = importlib.util.spec_from_file_location(f"user_trainable_{path.stem}", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up while the file runs
    spec.loader.exec_module(module)
    return module
