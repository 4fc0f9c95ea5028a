"""A space for a training script: its flags read, its hyperparameters recognised, written as YAML."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from search.errors import UserError
from search.init_script.ranges import place_of, range_of
from search.init_script.read import Script, UnreadableScript, read_script
from search.init_script.scores import Scores, scores_of
from search.init_script.write import space_text

__all__ = ["UnreadableScript", "Written", "write_space"]


@dataclass(frozen=True, kw_only=True)
class Written:
    """A space that was written.

    Attributes:
        path: The path as a command takes it: with a slash, since a bare name is looked up in spaces/.
        summary: How many flags have a range, are set by the search, or are left as they are.
        note: What the script needs before it can be searched, as far as its source shows; empty if nothing.
    """

    path: str
    summary: str
    note: str = ""


def write_space(
    script: Path, *, out: Path | None = None, python: str = sys.executable, arguments: Sequence[str] = ()
) -> Written:
    """Write the space of a script.

    Args:
        out: The file to write; defaults to the script's name with .yaml, beside it.
        python: The script's Python.
        arguments: Words before its flags, such as a subcommand.

    Raises:
        UserError: The script's flags cannot be read, or the file already exists; nothing is written.
    """
    path = out or script.with_suffix(".yaml")
    if path.exists():
        raise UserError(f"{path} exists already: remove it, or give another with --out")
    found = read_script(script, python=python, arguments=arguments, folder=path.absolute().parent)
    scores = scores_of(script)
    path.write_text(space_text(found, scores, name=path.name), encoding="utf-8")
    is_bare = not path.is_absolute() and os.sep not in str(path)
    return Written(
        path=f"./{path}" if is_bare else str(path), summary=_summary(found), note=_note(script, scores)
    )


def _note(script: Path, scores: Scores) -> str:
    """Return what a script lacks that leaves no scores: sentences are not read, so its search would fail."""
    if script.suffix != ".py" or scores.source or scores.metric:
        return ""
    line = 'print(json.dumps({"epoch": epoch, "val_acc": accuracy}), flush=True)'
    return (
        f"no scores that a search can read were found in {script.name}: print a line in each epoch, {line}"
        ", or name the file that it writes as metrics (docs/own-script.md)"
    )


def _summary(script: Script) -> str:
    num_ranges = sum(range_of(flag) is not None for flag in script.flags)
    num_places = sum(place_of(flag) is not None for flag in script.flags)
    num_left = len(script.flags) - num_ranges - num_places
    return (
        f"{len(script.flags)} flags ({script.library}): {num_ranges} with a range, {num_places} set by the "
        f"search, {num_left} left as {'it is' if num_left == 1 else 'they are'}"
    )
