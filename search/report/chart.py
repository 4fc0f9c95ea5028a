"""What a plot shows, apart from who draws it: Plotly in the page, Matplotlib beside it. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeVar

# Okabe and Ito 2008, "Color Universal Design": told apart by colour-blind readers too.
BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"
GREY = "#808080"  # seen on white and on black
_BY_RUNG = (SKY, ORANGE, GREEN, VERMILION, PURPLE, BLUE)

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
        hover: What to know of each point.
        errors: How far each interval reaches below and above x.
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
        key: Names its file and its place in the page; letters, digits and _ alone.
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


def bar_chart(
    key: str, title: str, x: Scale, values: Mapping[str, float], *, hover: Callable[[float], str]
) -> Chart:
    """A named bar for each value, the first on top.

    Args:
        hover: A value in words.
    """
    places = list(range(len(values) - 1, -1, -1))
    bars = Series(
        name=key,
        x=list(values.values()),
        y=places,
        style="bars",
        hover=[f"{name}: {hover(value)}" for name, value in values.items()],
        is_in_legend=False,
    )
    names = tuple(zip(places, values, strict=True))
    return Chart(
        key=key,
        title=title,
        x=x,
        y=Scale(title="", ticks=names, span=(-0.6, len(places) - 0.4)),
        series=[bars],
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


def finite_span(values: Sequence[float | None], margin: float = 0.05) -> tuple[float, float] | None:
    """From the least to the greatest value with some room; None without values."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    low, high = min(known), max(known)
    room = (high - low or abs(high) or 1.0) * margin
    return low - room, high + room


def evenly(all_of_them: Sequence[_T], most: int) -> list[_T]:
    """At most so many of a sequence, as evenly as can be, the first and the last among them."""
    last = len(all_of_them) - 1
    if last < most:
        return list(all_of_them)
    return [all_of_them[round(place * last / (most - 1))] for place in range(most)]
