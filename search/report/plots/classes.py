"""Accuracy class by class, and the pairs of classes that are confused most."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.container import BarContainer
from matplotlib.ticker import MaxNLocator

from search.report.plots.canvas import COLOURS, drawn, grid_behind, read_table, shortened

_MOST_BARS = 20
_BARS_OF_MANY = 10  # best and worst each, where there are more classes
_ACCURACY = "share of the class's images recognised"
_BLUE, _RED, *_ = COLOURS

Scored = tuple[str, int, float]  # class, number of images, accuracy


def per_class(table: Path, picture: Path, title: str) -> None:
    """Draw per_class.csv, the best class on top; classes without images are left out."""
    _, rows = read_table(table)
    scored = [(row[0], int(row[1]), float(row[2])) for row in rows if row[2]]
    scored.sort(key=lambda one: -one[2])
    title = f"{title}: accuracy of each class"
    if len(scored) <= _MOST_BARS:
        with drawn(picture, title, width=8, height=1.6 + 0.26 * len(scored)) as figure:
            _accuracy_bars(figure.add_subplot(), scored, "")
        return
    with drawn(picture, title, width=11, height=7.5) as figure:
        places = figure.add_gridspec(2, 2, height_ratios=(2, 3))
        _all_classes(figure.add_subplot(places[0, :]), scored)
        _accuracy_bars(figure.add_subplot(places[1, 0]), scored[:_BARS_OF_MANY], f"the best {_BARS_OF_MANY}")
        worst = scored[-_BARS_OF_MANY:]
        _accuracy_bars(figure.add_subplot(places[1, 1]), worst, f"the worst {_BARS_OF_MANY}")


def confused_pairs(table: Path, picture: Path, title: str) -> None:
    """Draw the first 20 rows of confused_pairs.csv."""
    _, rows = read_table(table)
    shown = rows[:_MOST_BARS]
    names = [f"{shortened(label)} taken for {shortened(said)}" for label, said, *_ in shown]
    counts = [int(row[2]) for row in shown]
    title = f"{title}: most confused pairs"
    with drawn(picture, title, width=8, height=1.8 + 0.26 * len(shown)) as figure:
        axes = figure.add_subplot()
        if not shown:
            axes.text(0.5, 0.5, "no image was taken for another class", ha="center", va="center")
            axes.set_axis_off()
            return
        bars = _bars(axes, names, counts, _RED)
        axes.bar_label(
            bars,
            [f"{count} ({float(row[3]):.3f})" for count, row in zip(counts, shown, strict=True)],
            padding=3,
        )
        axes.set_xlabel("images (and their share of the class's images)")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.margins(x=0.18)


def _all_classes(axes: Axes, scored: Sequence[Scored]) -> None:
    """Every class as one step of a falling line."""
    values = [value for *_, value in scored]
    mean = sum(values) / len(values)
    places = range(1, len(values) + 1)
    axes.fill_between(places, values, step="mid", color=_BLUE, alpha=0.35, linewidth=0)
    axes.step(places, values, where="mid", color=_BLUE)
    axes.axhline(mean, color="0.3", linestyle="--", linewidth=1, label=f"mean over classes {mean:.3f}")
    axes.set(xlim=(0.5, len(values) + 0.5), ylim=(0, 1.02), ylabel="accuracy")
    axes.set_xlabel(f"{len(values)} classes, the best first")
    grid_behind(axes, "y")
    axes.legend(frameon=False, loc="lower left")


def _accuracy_bars(axes: Axes, scored: Sequence[Scored], heading: str) -> None:
    names = [shortened(name) for name, *_ in scored]
    bars = _bars(axes, names, [value for *_, value in scored], _BLUE)
    axes.bar_label(bars, [f"{value:.3f} ({num} images)" for _, num, value in scored], padding=3)
    axes.set(xlim=(0, 1.3), xticks=[0, 0.2, 0.4, 0.6, 0.8, 1.0], xlabel=_ACCURACY, title=heading)


def _bars(axes: Axes, names: Sequence[str], values: Sequence[float], colour: str) -> BarContainer:
    """Horizontal bars, the first on top; names need not differ."""
    places = range(len(names))
    bars = axes.barh(places, values, color=colour, height=0.7)
    axes.set_yticks(places, names)
    axes.invert_yaxis()
    axes.margins(y=0.02)
    grid_behind(axes, "x")
    return bars
