"""What a plot shows, apart from how it is drawn: plotly.js in the page, Matplotlib as PNG. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeVar

# Okabe and Ito 2008, "Color Universal Design": distinct for colour-blind readers too.
BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"
GREY = "#808080"  # seen on white and on black
PALETTE = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
_BY_RUNG = (SKY, ORANGE, GREEN, VERMILION, PURPLE, BLUE)
_LONGEST_NAME = 24

_T = TypeVar("_T")
Style = Literal["line", "points", "steps", "bars"]
Symbol = Literal["circle", "square", "diamond", "triangle-up", "x", "star"]
_SYMBOL_BY_RUNG: tuple[Symbol, ...] = ("circle", "square", "diamond", "triangle-up")


@dataclass(frozen=True, kw_only=True)
class Scale:
    """An axis.

    Attributes:
        title: What it measures, with the unit.
        ticks: Places and their names, where numbers would say nothing.
        span: From and to; None fits the data.
    """

    title: str
    is_log: bool = False
    ticks: tuple[tuple[float, str], ...] = ()
    span: tuple[float, float] | None = None
    is_whole: bool = False


@dataclass(frozen=True, kw_only=True)
class Series:
    """Some points that look alike.

    Attributes:
        x: None breaks a line; so in `y`.
        style: Bars lie along x, at the places in y.
        hover: A text for each point, shown in the page under the mouse.
        errors: How far each interval reaches below and above x.
        is_filled: The area down to 0 is tinted.
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
    """A line across the plot at a place of x."""

    at: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Label:
    """Words at a point."""

    x: float
    y: float
    text: str
    place: Literal["above", "below", "right"] = "right"


@dataclass(frozen=True, kw_only=True)
class Chart:
    """One plot.

    Attributes:
        key: Names its file and its place in the page: letters, digits and _ only.
        is_narrow: Two of them go side by side where there is room.
    """

    kind: ClassVar[str] = "chart"
    key: str
    title: str
    x: Scale
    y: Scale
    series: Sequence[Series]
    marks: Sequence[Mark] = ()
    labels: Sequence[Label] = ()
    height_px: int = 380
    is_narrow: bool = False

    @property
    def has_legend(self) -> bool:
        """Whether there is more than one thing to distinguish."""
        return sum(series.is_in_legend for series in self.series) > 1


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """Numbers by class (row) and predicted class (column), as colours; of few classes with the numbers too.

    It is drawn as PNG alone, which the page shows: 1,000 classes are a million cells.

    Attributes:
        names: Of the classes, alike for rows and columns.
        cells: A row for each class; None is empty.
        top: The largest number that colours distinguish; the least is 0.
        form: How a number is written, such as "{:.2f}".
    """

    title: str
    names: Sequence[str]
    cells: Sequence[Sequence[float | None]]
    top: float
    unit: str
    form: str


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
    """A named bar for each value, the first on top; two may have one name.

    Args:
        text: Each value in words, shown under the mouse.
        has_labels: The words stand at the bars' ends too.
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
    """The colour of a rung; of more than six they come again, with another symbol."""
    return _BY_RUNG[rung % len(_BY_RUNG)]


def rung_symbol(rung: int) -> Symbol:
    """The symbol of a rung, for those who do not see its colour."""
    return _SYMBOL_BY_RUNG[rung % len(_SYMBOL_BY_RUNG)]


def chart_key(*parts: object) -> str:
    """A key from words that may hold anything."""
    return re.sub(r"\W+", "_", "_".join(map(str, parts)), flags=re.ASCII).strip("_")[:60]


def shortened(name: str) -> str:
    """A name of at most 24 characters, cut in the middle: beginnings and ends distinguish names."""
    if len(name) <= _LONGEST_NAME:
        return name
    return f"{name[: _LONGEST_NAME // 2]}\N{HORIZONTAL ELLIPSIS}{name[-_LONGEST_NAME // 2 + 1 :]}"


def evenly(items: Sequence[_T], most: int) -> list[_T]:
    """At most `most` items of a sequence, evenly spaced, the first and the last among them."""
    last = len(items) - 1
    if last < most:
        return list(items)
    return [items[round(place * last / (most - 1))] for place in range(most)]
