"""Suggestions for mistyped words, as the end of a sentence; empty if nothing is close."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


def suggest(word: str, known: Iterable[str]) -> str:
    """Return "; did you mean X?" with the closest of the known words, whether in capitals or not."""
    by_small = {each.lower(): each for each in known}
    near = difflib.get_close_matches(word.lower(), by_small, n=1)
    return f"; did you mean {by_small[near[0]]}?" if near else ""


def suggest_path(path: Path) -> str:
    """Return the same with the closest name in the parent folder of `path`."""
    names: list[str] = []
    with suppress(OSError, ValueError):  # it may be closed, or the name too long
        names = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, names, n=1)
    return f"; did you mean {path.parent / near[0]}?" if near else ""
