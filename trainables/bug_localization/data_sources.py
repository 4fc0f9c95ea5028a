"""Sources of bug reports and the files that they are about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from trainables.core.data_source import DataSource, FilePath, FolderPath

SplitBy = Literal["time", "report"]


@dataclass(frozen=True, kw_only=True)
class StdlibReports(DataSource):
    """Reports made from the docstrings of Python's own library; `split: report` draws the parts at random."""

    name: Literal["python-stdlib"] = "python-stdlib"
    split: SplitBy = "time"


@dataclass(frozen=True, kw_only=True)
class Reports(DataSource):
    """A tab-separated table of reports as in Ye, Bunescu and Liu (2014), and a checkout of the files."""

    reports: FilePath
    tree: FolderPath
    split: SplitBy = "time"


REPORT_SOURCES = (StdlibReports, Reports)
