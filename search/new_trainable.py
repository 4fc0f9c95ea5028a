"""A new trainable from the template in `trainables/template/`: its code, its space and its test."""

from __future__ import annotations

import importlib.util
import keyword
import re
from pathlib import Path

from trainables.core.load import trainable_names

ROOT = Path(__file__).parents[1]
_TEMPLATE = ROOT / "trainables/template"
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_PACKAGE = "trainables.template"
_RESERVED = {"core", "engine", "template", "command"}  # folders in trainables/ that are no families


class NewTrainableError(Exception):
    """The trainable cannot be written; the message lists every reason, and nothing was written."""


def write_trainable(name: str, *, folder: Path | None = None, root: Path = ROOT) -> list[Path]:
    """Write a working trainable for the built-in digits, with its space and its test.

    Args:
        name: Its name in spaces: lower case letters, digits and underscores.
        folder: Folder for a trainable of the user's own; None adds a family to the repository at `root`.

    Returns:
        The files that were written.

    Raises:
        NewTrainableError: The name cannot be used, or a file already exists.
    """
    contents = _family(name, root) if folder is None else _own_files(name, folder)
    problems = _name_problems(name, is_own=folder is not None)
    problems += [f"{path} exists already" for path in contents if path.exists()]
    if problems:
        raise NewTrainableError("; ".join(problems))
    for path, content in contents.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return list(contents)


def _name_problems(name: str, *, is_own: bool) -> list[str]:
    if not _NAME.fullmatch(name) or keyword.iskeyword(name):
        return [
            "a trainable's name has lower case letters, digits and underscores, begins with a letter and is "
            f"not a Python keyword, got {name!r}"
        ]
    if name in _RESERVED or name in trainable_names():
        return [f"{name!r} is taken by a trainable or a folder of jouletune's"]
    if is_own and importlib.util.find_spec(name) is not None:
        return [f"{name!r} is the name of an installed module, which the file would hide"]
    return []


def _family(name: str, root: Path) -> dict[Path, str]:
    """Return the files of a new family of this repository."""
    code = {_PACKAGE: f"trainables.{name}"}
    space = {"template": name}
    family = root / "trainables" / name
    return {
        family / "__init__.py": _filled("__init__.py", code),
        family / "training.py": _filled("training.py", code),
        root / "spaces" / f"{name}.yaml": _filled("space.yaml", space),
        root / "tests" / "trainables" / f"test_{name}.py": _filled("tests.py", code),
    }


def _own_files(name: str, folder: Path) -> dict[Path, str]:
    """Return the same files for one folder, where modules are found beside the trainable."""
    code = {f"{_PACKAGE}.training": f"{name}_training", _PACKAGE: name}
    space = {"trainable: template": f"trainable: ./{name}.py", "template.yaml": f"./{name}.yaml"}
    return {
        folder / f"{name}.py": _filled("__init__.py", code),
        folder / f"{name}_training.py": _filled("training.py", code),
        folder / f"{name}.yaml": _filled("space.yaml", space),
        folder / f"test_{name}.py": _filled("tests.py", code),
    }


def _filled(file: str, words: dict[str, str]) -> str:
    """Return the template's file with its words replaced in the given order, longer ones first."""
    text = (_TEMPLATE / file).read_text(encoding="utf-8")
    for word, other in words.items():
        text = text.replace(word, other)
    return text
