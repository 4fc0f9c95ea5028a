"""Learning curves: losses, scores, learning rate and joules over the epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from search.report.plots.canvas import COLOURS, drawn, grid_behind, read_table
from trainables.core.contract import is_about_scores

Series = Mapping[str, Sequence[float]]  # NaN where an epoch has no value

_MARKED_EPOCHS = 30  # more points than that are a line


def curves(table: Path, picture: Path, title: str) -> None:
    """Draw history.csv."""
    columns, rows = read_table(table)
    series = {
        name: [float(row[number]) if row[number] else float("nan") for row in rows]
        for number, name in enumerate(columns)
    }
    panels = [(label, part) for label, part in _panels(series) if part]
    num_rows = -(-len(panels) // 2)
    with drawn(
        picture, f"{title}: training curves", width=5 * min(2, len(panels)), height=0.6 + 3 * num_rows
    ) as figure:
        for place, (label, part) in enumerate(panels, start=1):
            axes = figure.add_subplot(num_rows, min(2, len(panels)), place)
            _draw(axes, series["epoch"], part, label)


def _panels(series: Series) -> list[tuple[str, Series]]:
    """What is drawn together, under the label of its axis."""
    spent = _risen(series["energy_j"])
    return [
        ("loss", _named(series, [name for name in series if name in ("train_loss", "val_loss")])),
        ("score on validation", _named(series, [name for name in series if _is_score(name)])),
        ("learning rate after the epoch", _named(series, [name for name in series if name == "lr"])),
        ("energy spent (J)", {"energy": spent} if spent else {}),
    ]


def _is_score(name: str) -> bool:
    return name.startswith("val_") and name != "val_loss" and not is_about_scores(name)


def _named(series: Series, names: Sequence[str]) -> Series:
    return {name.removeprefix("val_") if _is_score(name) else name: series[name] for name in names}


def _risen(values: Sequence[float]) -> list[float]:
    """Sums up to each value; nothing where one is unknown, for the sum would be too small."""
    if any(value != value for value in values):
        return []
    return [sum(values[: number + 1]) for number in range(len(values))]


def _draw(axes: Axes, epochs: Sequence[float], series: Series, label: str) -> None:
    for colour, (name, values) in zip(COLOURS * len(series), series.items(), strict=False):
        known = [(epoch, value) for epoch, value in zip(epochs, values, strict=True) if value == value]
        marker = "o" if len(known) <= _MARKED_EPOCHS else ""
        axes.plot(*zip(*known, strict=True), color=colour, marker=marker, markersize=3.5, label=name)
    axes.set_xlabel("epoch")
    axes.set_ylabel(label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    grid_behind(axes, "both")
    if len(series) > 1:
        axes.legend(frameon=False)
