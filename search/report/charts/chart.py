"""What a plot shows, apart from how it is drawn. Pure.

A chart is data: axes, series, marks and labels in the units of its axes. Two renderers draw it, plotly.js in
the page (`plotly_figure`) and Matplotlib as PNG (`png`). So the page and the PNG of a plot cannot show
different numbers, and a new plot is written once. What only one of them can do (text under the mouse) is left
out by the other.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeVar

# Okabe and Ito 2008, "Color Universal Design": distinct for colour-blind readers too.
BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"
GREY = "#808080"  # visible on white and on black
PALETTE = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
_BY_RUNG = (SKY, ORANGE, GREEN, VERMILION, PURPLE, BLUE)
_LONGEST_NAME = 24

_T = TypeVar("_T")
Style = Literal["line", "points", "steps", "bars"]
Symbol = Literal["circle", "square", "diamond", "triangle-up", "x", "star"]
# Six colours and four symbols: 12 rungs pass before both repeat together.
_SYMBOL_BY_RUNG: tuple[Symbol, ...] = ("circle", "square", "diamond", "triangle-up")


@dataclass(frozen=True, kw_only=True)
class Scale:
    """An axis.

    Attributes:
        title: What it measures, with the unit.
        is_log: Whether it is logarithmic; every value must then be above 0.
        ticks: Places and their names, where numbers would mean nothing: categories, rungs, trials.
        span: Its two ends, in its own units; None fits the data. Not together with `is_log`: Plotly reads
            the ends of a logarithmic axis as powers of ten, Matplotlib as values.
        is_whole: Whether it counts something, so that no tick is 2.5 epochs.
    """

    title: str
    is_log: bool = False
    ticks: tuple[tuple[float, str], ...] = ()
    span: tuple[float, float] | None = None
    is_whole: bool = False


@dataclass(frozen=True, kw_only=True)
class Series:
    """Points that look alike: one entry of the legend.

    Attributes:
        x: One value per point; None breaks a line in two.
        y: As many values as `x`; None breaks a line here too.
        style: Bars are horizontal, of length x at the places in y. Steps hold each value until the next
            point, as a best score does.
        hover: A text for each point, shown in the page under the mouse.
        errors: How far each interval reaches below and above x. Intervals are horizontal here, with the
            configurations or rungs in rows: long names need no rotated labels.
        has_points: Whether a line shows its points too.
        is_filled: Whether the area down to 0 is tinted.
    """

    name: str
    x: Sequence[float | None]
    y: Sequence[float | None]
    style: Style = "points"
    colour: str = BLUE
    symbol: Symbol = "circle"
    hover: Sequence[str] = ()
    errors: Sequence[tuple[float, float]] = ()
    has_points: bool = False
    is_dashed: bool = False
    is_filled: bool = False
    is_in_legend: bool = True
    width_px: float = 2.0
    opacity: float = 1.0
    size_px: float = 8.0


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A dotted vertical line across the plot at a value of x, with its text at the top."""

    at: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Label:
    """A text beside a point, in the units of the axes."""

    x: float
    y: float
    text: str
    place: Literal["above", "below", "right"] = "right"


@dataclass(frozen=True, kw_only=True)
class Surface:
    """A height over the whole plot, as colours behind the series.

    Attributes:
        title: What it measures, for the colour bar.
        x, y: Places of the grid's columns and rows, ascending, in the units of the axes.
        heights: A row for each place of y; None where nothing is known, which stays empty.
    """

    title: str
    x: Sequence[float]
    y: Sequence[float]
    heights: Sequence[Sequence[float | None]]


@dataclass(frozen=True, kw_only=True)
class Chart:
    """One plot.

    Attributes:
        key: The name of its file and of its element in the page: letters, digits and _ only, so that it is
            valid as both.
        marks: Values of x that mean something, such as the bounds of a range.
        surface: What lies behind the series, if anything.
        is_narrow: Whether two of them go side by side if there is room.
    """

    kind: ClassVar[str] = "chart"
    key: str
    title: str
    x: Scale
    y: Scale
    series: Sequence[Series]
    marks: Sequence[Mark] = ()
    labels: Sequence[Label] = ()
    surface: Surface | None = None
    height_px: int = 380
    is_narrow: bool = False

    @property
    def has_legend(self) -> bool:
        """Whether there is more than one thing to distinguish."""
        return sum(series.is_in_legend for series in self.series) > 1


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """Numbers by class (row) and predicted class (column), as colours; for few classes with the numbers too.

    The page draws it for few classes, and shows the PNG of more: 1,000 classes are a million cells.

    Attributes:
        names: The classes, the same for rows and columns.
        cells: A row for each class; None is an empty cell.
        top: The largest number that colours distinguish; the least is 0.
        unit: What a cell counts, for the colour bar.
        form: How a number is written, such as "{:.2f}".
        key: The name of its element in the page.
        texts: The text of each cell in the page, which needs them; the PNG shows the numbers instead.
    """

    kind: ClassVar[str] = "chart"
    is_narrow: ClassVar[bool] = True
    title: str
    names: Sequence[str]
    cells: Sequence[Sequence[float | None]]
    top: float
    unit: str
    form: str
    key: str = "confusion"
    texts: Sequence[Sequence[str]] = ()

    @property
    def height_px(self) -> int:
        """Height in the page, where cells are larger the fewer classes there are."""
        return min(760, 170 + max(9, min(34, 640 // len(self.names))) * len(self.names))


def bar_chart(
    key: str,
    title: str,
    x: Scale,
    values: Sequence[tuple[str, float]],
    text: Sequence[str],
    *,
    colour: str = BLUE,
    has_labels: bool = False,
) -> Chart:
    """A named bar for each value, the first on top; two may have the same name.

    The bars are placed by number and named by ticks. With the names as places, two bars of one name would
    lie on top of each other.

    Args:
        values: Name and length of each bar.
        text: Each value in words, shown under the mouse.
        has_labels: Whether the texts are printed at the bars' ends too, since the PNG has no mouse.
    """
    places = list(range(len(values) - 1, -1, -1))
    bars = Series(
        name=key,
        x=[value for _, value in values],
        y=places,
        style="bars",
        colour=colour,
        hover=[f"{name}: {words}" for (name, _), words in zip(values, text, strict=True)],
        is_in_legend=False,
    )
    ends = zip(values, places, text, strict=True) if has_labels else ()
    return Chart(
        key=key,
        title=title,
        x=x,
        y=Scale(
            title="",
            ticks=tuple((place, name) for place, (name, _) in zip(places, values, strict=True)),
            span=(-0.6, len(places) - 0.4),
        ),
        series=[bars],
        labels=[Label(x=value, y=place, text=words) for (_, value), place, words in ends],
        height_px=130 + 34 * len(values),
    )


def rung_colour(rung: int) -> str:
    """The colour of a rung, the same in every chart of the page; it repeats after six rungs."""
    return _BY_RUNG[rung % len(_BY_RUNG)]


def rung_symbol(rung: int) -> Symbol:
    """The symbol of a rung, for those who do not see its colour."""
    return _SYMBOL_BY_RUNG[rung % len(_SYMBOL_BY_RUNG)]


def chart_key(*parts: object) -> str:
    """A key made from words that may hold anything, such as the name of a hyperparameter with a dot in it.

    At most 60 characters. Different words may give the same key ("a.b" and "a b"): callers number theirs.
    """
    return re.sub(r"\W+", "_", "_".join(map(str, parts)), flags=re.ASCII).strip("_")[:60]


def shortened(name: str) -> str:
    """A name of at most 24 characters, cut in the middle.

    Names of classes and models differ at their beginnings and ends ("resnet50.a1_in1k", "resnet50.a3_in1k").
    """
    if len(name) <= _LONGEST_NAME:
        return name
    return f"{name[: _LONGEST_NAME // 2]}\N{HORIZONTAL ELLIPSIS}{name[-_LONGEST_NAME // 2 + 1 :]}"


def evenly(items: Sequence[_T], most: int) -> list[_T]:
    """At most `most` items of a sequence, evenly spaced, the first and the last among them.

    Even spacing keeps the shape of a history; a random sample would lose its ends and differ from page to
    page.
    """
    last = len(items) - 1
    if last < most:
        return list(items)
    return [items[round(place * last / (most - 1))] for place in range(most)]
