"""Which run was meant, where there is none."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

_MOST_LISTED = 5
_JOURNAL = "journal.jsonl"


def meant_run(folder: Path) -> str:
    """The end of a sentence that names the run nearest to `folder`, or the newest there are.

    Empty where there is no run in the folder or beside it.
    """
    if inside := _runs_in(folder):
        return _listed(inside, "in it are the runs ")
    beside = _runs_in(folder.parent)
    near = difflib.get_close_matches(folder.name, [run.name for run in beside], n=1)
    if near:
        return f"; did you mean {folder.parent / near[0]}?"
    return _listed(beside or _runs_in(folder.parent / "results"), "there are ")


def _runs_in(folder: Path) -> list[Path]:
    """The runs in `folder`, the one that was written to last first."""
    journals = [path for path in folder.glob(f"*/{_JOURNAL}") if path.is_file()]
    return [path.parent for path in sorted(journals, key=lambda path: -path.stat().st_mtime)]


def _listed(runs: Sequence[Path], words: str) -> str:
    if not runs:
        return ""
    if len(runs) == 1:
        return f"; did you mean {runs[0]}?"
    more = f" and {len(runs) - _MOST_LISTED} older ones" if len(runs) > _MOST_LISTED else ""
    return f"; {words}{', '.join(map(str, runs[:_MOST_LISTED]))}{more}"
