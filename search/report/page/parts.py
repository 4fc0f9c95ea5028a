"""What a page is made of, before it is HTML. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from search.report.chart import Chart


@dataclass(frozen=True, kw_only=True)
class Text:
    """A paragraph; a warning stands out."""

    kind: ClassVar[str] = "text"
    text: str
    is_warning: bool = False
    is_lead: bool = False


@dataclass(frozen=True, kw_only=True)
class Points:
    """A list, one point after the other."""

    kind: ClassVar[str] = "points"
    points: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Names with what they are."""

    kind: ClassVar[str] = "pairs"
    pairs: Sequence[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Commands:
    """What each command does, and the command as a shell takes it."""

    kind: ClassVar[str] = "commands"
    commands: Sequence[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What a cell shows.

    Attributes:
        order: What it is sorted by: numbers before words; None is unknown, and last either way.
        hint: What to know of it, such as why it is empty.
    """

    text: str
    order: float | str | None = None
    hint: str = ""

    @property
    def is_number(self) -> bool:
        return isinstance(self.order, float | int)


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows under columns; a click on a column's name sorts by it."""

    kind: ClassVar[str] = "table"
    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]

    def is_of_numbers(self, column: int) -> bool:
        """Whether every known cell of a column is a number."""
        known = [row[column] for row in self.rows if row[column].order is not None]
        return bool(known) and all(cell.is_number for cell in known)


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A PNG with what it shows."""

    png: bytes
    caption: str


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """Small ones stand side by side; a large one has its own row."""

    kind: ClassVar[str] = "pictures"
    pictures: Sequence[Picture]
    is_small: bool = False


Part = Text | Points | Pairs | Commands | Table | Pictures | Chart


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading with what stands below it."""

    key: str
    title: str
    parts: Sequence[Part]


def text_cell(text: object) -> Cell:
    """A cell of words; none are unknown."""
    return Cell(text="" if text is None else str(text), order=str(text) if text else None)
