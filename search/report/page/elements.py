"""The elements of a page, before they are HTML. Pure.

A section is made of these and of charts, and knows no tag. The template is the only place with HTML, so text
from a run cannot become markup anywhere else, and tests read sections instead of parsing pages.

Each class has a `kind`, by which the template chooses how to render it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from search.report.charts.chart import Chart, Matrix
from search.report.formatting import value_text
from search.space.parameters import is_number


@dataclass(frozen=True, kw_only=True)
class Text:
    """A paragraph.

    Attributes:
        is_warning: It stands out in colour.
        is_lead: It is the conclusion of its section, in larger type.
    """

    kind: ClassVar[str] = "text"
    text: str
    is_warning: bool = False
    is_lead: bool = False


@dataclass(frozen=True, kw_only=True)
class HeadFigure:
    """One of the figures at the head of a page.

    Attributes:
        value: In large type: a number, or one word such as "unknown".
        detail: What to hold it against, or why it is unknown.
    """

    name: str
    value: str
    detail: str


@dataclass(frozen=True, kw_only=True)
class Head:
    """The figures that a reader who reads nothing else reads."""

    kind: ClassVar[str] = "head"
    figures: Sequence[HeadFigure]


@dataclass(frozen=True, kw_only=True)
class Points:
    """A list, one point after the other."""

    kind: ClassVar[str] = "points"
    points: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Names with their values, as a definition list: settings, versions."""

    kind: ClassVar[str] = "pairs"
    pairs: Sequence[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Commands:
    """What a shell command does, and the command, ready to be copied."""

    kind: ClassVar[str] = "commands"
    commands: Sequence[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: As it is shown, rounded for readers.
        order: The sort key, unrounded: numbers before words; None is unknown, and last in either direction.
        hint: Text under the mouse, such as why the cell is empty.
    """

    text: str
    order: float | str | None = None
    hint: str = ""

    @property
    def is_number(self) -> bool:
        return isinstance(self.order, float | int)


PAGE_ROWS = 200  # rows of a table at once; more of them make a browser slow


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows under columns; a click on a column's name sorts by it.

    A table of more than `PAGE_ROWS` rows is shown page by page: its rows are data, and the script builds one
    page of them at a time. Without a script the first page is shown.

    Attributes:
        trial_column: The column with names of trials, whose details a click on a row opens; empty for none.
            The name is what a cell there sorts by.
    """

    kind: ClassVar[str] = "table"
    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    trial_column: str = ""

    @property
    def has_pages(self) -> bool:
        return len(self.rows) > PAGE_ROWS

    @property
    def first_rows(self) -> Sequence[Sequence[Cell]]:
        """The rows of the first page."""
        return self.rows[:PAGE_ROWS]

    @property
    def empty_columns(self) -> list[str]:
        """Those in which nothing is known of any row."""
        return [
            name
            for place, name in enumerate(self.columns)
            if all(row[place].order is None for row in self.rows)
        ]

    def without_empty_columns(self) -> Table:
        """The table as far as anything is known: an empty column pushes others off the screen."""
        empty = set(self.empty_columns)
        kept = [place for place, name in enumerate(self.columns) if name not in empty]
        return replace(
            self,
            columns=[self.columns[place] for place in kept],
            rows=[[row[place] for place in kept] for row in self.rows],
        )

    @property
    def trial_place(self) -> int | None:
        """The place of `trial_column`; None without one."""
        return self.columns.index(self.trial_column) if self.trial_column in self.columns else None

    def with_constants_last(self, first: int) -> Table:
        """The table with the columns in which all rows are alike after those that tell rows apart.

        Args:
            first: Columns at the left that keep their place.
        """
        places = range(len(self.columns))
        alike = [at >= first and len({row[at].order for row in self.rows}) < 2 for at in places]
        ordered = sorted(places, key=lambda at: alike[at])
        return replace(
            self,
            columns=[self.columns[at] for at in ordered],
            rows=[[row[at] for at in ordered] for row in self.rows],
        )

    def data(self) -> dict[str, Any]:
        """The rows for the script, as short as possible: a text that sorts as itself is just that text."""
        return {"page": PAGE_ROWS, "rows": [[_short(cell) for cell in row] for row in self.rows]}

    def is_of_numbers(self, column: int) -> bool:
        """Whether every known cell of a column is a number, so that the column is aligned to the right."""
        known = [row[column] for row in self.rows if row[column].order is not None]
        return bool(known) and all(cell.is_number for cell in known)


def _short(cell: Cell) -> str | list[float | str | None]:
    """A cell as the script reads it: its text if it sorts as itself, else [text, order] or [text, order,
    hint].

    The rows of 5,000 trials are in one file, and a text that sorts as itself need not be in it twice. JSON
    has no NaN and no infinity, so as sort keys they are texts.
    """
    if not cell.hint and cell.order == (cell.text or None):
        return cell.text
    is_plain = not isinstance(cell.order, float) or math.isfinite(cell.order)  # JSON has no NaN
    return [cell.text, cell.order if is_plain else str(cell.order), *([cell.hint] if cell.hint else [])]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """An image, which the page embeds, with its caption, which is its alternative text too.

    Attributes:
        format: "png" or "webp".
    """

    content: bytes
    caption: str
    format: str = "png"


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Images one below the other, each in a row of its own."""

    kind: ClassVar[str] = "figures"
    figures: Sequence[Figure]


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """An image that got the wrong class.

    Attributes:
        name: What the image is called in its data set.
        shares: What the model gave the class that it named and the right one, from 0 to 1.
        note: How often this confusion happened; empty if that is unknown.
    """

    figure: Figure
    name: str
    label: str
    predicted: str
    shares: Sequence[tuple[str, float]]
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Mistakes:
    """Images that got the wrong class, side by side, with what the model said of each."""

    kind: ClassVar[str] = "mistakes"
    mistakes: Sequence[Mistake]


@dataclass(frozen=True, kw_only=True)
class TrialDetails:
    """What a click on a trial opens, as data: the script builds the one that is asked for.

    Attributes:
        data: As `trial_details.trial_details` makes it.
        has_curves: Whether any trial has a curve to draw.
    """

    kind: ClassVar[str] = "details"
    data: Mapping[str, Any]
    has_curves: bool


Element = Text | Head | Points | Pairs | Commands | Table | Figures | Mistakes | TrialDetails | Chart | Matrix


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading with the elements below it."""

    key: str
    title: str
    elements: Sequence[Element]


def text_cell(text: object) -> Cell:
    """A cell of text; None and empty text are unknown."""
    shown = "" if text is None else str(text)
    return Cell(text=shown, order=shown or None)


def number_cell(value: float | int | None, text: str | None = None, hint: str = "") -> Cell:
    """A cell with a number; empty if it is unknown.

    Args:
        value: What it sorts by.
        text: What is shown; None writes four significant digits.
        hint: Text under the mouse.
    """
    return Cell(text="" if value is None else text or value_text(value), order=value, hint=hint)


def hparam_cell(value: Any) -> Cell:
    """A cell of a hyperparameter. True and False are texts, although Python counts them as numbers."""
    return number_cell(value) if is_number(value) else text_cell(value)
