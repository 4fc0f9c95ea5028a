"""Functions that are sound or not, from a file of JSON lines or made from Python's own library."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trainables.contract import DataError
from trainables.engine.text.defects import RECIPE, with_flipped_comparisons
from trainables.engine.text.python_stdlib import PYTHON, stdlib_functions
from trainables.engine.text.splits import grouped_parts
from trainables.engine.text.stored import digest
from trainables.nearest import no_such_source

SOURCES = ("python-stdlib", "jsonl:PATH")
PARTS = ("train", "val", "test")
_LISTED = 5


@dataclass(frozen=True, kw_only=True)
class Functions:
    """Functions of several projects.

    Attributes:
        targets: 1 of a function that is vulnerable or defective, 0 of one that is not.
        parts: "train", "val" or "test" of each, as the source brings them; empty where it does not.
    """

    texts: Sequence[str]
    targets: Sequence[int]
    projects: Sequence[str]
    parts: Sequence[str] = ()

    def split(self, seed: int) -> np.ndarray:
        """The part of each function: the source's own, or by project; (n,).

        Raises:
            DataError: There are too few projects.
        """
        if self.parts:
            return np.array(self.parts)
        return grouped_parts(self.targets, self.projects, seed=seed)

    def num_leaked(self, parts: np.ndarray) -> int:
        """How many functions of validation and test have a copy in training, to the letter."""
        trained = {text for text, part in zip(self.texts, parts, strict=True) if part == "train"}
        held_out = zip(self.texts, parts, strict=True)
        return sum(text in trained for text, part in held_out if part != "train")


def functions_key(name: str) -> str:
    """Changes with the content of the source that a space calls `name`.

    Raises:
        DataError: No such source, or no such file.
    """
    path = _path(name)
    return digest(path.read_bytes()) if path else digest(PYTHON, RECIPE)


def read_functions(name: str) -> Functions:
    """The functions of the source that a space calls `name`.

    Raises:
        DataError: No such source or file, or lines that cannot be used; the first few are named.
    """
    path = _path(name)
    if path is None:
        return _made()
    functions, problems = _parsed(path.read_text(encoding="utf-8", errors="replace").splitlines())
    if problems:
        listed = "; ".join(problems[:_LISTED]) + ("; ..." if len(problems) > _LISTED else "")
        raise DataError(f"{path} has {len(problems)} problems: {listed}")
    return functions


@lru_cache(maxsize=1)
def _made() -> Functions:
    return Functions(**with_flipped_comparisons(stdlib_functions()))


def _path(name: str) -> Path | None:
    """The file that a source is read from; None of what is made here."""
    kind, _, rest = name.partition(":")
    if name == "python-stdlib":
        return None
    if kind != "jsonl" or not rest:
        raise DataError(no_such_source("source of functions", name, SOURCES))
    path = Path(rest).expanduser()
    if not path.is_file():
        raise DataError(f"{path} does not exist; give jsonl: a file with a JSON object on each line")
    return path


def _parsed(lines: Sequence[str]) -> tuple[Functions, list[str]]:
    found: list[dict[str, Any]] = []
    problems: list[str] = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            item, problem = _function(line)
            found.append(item)
            problems += [f"line {number}: {problem}"] if problem else []
    has_parts = [bool(item.get("part")) for item in found]
    if any(has_parts) and not all(has_parts):
        problems.append(f"{has_parts.count(False)} of {len(found)} functions have no part, the others have")
    if not found:
        problems.append("it has no functions")
    if problems:
        return Functions(texts=(), targets=(), projects=()), problems
    functions = Functions(
        texts=tuple(item["func"] for item in found),
        targets=tuple(int(item["target"]) for item in found),
        projects=tuple(str(item.get("project", "")) for item in found),
        parts=tuple(item["part"] for item in found) if all(has_parts) else (),
    )
    return functions, []


def _function(line: str) -> tuple[dict[str, Any], str]:
    """What a line says of a function, and what is wrong with it in words."""
    try:
        item = json.loads(line)
    except ValueError as error:
        return {}, f"it is no JSON: {error}"
    if not isinstance(item, dict):
        return {}, "it must be an object with func, target and project"
    problems = []
    if not isinstance(item.get("func"), str):
        problems.append(f"func must be text, got {item.get('func')!r}")
    if item.get("target") not in (0, 1):
        problems.append(f"target must be 0 or 1, got {item.get('target')!r}")
    if item.get("part", "train") not in PARTS:
        problems.append(f"part must be one of {', '.join(PARTS)}, got {item['part']!r}")
    if "part" not in item and not item.get("project"):
        problems.append("project is missing, and so is part: functions are split by one of them")
    return item, ", ".join(problems)


def labels_of(functions: Functions) -> torch.Tensor:
    """(n,), int64."""
    return torch.tensor(functions.targets, dtype=torch.int64)
