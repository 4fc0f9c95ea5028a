"""A chart of the page as a PNG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.ticker import (
    FixedFormatter,
    FixedLocator,
    MaxNLocator,
    NullFormatter,
    NullLocator,
    StrMethodFormatter,
)

from search.report.chart import GREY, Chart, Scale, Series
from search.report.plots.canvas import drawn, grid_behind, shortened

_MARKERS = {"circle": "o", "square": "s", "diamond": "D", "triangle-up": "^", "x": "x", "star": "*"}
_WIDTH_IN, _NARROW_IN = 8.0, 5.5
_PX_PER_IN = 85.0  # what a chart's height in the page is on paper


def draw_chart(chart: Chart, path: Path) -> None:
    """Write the chart to `path`."""
    width = _NARROW_IN if chart.is_narrow else _WIDTH_IN
    with drawn(path, chart.title, width=width, height=chart.height_px / _PX_PER_IN) as figure:
        axes = figure.add_subplot()
        for series in chart.series:
            _draw(axes, series)
        for mark in chart.marks:
            axes.axvline(mark.at, color=GREY, linestyle=":", linewidth=1.2)
            place = (mark.at, 1.0)
            axes.text(*place, mark.text, transform=axes.get_xaxis_transform(), fontsize=7, color=GREY,
                      ha="center", va="bottom")  # fmt: skip
        for label in chart.labels:
            axes.text(label.x, label.y, f" {shortened(label.text)}", fontsize=8, va="center", clip_on=False)
        _scale(axes, chart.x, "x")
        _scale(axes, chart.y, "y")
        grid_behind(axes, "both")
        if sum(series.is_in_legend for series in chart.series) > 1:
            axes.legend(frameon=False, fontsize=8)


def _draw(axes: Axes, series: Series) -> None:
    x, y = _numbers(series.x), _numbers(series.y)
    label = series.name if series.is_in_legend else None
    if series.style == "bars":
        axes.barh(y, x, color=series.colour, height=0.6, label=label)
        return
    is_line = series.style in ("line", "steps")
    if any(below or above for below, above in series.errors):
        reaches = tuple(zip(*series.errors, strict=True))
        axes.errorbar(x, y, xerr=reaches, fmt="none", ecolor=series.colour, capsize=3, linewidth=1.2)
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


def _scale(axes: Axes, scale: Scale, side: str) -> None:
    axis = axes.xaxis if side == "x" else axes.yaxis
    if scale.is_log:
        axes.set(**{f"{side}scale": "log"})
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))  # powers would need formulas, which are off
        axis.set_minor_formatter(NullFormatter())
    if scale.ticks:
        axis.set_major_locator(FixedLocator([at for at, _ in scale.ticks]))
        axis.set_major_formatter(FixedFormatter([shortened(name) for _, name in scale.ticks]))
        axis.set_minor_locator(NullLocator())
    elif scale.is_whole:
        axis.set_major_locator(MaxNLocator(integer=True))
    if scale.span:
        axes.set(**{f"{side}lim": scale.span})
    axis.set_label_text(scale.title)


def _numbers(values: Sequence[float | None]) -> list[float]:
    return [math.nan if value is None else value for value in values]
