"""Figures, colours and names that all pictures share."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from trainables.core.files import replacing

# Okabe and Ito 2008, "Color Universal Design": told apart by colour-blind readers too.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_DPI = 120
_LONGEST_NAME = 24
_STYLE: Any = {
    "text.parse_math": False,  # a class may be named $5
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "font.size": 9,
}


@contextmanager
def drawn(path: Path, title: str, *, width: float, height: float) -> Iterator[Figure]:
    """A figure, written to `path` when the block ends.

    Args:
        width: Inches, of 120 pixels each; so is height.
    """
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # drawn as a box
        figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
        figure.suptitle(title, fontsize=12)
        yield figure
        with replacing(path) as scratch:
            figure.savefig(scratch, format="png")


def read_table(path: Path) -> tuple[list[str], list[list[str]]]:
    """The columns of a CSV file and its rows, as text."""
    with path.open(newline="", encoding="utf-8") as file:
        columns, *rows = csv.reader(file)
    return columns, rows


def shortened(name: str) -> str:
    """A class's name, cut in the middle where it would take the room of the picture."""
    if len(name) <= _LONGEST_NAME:
        return name
    return f"{name[: _LONGEST_NAME // 2]}\N{HORIZONTAL ELLIPSIS}{name[-_LONGEST_NAME // 2 + 1 :]}"


def grid_behind(axes: Axes, axis: Literal["x", "y", "both"]) -> None:
    """Faint lines behind what is drawn, across `axis`."""
    axes.set_axisbelow(True)
    axes.grid(axis=axis, color="0.88", linewidth=0.7)
