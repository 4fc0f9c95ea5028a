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
        is_warning: Whether it stands out in colour.
        is_lead: Whether it is the conclusion of its section, in larger type.
    """

    kind: ClassVar[str] = "text"
    text: str
    is_warning: bool = False
    is_lead: bool = False


@dataclass(frozen=True, kw_only=True)
class HeadFigure:
    """One of the figures at the head of a page.

    Attributes:
        value: A number, or one word such as "unknown", in large type.
        detail: What to compare it with, or why it is unknown.
    """

    name: str
    value: str
    detail: str


@dataclass(frozen=True, kw_only=True)
class Head:
    """The figures for a reader who reads nothing else."""

    kind: ClassVar[str] = "head"
    figures: Sequence[HeadFigure]


@dataclass(frozen=True, kw_only=True)
class Points:
    """A list of points: a text, or a text with a shell command after it."""

    kind: ClassVar[str] = "points"
    points: Sequence[str | tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Names with their values, as a definition list: settings, versions."""

    kind: ClassVar[str] = "pairs"
    pairs: Sequence[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Commands:
    """Pairs of what a shell command does and the command, ready to be copied."""

    kind: ClassVar[str] = "commands"
    commands: Sequence[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: The text shown, rounded for readers.
        order: The sort key, unrounded: numbers before words; None is unknown, and last in either direction.
        hint: Text under the mouse, such as why the cell is empty.
    """

    text: str
    order: float | str | None = None
    hint: str = ""

    @property
    def is_number(self) -> bool:
        return isinstance(self.order, float | int)


PAGE_ROWS = 200  # rows of a table shown at once; more make a browser slow


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows under columns; a click on a column's name sorts by it.

    A table of more than `PAGE_ROWS` rows is shown page by page: its rows are data, and the script builds one
    page of them at a time. Without a script the first page is shown.

    Attributes:
        trial_column: The column with names of trials, whose details a click on a row opens; empty for none.
            Cells of this column sort by the name.
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
        """The columns that are unknown in every row."""
        return [
            name
            for place, name in enumerate(self.columns)
            if all(row[place].order is None for row in self.rows)
        ]

    def without_empty_columns(self) -> Table:
        """The table without its empty columns, which push others off the screen."""
        empty = set(self.empty_columns)
        kept = [place for place, name in enumerate(self.columns) if name not in empty]
        return replace(
            self,
            columns=[self.columns[place] for place in kept],
            rows=[[row[place] for place in kept] for row in self.rows],
        )

    @property
    def trial_place(self) -> int | None:
        """The index of `trial_column`; None if there is none."""
        return self.columns.index(self.trial_column) if self.trial_column in self.columns else None

    def with_constants_last(self, first: int) -> Table:
        """The table with columns in which all rows are alike moved after those that tell rows apart.

        Args:
            first: The number of columns at the left that keep their place.
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
        """The rows for the script, as short as possible: a text that sorts by itself is only that text."""
        return {"page": PAGE_ROWS, "rows": [[_short(cell) for cell in row] for row in self.rows]}

    def is_of_numbers(self, column: int) -> bool:
        """Whether every known cell of a column is a number, so that the column is aligned to the right."""
        known = [row[column] for row in self.rows if row[column].order is not None]
        return bool(known) and all(cell.is_number for cell in known)


def _short(cell: Cell) -> str | list[float | str | None]:
    """A cell as the script reads it: its text if that is its sort key, else [text, order] or [text, order,
    hint].

    The rows of 5,000 trials are in one file, and a text that is its own sort key need not be in it twice.
    JSON has no NaN and no infinity, so as sort keys these are texts.
    """
    if not cell.hint and cell.order == (cell.text or None):
        return cell.text
    is_plain = not isinstance(cell.order, float) or math.isfinite(cell.order)  # JSON has no NaN
    return [cell.text, cell.order if is_plain else str(cell.order), *([cell.hint] if cell.hint else [])]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """An image that the page embeds, with a caption that is also its alternative text.

    Attributes:
        format: "png" or "webp".
    """

    content: bytes
    caption: str
    format: str = "png"


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Images, each in a row of its own, or as small as they are and side by side."""

    kind: ClassVar[str] = "figures"
    figures: Sequence[Figure]
    are_side_by_side: bool = False


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """An image that got the wrong class.

    Attributes:
        name: The image's name in its data set.
        shares: The model's scores of the predicted class and of the right one, from 0 to 1.
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
    """What a click on a trial opens, as data: the script builds the details of the trial that is clicked.

    Attributes:
        data: The details of all trials, as `trial_details.trial_details` makes them.
        has_curves: Whether any trial has a curve to draw.
    """

    kind: ClassVar[str] = "details"
    data: Mapping[str, Any]
    has_curves: bool


Element = Text | Head | Points | Pairs | Commands | Table | Figures | Mistakes | TrialDetails | Chart | Matrix


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading with the elements below it.

    Attributes:
        problem: Why it could not be made; empty if it was.
    """

    key: str
    title: str
    elements: Sequence[Element]
    problem: str = ""


def text_cell(text: object) -> Cell:
    """A cell of text; None and empty text are unknown."""
    shown = "" if text is None else str(text)
    return Cell(text=shown, order=shown or None)


def number_cell(value: float | int | None, text: str | None = None, hint: str = "") -> Cell:
    """A cell with a number; empty if it is unknown.

    Args:
        value: The sort key.
        text: The text shown; None writes `value` to four significant digits.
        hint: Text under the mouse.
    """
    return Cell(text="" if value is None else text or value_text(value), order=value, hint=hint)


def hparam_cell(value: Any) -> Cell:
    """A cell of a hyperparameter. True and False are texts, although Python counts them as numbers."""
    return number_cell(value) if is_number(value) else text_cell(value)
