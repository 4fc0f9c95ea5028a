"""The paths in `search.data`, such as `imagefolder:FOLDER` or `coco:FILE.json?images=FOLDER`."""

from __future__ import annotations

import re
from pathlib import Path

from trainables.core.suggest import suggest_path

_KINDS_WITH_PATH = {"imagefolder", "curves", "coco", "voc", "market", "quality", "jsonl", "pairs", "reports"}
_SECOND_PATH = re.compile(r"(\?images=|\?tree=)")


def absolute_data(given: str) -> str:
    """`given` with absolute paths: a worker has another folder."""
    kind, colon, path = given.partition(":")
    if kind not in _KINDS_WITH_PATH or not colon:
        return given
    parts = _SECOND_PATH.split(path)
    parts[::2] = [str(Path(part).expanduser().resolve()) for part in parts[::2]]  # marks lie between
    return f"{kind}:{''.join(parts)}"


def data_problems(given: str) -> list[str]:
    """A line for every path that does not lead anywhere."""
    kind, colon, place = absolute_data(given).partition(":")
    if kind not in _KINDS_WITH_PATH or not colon or not place:
        return []
    paths, problems = [Path(place)] if kind == "imagefolder" else _paths(place), []
    if kind == "imagefolder" and paths[0].is_file():
        problems.append(f"{place} is a file; name a folder with a folder per class")
    return problems + [f"{path} does not exist{suggest_path(path)}" for path in paths if not path.exists()]


def _paths(place: str) -> list[Path]:
    """The one or two paths in FILE?images=FOLDER&side=384."""
    first, *second = _SECOND_PATH.split(place)[::2]
    return [Path(first.partition("?")[0]), *(Path(path.partition("&")[0]) for path in second)]
