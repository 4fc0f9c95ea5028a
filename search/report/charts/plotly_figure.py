"""A chart as the figure that plotly.js draws: data and layout as plain mappings, ready for JSON. Pure.

Colours of text and grid are left to the page, whose script matches them to its light or dark theme.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

from search.report.charts.chart import GREY, Chart, Label, Mark, Matrix, Scale, Series, Surface

_FONT = "system-ui, -apple-system, Segoe UI, Roboto, Helvetica, Arial, sans-serif"
_COMMON = {  # of every layout; the transparent paper shows the page's background
    "paper_bgcolor": "rgba(0,0,0,0)",
    "plot_bgcolor": "rgba(0,0,0,0)",
    "font": {"family": _FONT, "size": 12},
}
_DASHES = {True: "dash", False: "solid"}
# Relative to the whole figure: relative to the plot, a legend of two lines would cover the title of the x
# axis.
_AT_THE_BOTTOM = {"yref": "container", "y": 0, "yanchor": "bottom"}
# Up to this span each whole number gets a tick; beyond it, Plotly chooses.
_MOST_WHOLE_TICKS = 8
_MOST_NUMBERED = 20  # classes up to which the cells of a matrix show their numbers
_PLACES = {"above": "top center", "below": "bottom center", "right": "middle right"}


def plotly_figure(chart: Chart | Matrix) -> dict[str, Any]:
    """The `data` and `layout` of a figure.

    The title is not included: the page prints it above, where it can take two lines. Plotly would cut it off.
    Every text is escaped, because Plotly treats text as a kind of HTML: a class named `<b>` would turn the
    rest bold, and `<a href=...>` would become a link.
    """
    if isinstance(chart, Matrix):
        return _matrix_figure(chart)
    is_barred = any(series.style == "bars" for series in chart.series)
    layout: dict[str, Any] = {
        "height": chart.height_px,
        "margin": {"l": 64, "r": 16, "t": 24, "b": 96 if chart.has_legend else 56},
        **_COMMON,
        "showlegend": chart.has_legend,
        "legend": {"orientation": "h", "x": 0, "font": {"size": 11}} | _AT_THE_BOTTOM,
        "hovermode": "closest",
        "xaxis": _axis(chart.x) | _whole_steps(chart),
        "yaxis": _axis(chart.y) | ({"automargin": True} if chart.y.ticks else {}),
        "dragmode": "zoom",
        **({"bargap": 0.35} if is_barred else {}),
    }
    data = [_trace(series) for series in chart.series]
    if chart.surface:
        data.insert(0, _surface_trace(chart.surface))
    if chart.marks:
        layout["yaxis2"] = {"overlaying": "y", "range": [0, 1], "visible": False, "fixedrange": True}
        data += [trace for mark in chart.marks for trace in _mark_traces(mark)]
    return {"data": [*data, *_label_traces(chart.labels)], "layout": layout}


def _matrix_figure(matrix: Matrix) -> dict[str, Any]:
    """A heatmap, the first class on top, with the numbers in the cells of up to 20 classes.

    Cells are addressed by number and named by ticks: two classes may have the same name.
    """
    places = list(range(len(matrix.names)))
    names = [_plain(name) for name in matrix.names]
    texts = [list(map(_plain, row)) for row in matrix.texts]
    axis = {"automargin": True, "tickvals": places, "ticktext": names, "showgrid": False, "zeroline": False}
    trace = {
        "type": "heatmap",
        "x": places,
        "y": places,
        "z": [list(row) for row in matrix.cells],
        "zmin": 0,
        "zmax": matrix.top,
        "colorscale": "Cividis",
        "xgap": 1,
        "ygap": 1,
        "hovertext": [
            [f"{label} taken for {said}: {text}" for said, text in zip(names, row, strict=True)]
            for label, row in zip(names, texts, strict=True)
        ],
        "hoverinfo": "text",
        "colorbar": _colour_bar(matrix.unit),
    }
    if len(places) <= _MOST_NUMBERED:
        trace |= {"text": texts, "texttemplate": "%{text}", "textfont": {"size": 11}}
    layout = {
        "height": matrix.height_px,
        "margin": {"l": 64, "r": 16, "t": 12, "b": 56},
        **_COMMON,
        "xaxis": {**axis, "title": {"text": "taken for", "standoff": 8}},
        "yaxis": {**axis, "title": {"text": "class", "standoff": 8}, "autorange": "reversed"},
    }
    return {"data": [trace], "layout": layout}


def _axis(scale: Scale) -> dict[str, Any]:
    """One axis of the layout. Long labels widen the margin (`automargin`) instead of leaving the figure."""
    axis: dict[str, Any] = {
        "title": {"text": _plain(scale.title), "standoff": 8},
        "type": "log" if scale.is_log else "linear",
        "automargin": True,
        "zeroline": False,
        "ticks": "outside",
    }
    if scale.ticks:
        axis |= {
            "tickvals": [at for at, _ in scale.ticks],
            "ticktext": [_plain(name) for _, name in scale.ticks],
        }
    elif scale.is_log:
        # One tick per power of ten: the distance between ticks of a logarithmic axis is in powers.
        axis |= {"exponentformat": "power", "dtick": 1, "minor": {"ticks": "outside"}}
    if scale.span:
        axis |= {"range": list(scale.span), "autorange": False}
    if scale.is_whole:
        # A count has no values below 0, which the margin around points at 0 would otherwise show.
        axis |= {"tickformat": "d", "minallowed": 0}
    return axis


def _whole_steps(chart: Chart) -> dict[str, Any]:
    """A tick at each of a few whole numbers.

    On three epochs Plotly would put ticks at 1, 1.5, 2, and format 1.5 as a second 2.
    """
    places = [x for series in chart.series for x in series.x if x is not None]
    is_short = chart.x.is_whole and places and max(places) - min(places) <= _MOST_WHOLE_TICKS
    return {"dtick": 1} if is_short else {}


def _trace(series: Series) -> dict[str, Any]:
    """One series as a trace. A None breaks the line (`connectgaps` is off): an epoch without a score is a
    gap.

    A series without hover texts ignores the mouse: Plotly would show the raw coordinates of axes and
    intervals.
    """
    common: dict[str, Any] = {
        "name": _plain(series.name),
        "x": list(series.x),
        "y": list(series.y),
        "hovertext": [_plain(text) for text in series.hover],
        "hoverinfo": "text" if series.hover else "skip",
        "showlegend": series.is_in_legend,
        "opacity": series.opacity,
    }
    if series.style == "bars":
        return common | {"type": "bar", "orientation": "h", "marker": {"color": series.colour}}
    is_line = series.style in ("line", "steps")
    modes = (["lines"] if is_line else []) + (["markers"] if series.has_points or not is_line else [])
    trace = common | {
        "type": "scatter",
        "mode": "+".join(modes),
        "connectgaps": False,
        "marker": {"color": series.colour, "size": series.size_px, "symbol": series.symbol},
    }
    if is_line:
        # "hv" is horizontal first: a best score holds until the epoch at which a better one came.
        shape = "hv" if series.style == "steps" else "linear"
        dash = _DASHES[series.is_dashed]
        trace |= {"fill": "tozeroy"} if series.is_filled else {}
        trace["line"] = {"color": series.colour, "width": series.width_px, "shape": shape, "dash": dash}
    if any(below or above for below, above in series.errors):
        trace["error_x"] = {
            "type": "data",
            "symmetric": False,
            "array": [above for _, above in series.errors],
            "arrayminus": [below for below, _ in series.errors],
            "thickness": 1.5,
            "width": 5,
        }
    return trace


def _surface_trace(surface: Surface) -> dict[str, Any]:
    """Filled contours, with the colour bar to their right. They end where nothing is known."""
    return {
        "type": "contour",
        "x": list(surface.x),
        "y": list(surface.y),
        "z": [list(row) for row in surface.heights],
        "colorscale": "Cividis",  # readable without colour vision, and in grey
        "ncontours": 14,
        "line": {"width": 0.5, "color": "rgba(255,255,255,0.5)"},
        "hoverinfo": "skip",
        "connectgaps": False,
        "colorbar": _colour_bar(surface.title),
    }


def _colour_bar(title: str) -> dict[str, Any]:
    return {"title": {"text": _plain(title), "side": "right"}, "thickness": 12, "outlinewidth": 0}


def _mark_traces(mark: Mark) -> list[dict[str, Any]]:
    """A dotted line from bottom to top with its text, drawn as two traces on a hidden y axis from 0 to 1.

    Plotly has shapes and annotations for this, but on a logarithmic axis a shape takes x as a value and an
    annotation takes it as a power of ten. Traces take values on every axis.
    """
    common = {
        "type": "scatter",
        "yaxis": "y2",
        "showlegend": False,
        "hoverinfo": "text",
        "hovertext": _plain(mark.text),
    }
    line = common | {"mode": "lines", "x": [mark.at, mark.at], "y": [0, 1]}
    line["line"] = {"color": GREY, "width": 1.5, "dash": "dot"}
    text = common | {
        "mode": "text",
        "x": [mark.at],
        "y": [1],
        "text": [_plain(mark.text)],
        "cliponaxis": False,
    }
    return [line, text | {"textposition": "top center", "textfont": {"size": 11}}]


def _label_traces(labels: Sequence[Label]) -> list[dict[str, Any]]:
    """All labels as one trace of texts; a leading space keeps each clear of its point.

    They may leave the plot (`cliponaxis`), as those at the last axis of the parallel coordinates do.
    """
    if not labels:
        return []
    return [
        {
            "type": "scatter",
            "mode": "text",
            "x": [label.x for label in labels],
            "y": [label.y for label in labels],
            "text": [f" {_plain(label.text)}" for label in labels],
            "textposition": [_PLACES[label.place] for label in labels],
            "textfont": {"size": 11},
            "showlegend": False,
            "hoverinfo": "skip",
            "cliponaxis": False,
        }
    ]


def _plain(text: str) -> str:
    """Text without markup. Quotes stay: in text, not in an attribute, they are harmless."""
    return html.escape(text, quote=False)
