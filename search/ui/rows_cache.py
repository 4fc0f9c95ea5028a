"""A cache of the rows of runs that do not change, kept between starts: reading 1,000 journals takes a minute.

A row is valid only while the files that it was made from have the same sizes and modification times. What
cannot be read or written is left out: the cache only saves time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from search.trial.task import cache_folder
from search.ui.run_row import RunRow
from trainables.core.files import replacing

_LAYOUT = 1  # version of a row's layout, to be increased when its columns or their meaning change


@dataclass(frozen=True)
class KeptRow:
    """A row, and the state of the files that it was made from."""

    files: str
    row: RunRow


def cache_file(results: Path) -> Path:
    """Where the rows of this folder's runs are kept."""
    name = hashlib.sha256(str(results.resolve()).encode(errors="surrogateescape")).hexdigest()[:16]
    return cache_folder() / "runs" / f"{name}.json"


def read_rows(file: Path) -> dict[str, KeptRow]:
    """The kept rows by the names of their runs; empty if there are none that this version understands."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if content["layout"] != _LAYOUT:
            return {}
        return {name: KeptRow(files, RunRow.from_dict(row)) for name, (files, row) in content["rows"].items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}


def write_rows(file: Path, rows: Mapping[str, KeptRow]) -> None:
    """Replace the kept rows; a disk that is full or not writable is ignored."""
    content = {
        "layout": _LAYOUT,
        "rows": {name: [kept.files, kept.row.to_dict()] for name, kept in rows.items()},
    }
    try:
        with replacing(file) as scratch:
            scratch.write_text(json.dumps(content), encoding="utf-8")
    except OSError:
        return
