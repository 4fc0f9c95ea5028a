"""The tables of results/README.md, made from the columns themselves: `make docs` writes them.

A test fails when they are stale, so a column cannot be added without its meaning, nor documented after it is
gone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from search.tables.analysis import (
    CONFIGURATION_TABLE,
    DUPLICATE_CURVES_TABLE,
    PARETO_TABLE,
    RUNG_CORRELATION_TABLE,
)
from search.tables.columns import Table, markdown
from search.tables.energy import DEVICE_TABLE, ENERGY_TABLE
from search.tables.history import HISTORY_TABLE
from search.tables.promoted import PROMOTED_TABLE
from search.tables.trials import TRIAL_TABLE

README = Path(__file__).parents[2] / "results" / "README.md"
DOCUMENTED: Mapping[str, Table[Any]] = {
    "trials.csv": TRIAL_TABLE,
    "configurations.csv": CONFIGURATION_TABLE,
    "energy.csv": ENERGY_TABLE,
    "devices.csv": DEVICE_TABLE,
    "pareto.csv": PARETO_TABLE,
    "rung_correlation.csv": RUNG_CORRELATION_TABLE,
    "duplicate_curves.csv": DUPLICATE_CURVES_TABLE,
    "promoted.csv": PROMOTED_TABLE,
    "history.csv": HISTORY_TABLE,
}
# A header, a rule, and all following lines that begin with a bar; text below stays.
_TABLE = re.compile(r"\| column \| unit \| meaning \|\n(?:\|.*\n)+")


def with_tables(text: str) -> str:
    """The document with the table below each heading of a CSV made from its columns.

    Raises:
        ValueError: A CSV has no heading, or no table below it.
    """
    for name, table in DOCUMENTED.items():
        before, heading, after = text.partition(f"\n## {name}\n")
        section, end, rest = after.partition("\n## ")
        found = _TABLE.search(section)
        if found is None:
            raise ValueError(f"{README.name} has no table of columns under the heading {name}")
        start, stop = found.span()
        text = f"{before}{heading}{section[:start]}{markdown(table)}\n{section[stop:]}{end}{rest}"
    return text


def main() -> None:
    """Write the tables of results/README.md."""
    README.write_text(with_tables(README.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
