"""Tables on which a method may be developed, and tables that are read only once, at the end.

Decided on 2026-11-29, before anything it judges was built: the recorded tables in order of their names, every
second one held back. So each half has four tables of LCBench and one of image classifiers. Everything chosen
before that day (lowest rung, eta, TPE's densities) was chosen on all ten.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from benchmarks.search_quality.made_tables import made_tables
from benchmarks.search_quality.table import Table, load_table

Half = Literal["shown", "held back", "made, shown", "made, held back"]
HALVES: tuple[Half, ...] = ("shown", "held back", "made, shown", "made, held back")
_MADE_SEEDS: dict[Half, int] = {"made, shown": 1, "made, held back": 2}


def tables_of(half: Half, folder: Path) -> dict[str, Table]:
    """The tables of a half by name; the recorded ones lie in `folder`."""
    if half in _MADE_SEEDS:
        return made_tables(_MADE_SEEDS[half])
    first = HALVES.index(half)
    return {path.stem: load_table(path) for path in recorded(folder)[first::2]}


def recorded(folder: Path) -> Sequence[Path]:
    """The recorded tables in `folder`, by name."""
    return sorted([*folder.glob("*.csv"), *folder.glob("*.npz")])
