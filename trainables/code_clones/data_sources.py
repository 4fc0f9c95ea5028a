"""Sources of pairs of code that are clones of each other or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from trainables.core.data_source import DataSource, FilePath


@dataclass(frozen=True, kw_only=True)
class StdlibPairs(DataSource):
    """Functions of Python's own library beside edited copies and others, all full of logging and checks."""

    name: Literal["python-stdlib"] = "python-stdlib"


@dataclass(frozen=True, kw_only=True)
class PairTable(DataSource):
    """A CSV table with the columns `first`, `second` and `label`, and the files that it names."""

    pairs: FilePath


PAIR_SOURCES = (StdlibPairs, PairTable)
