"""Bug reports and source files, as every reader returns them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property


@dataclass(frozen=True, kw_only=True)
class Report:
    """A bug report.

    Attributes:
        name: Its name in the source.
        files: Indices of the files that were changed for it, ascending; at least one.
        reported_s: When it was reported, in seconds since 1970.
        fixed_s: When the files were changed; never before `reported_s`.
    """

    name: str
    summary: str
    description: str
    files: tuple[int, ...]
    reported_s: float
    fixed_s: float

    @property
    def text(self) -> str:
        return f"{self.summary}\n{self.description}"


@dataclass(frozen=True, eq=False)
class Project:
    """The reports of a project, oldest first, and all files that each may be about.

    Attributes:
        notes: What was left out or assumed, for a trial's row.
    """

    reports: tuple[Report, ...]
    paths: tuple[str, ...]
    texts: tuple[str, ...]
    notes: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def key(self) -> str:
        """A key of the content, which changes with any report or file."""
        digest = hashlib.blake2b(digest_size=16)
        for part in self._parts():
            digest.update(f"{len(part)}:".encode())
            digest.update(part.encode("utf-8", "surrogatepass"))
        return digest.hexdigest()

    def _parts(self) -> Iterable[str]:
        for path, text in zip(self.paths, self.texts, strict=True):
            yield from (path, text)
        for report in self.reports:
            yield from (report.summary, report.description)
            yield repr((report.files, report.reported_s, report.fixed_s))


def in_order(reports: Iterable[Report]) -> tuple[Report, ...]:
    """The reports, oldest first; those of the same moment keep their order."""
    return tuple(sorted(reports, key=lambda report: report.reported_s))
