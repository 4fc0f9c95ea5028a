"""Charts as PNG files, drawn by Matplotlib.

They are for papers, README files and machines without a browser, and show what the page shows. Figures are
made directly, not by pyplot, which would choose a window system and keep each figure in memory until it is
closed.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import (
    FixedFormatter,
    FixedLocator,
    MaxNLocator,
    NullFormatter,
    NullLocator,
    StrMethodFormatter,
)

from search.report.charts.chart import GREY, Chart, Matrix, Scale, Series, Surface, shortened
from trainables.core.files import replacing

_DPI = 120
_PX_PER_IN = 85.0  # of the height that a chart has in the page
_WIDTH_IN, _NARROW_IN, _HEADING_IN = 8.0, 5.5, 0.6
_MARKERS = {"circle": "o", "square": "s", "diamond": "D", "triangle-up": "^", "x": "x", "star": "*"}
_COLOUR_MAP = "cividis"  # readable without colour vision, and in grey
_STYLE: Any = {
    "text.parse_math": False,  # a class may be named $5
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "font.size": 9,
}

# Up to 20 classes each cell shows its number, up to 60 each class its name; beyond that about 25 are named.
_MOST_NUMBERED, _MOST_NAMED, _NAMES_OF_MANY = 20, 60, 25


def draw(plot: Chart | Matrix | Sequence[Chart], path: Path, *, title: str = "") -> None:
    """Write a plot to `path`: a chart, a matrix, or several charts as the panels of one figure.

    Args:
        title: Heading above the panels; a single plot has its own.

    Raises:
        OSError: The file cannot be written; an earlier one at `path` is then left intact.
    """
    if isinstance(plot, Matrix):
        _draw_matrix(plot, path)
    elif isinstance(plot, Chart):
        width = _NARROW_IN if plot.is_narrow else _WIDTH_IN
        with _writing(path, plot.title, width, plot.height_px / _PX_PER_IN) as figure:
            _draw_chart(figure.add_subplot(), plot)
    else:
        _draw_panels(plot, path, title)


@contextmanager
def _writing(path: Path, title: str, width_in: float, height_in: float) -> Iterator[Figure]:
    """A figure that is written to `path` when the block ends; if drawing fails, nothing is written.

    Sizes are in inches of 120 dots, so a wide chart is 960 pixels wide. A glyph that the font lacks, such as
    in a class name in Chinese, is drawn as a box. The warnings about them are silenced: one for each class
    and axis would bury the real ones.
    """
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure = Figure(figsize=(width_in, height_in), dpi=_DPI, layout="constrained")
        figure.suptitle(title, fontsize=12)
        yield figure
        with replacing(path) as scratch:
            figure.savefig(scratch, format="png")


def _draw_panels(charts: Sequence[Chart], path: Path, title: str) -> None:
    """Draw panels in rows: narrow charts two in a row, every other chart in a row of its own."""
    rows: list[list[Chart]] = []
    for chart in charts:
        if rows and chart.is_narrow and len(rows[-1]) == 1 and rows[-1][0].is_narrow:
            rows[-1].append(chart)
        else:
            rows.append([chart])
    heights = [max(chart.height_px for chart in row) / _PX_PER_IN for row in rows]
    num_columns = max(map(len, rows))
    with _writing(path, title, _NARROW_IN * num_columns, _HEADING_IN + sum(heights)) as figure:
        grid = figure.add_gridspec(len(rows), num_columns, height_ratios=heights)
        for number, row in enumerate(rows):
            for column, chart in enumerate(row):
                axes = figure.add_subplot(grid[number, column] if chart.is_narrow else grid[number, :])
                axes.set_title(chart.title)
                _draw_chart(axes, chart)


def _draw_chart(axes: Axes, chart: Chart) -> None:
    """Draw one chart into axes. Marks are in front of the series; the grid is behind everything."""
    if chart.surface:
        _draw_surface(axes, chart.surface)
    for series in chart.series:
        _draw_series(axes, series)
    for mark in chart.marks:
        axes.axvline(mark.at, color=GREY, linestyle=":", linewidth=1.2)
        # x in the units of the axis, y as a share of its height: 1.0 is the upper edge.
        place = (mark.at, 1.0)
        axes.text(*place, mark.text, transform=axes.get_xaxis_transform(), fontsize=7, color=GREY,
                  ha="center", va="bottom")  # fmt: skip
    for label in chart.labels:
        axes.text(label.x, label.y, f" {shortened(label.text)}", fontsize=8, va="center", clip_on=False)
    _set_scale(axes, chart.x, "x")
    _set_scale(axes, chart.y, "y")
    axes.set_axisbelow(True)
    is_barred = any(series.style == "bars" for series in chart.series)
    axes.grid(axis="x" if is_barred else "both", color="0.88", linewidth=0.7)
    if chart.has_legend:
        axes.legend(frameon=False, fontsize=8)


def _draw_surface(axes: Axes, surface: Surface) -> None:
    heights = np.ma.masked_invalid([_numbers(row) for row in surface.heights])
    filled = axes.contourf(surface.x, surface.y, heights, levels=14, cmap=_COLOUR_MAP)
    axes.figure.colorbar(filled, ax=axes, label=surface.title)


def _draw_series(axes: Axes, series: Series) -> None:
    """Draw one series. If all its intervals have width 0, none is drawn: that means the uncertainty is
    unknown, and caps without a line would look like certainty."""
    x, y = _numbers(series.x), _numbers(series.y)
    label = series.name if series.is_in_legend else None
    if series.style == "bars":
        axes.barh(y, x, color=series.colour, height=0.65, label=label)
        return
    if any(below or above for below, above in series.errors):
        reaches = tuple(zip(*series.errors, strict=True))
        axes.errorbar(x, y, xerr=reaches, fmt="none", ecolor=series.colour, capsize=3, linewidth=1.2)
    if series.is_filled:
        axes.fill_between(x, y, step="post", color=series.colour, alpha=0.35, linewidth=0)
    is_line = series.style in ("line", "steps")
    axes.plot(
        x,
        y,
        color=series.colour,
        alpha=series.opacity,
        label=label,
        linestyle=("--" if series.is_dashed else "-") if is_line else "none",
        linewidth=series.width_px * 0.7,
        drawstyle="steps-post" if series.style == "steps" else "default",
        marker=_MARKERS[series.symbol] if series.has_points or not is_line else "",
        markersize=series.size_px * 0.65,
    )


def _set_scale(axes: Axes, scale: Scale, side: str) -> None:
    """Set the scale, range, ticks and title of an axis.

    Logarithmic axes show plain numbers (0.001), since powers of ten are set by the formula parser that
    `text.parse_math` turns off.
    """
    axis = axes.xaxis if side == "x" else axes.yaxis
    if scale.is_log:
        axes.set(**{f"{side}scale": "log"})
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.set_minor_formatter(NullFormatter())
    if scale.ticks:
        axis.set_major_locator(FixedLocator([at for at, _ in scale.ticks]))
        axis.set_major_formatter(FixedFormatter([name for _, name in scale.ticks]))
        axis.set_minor_locator(NullLocator())
    elif scale.is_whole:
        axis.set_major_locator(MaxNLocator(integer=True))
    if scale.span:
        axes.set(**{f"{side}lim": scale.span})
    axis.set_label_text(scale.title)


def _numbers(values: Sequence[float | None]) -> list[float]:
    """None as NaN, where Matplotlib breaks a line."""
    return [math.nan if value is None else value for value in values]


def _draw_matrix(matrix: Matrix, path: Path) -> None:
    """Draw a confusion matrix; rows are true classes and columns predicted ones.

    Up to 20 classes the colours are linear and each cell has its number. With more, colours follow the square
    root of the counts and 0 is white: a linear scale would show a bright diagonal and nothing else, because a
    rare confusion is a hundredth of it. None (a class without images) is grey in both.
    """
    cells = np.array([[math.nan if value is None else value for value in row] for row in matrix.cells])
    num = len(matrix.names)
    is_small = num <= _MOST_NUMBERED
    norm = Normalize(0, matrix.top) if is_small else PowerNorm(0.5, 0, matrix.top)
    side_in = min(13.0, 4.0 + 0.36 * num) if is_small else min(13.0, 8.0 + 0.02 * num)
    with _writing(path, matrix.title, side_in + 1, side_in) as figure:
        axes = figure.add_subplot()
        colours = mpl.colormaps[_COLOUR_MAP].with_extremes(bad="0.8", under="white")
        # -1 lies below the scale, so it is drawn in its colour for `under`, white.
        shown = cells if is_small else np.where(cells == 0, -1, cells)
        image = axes.imshow(shown, norm=norm, cmap=colours, interpolation="nearest")
        _name_classes(axes, matrix.names)
        axes.set(xlabel="predicted class", ylabel="class")
        scale = "" if is_small else ", on a square-root scale; white: none"
        figure.colorbar(image, label=matrix.unit + scale, shrink=0.8)
        for (row, column), value in np.ndenumerate(cells if is_small else np.zeros((0, 0))):
            if value > 0:
                # Cividis is bright from about 0.55 upwards: black is readable there, white below.
                colour = "black" if norm(value) > 0.55 else "white"
                text = matrix.form.format(value)
                axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=8)


def _name_classes(axes: Axes, names: Sequence[str]) -> None:
    """Name the classes on both axes; of more than 60 only every n-th, about 25, since labels would overlap.

    Short names of few classes ("0" to "9") stay upright; on the x axis all others are turned by 90°.
    """
    step = 1 if len(names) <= _MOST_NAMED else math.ceil(len(names) / _NAMES_OF_MANY)
    places, shown = range(0, len(names), step), names[::step]
    size = 9 if len(names) <= _MOST_NUMBERED or step > 1 else 7
    is_short = len(names) <= _MOST_NUMBERED and max(map(len, shown)) <= 3
    axes.set_xticks(places, shown, rotation=0 if is_short else 90, fontsize=size)
    axes.set_yticks(places, shown, fontsize=size)
