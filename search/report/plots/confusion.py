"""Confusion matrices of ten to a thousand classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, PowerNorm
from numpy.typing import NDArray

from search.report.plots.canvas import drawn, read_table, shortened

_MOST_NUMBERED = 20  # classes whose cells have their number written in
_MOST_NAMED = 60  # classes that are all named at the axes; of more, every n-th
_NAMES_OF_MANY = 25
_COLOURS = "cividis"

Numbers = NDArray[np.float64]


def counts(table: Path, picture: Path, title: str) -> None:
    """Draw confusion.csv: numbers of images."""
    names, cells = _square(table)
    top = max(1.0, float(np.nanmax(cells)))
    _draw(picture, f"{title}: images by class", names, cells, top=top, unit="images", form="{:.0f}")


def shares(table: Path, picture: Path, title: str) -> None:
    """Draw confusion_normalised.csv: shares of each class's images."""
    names, cells = _square(table)
    _draw(picture, f"{title}: shares of each class", names, cells, top=1, unit="share", form="{:.2f}")


def _square(table: Path) -> tuple[list[str], Numbers]:
    """The classes and (label, predicted), NaN where a cell is empty."""
    columns, rows = read_table(table)
    return columns[1:], np.array([[float(cell or "nan") for cell in row[1:]] for row in rows])


def _draw(
    picture: Path, title: str, names: Sequence[str], cells: Numbers, *, top: float, unit: str, form: str
) -> None:
    is_small = len(names) <= _MOST_NUMBERED
    norm = Normalize(0, top) if is_small else PowerNorm(0.5, 0, top)
    side = min(13.0, 4.0 + 0.36 * len(names)) if is_small else min(13.0, 8.0 + 0.02 * len(names))
    with drawn(picture, title, width=side + 1, height=side) as figure:
        axes = figure.add_subplot()
        colours = mpl.colormaps[_COLOURS].with_extremes(bad="0.8", under="white")
        # Of many classes the diagonal would be all there is to see: rare confusions stand out from white.
        shown = cells if is_small else np.where(cells == 0, -1, cells)
        image = axes.imshow(shown, norm=norm, cmap=colours, interpolation="nearest")
        _name_classes(axes, names)
        axes.set_xlabel("predicted class")
        axes.set_ylabel("class")
        scale = "" if is_small else ", on a square-root scale; white: none"
        figure.colorbar(image, label=unit + scale, shrink=0.8)
        if is_small:
            _write_numbers(axes, cells, norm, form)


def _name_classes(axes: Axes, names: Sequence[str]) -> None:
    every = 1 if len(names) <= _MOST_NAMED else -(-len(names) // _NAMES_OF_MANY)
    places = range(0, len(names), every)
    shown = [shortened(names[place]) for place in places]
    size = 9 if len(names) <= _MOST_NUMBERED or every > 1 else 7
    is_short = len(names) <= _MOST_NUMBERED and max(map(len, shown)) <= 3
    axes.set_xticks(places, shown, rotation=0 if is_short else 90, fontsize=size)
    axes.set_yticks(places, shown, fontsize=size)


def _write_numbers(axes: Axes, cells: Numbers, norm: Normalize, form: str) -> None:
    for (label, said), value in np.ndenumerate(cells):
        if value > 0:
            colour = "black" if norm(value) > 0.55 else "white"
            text = form.format(value)
            axes.text(said, label, text, ha="center", va="center", color=colour, fontsize=8)
