"""The plots of one training, from the tables in its folder: curves, confusion, classes.

They are made from the CSV files, not from what is in memory: a plot shows what the table holds, and plots of
an old folder can be drawn again. Each function from a table to a chart is pure.
"""

from __future__ import annotations

import csv
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from search.ledger import Ledger
from search.ledger.history import History
from search.printable import text_of_cell
from search.report.charts.chart import (
    GREY,
    PALETTE,
    VERMILION,
    Chart,
    Mark,
    Matrix,
    Scale,
    Series,
    bar_chart,
    shortened,
)
from search.trial.lr_range import LrRange
from search.trial.trial_folder import HISTORY
from trainables.core.contract import is_about_scores
from trainables.core.optional import LrRangeStep

_MARKED_EPOCHS = 30  # a curve of more points is drawn as a line without markers
_MOST_BARS = 20
_BARS_OF_MANY = 10  # best and worst each, if there are more than 20 classes
_TENTHS = tuple((tick, f"{tick:g}") for tick in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0))

Table = tuple[list[str], list[list[str]]]  # the columns of a CSV file and its rows, as text
Scored = tuple[str, int, float]  # class, number of images, accuracy


def draw_plots(folder: Path, title: str) -> Iterator[str]:
    """Draw every table in `folder` that has a plot; yield a sentence for each that failed, with the reason.

    A generator: nothing is drawn until it is iterated.

    Args:
        title: What the tables describe; it heads each plot.
    """
    from search.report.charts.png import draw  # Matplotlib takes 0.3 s to import

    for name, (table, plot_of) in _PLOTS.items():
        if not (folder / table).is_file():
            continue
        try:
            plot = plot_of(read_table(folder / table), title)
            draw(plot, folder / name, title=f"{title}: {_HEADINGS.get(name, '')}")
        except Exception as error:  # a plot is never worth a run; its data is there
            yield f"{folder / name} not drawn ({type(error).__name__}: {error}); its data is in {table}"


def draw_lr_range(steps: Sequence[LrRangeStep], found: LrRange | None, path: Path, title: str) -> None:
    """Draw the loss over the learning rate of a range test, with the suggested range, if there is one.

    A good rate lies where the smoothed loss falls, well before it rises again; single steps are noise (grey
    points). Steps that diverged are gaps.

    Args:
        found: None if no range could be suggested; the curve then has no marks.
    """
    from search.report.charts.png import draw  # Matplotlib takes 0.3 s to import

    rates = [step.lr for step in steps]
    losses = [step.loss if math.isfinite(step.loss) else None for step in steps]
    smoothed = [step.smoothed_loss if math.isfinite(step.smoothed_loss) else None for step in steps]
    known = [loss for loss in smoothed if loss is not None]
    marks = [] if found is None else [Mark(at=found.low, text="from"), Mark(at=found.high, text="to")]
    chart = Chart(
        key="lr_range",
        title=f"Learning-rate range test: {title}",
        x=Scale(title="learning rate", is_log=True),
        # The loss after it diverged is 10 or 1,000 times higher, and would flatten the fall to a line.
        y=Scale(title="training loss", span=(min(known) * 0.95, max(known[0], min(known)) * 1.5)),
        series=[
            Series(name="each step", x=rates, y=losses, style="points", colour=GREY, size_px=4.0),
            Series(name="smoothed", x=rates, y=smoothed, style="line"),
        ],
        marks=marks,
    )
    draw(chart, path)


def draw_promotion(history: History, ledger: Ledger) -> Iterator[str]:
    """Draw what each training of a promotion left; yield a sentence for each plot that failed."""
    for trial in history.trials.values():
        title = f"{trial.trial_id} (hparams of {trial.parent_trial}, seed {trial.seed})"
        yield from draw_plots(ledger.trial_folder(trial.trial_id), title)


def training_curves(table: Table, title: str) -> list[Chart]:
    """Losses, scores, learning rate and joules over the epochs of history.csv, a panel for each.

    They share the x axis in meaning but not the y axis: a loss of 2 and an accuracy of 0.9 on one axis would
    hide both. A panel is left out if its columns are missing, since trainables report different things.
    """
    columns, rows = table
    known = {
        name: [float(row[number]) if row[number] else math.nan for row in rows]
        for number, name in enumerate(columns)
    }
    energy = known["energy_j"]
    # A sum is drawn only if every epoch's joules are known: with one left out it would be too small.
    spent = {} if any(map(math.isnan, energy)) else {"energy": list(itertools.accumulate(energy))}
    panels: dict[str, Mapping[str, Sequence[float]]] = {
        "loss": {name: known[name] for name in ("train_loss", "val_loss") if name in known},
        "score on validation": {name.removeprefix("val_"): known[name] for name in filter(_is_score, known)},
        "learning rate after the epoch": {"lr": known["lr"]} if "lr" in known else {},
        "energy spent (J)": spent,
    }
    return [_panel(label, curves, known["epoch"]) for label, curves in panels.items() if curves]


def _is_score(name: str) -> bool:
    """Whether a column is a score to draw: validation metrics, without the loss, which has its own panel, and
    without what only describes scores, such as the number of examples or the score of guessing."""
    return name.startswith("val_") and name != "val_loss" and not is_about_scores(name)


def _panel(label: str, curves: Mapping[str, Sequence[float]], epochs: Sequence[float]) -> Chart:
    """One panel with its curves. A missing value is bridged, not left as a gap: with sparse evaluation (every
    fifth epoch) no two points would be neighbours, and no line would be drawn."""
    series = []
    for number, (name, values) in enumerate(curves.items()):
        points = [point for point in zip(epochs, values, strict=True) if not math.isnan(point[1])]
        at, known = zip(*points, strict=True) if points else ((), ())
        marked = len(points) <= _MARKED_EPOCHS
        series.append(
            Series(
                name=name,
                x=at,
                y=known,
                style="line",
                colour=PALETTE[number % len(PALETTE)],
                is_dashed=number >= len(PALETTE),  # a detector has seven scores, and there are six colours
                has_points=marked,
                size_px=5.4,
            )
        )
    x, y = Scale(title="epoch", is_whole=True), Scale(title=label, span=_span_of(series))
    return Chart(key=label, title="", x=x, y=y, series=series, height_px=255, is_narrow=True)


def _span_of(series: Sequence[Series]) -> tuple[float, float] | None:
    """From 0 for a single value, such as a constant learning rate: fitted to it, plotly's axis is -1 to 1, on
    which 0.001 looks like 0."""
    values = {value for each in series for value in each.y if value is not None}
    if len(values) != 1:
        return None
    (value,) = values
    return (0.0, 1.25 * value) if value > 0 else None


def class_accuracy(table: Table, title: str) -> Chart | list[Chart]:
    """per_class.csv as bars, the best class on top.

    Bars of more than 20 classes would be unreadable, so these are a falling line of all classes, with bars of
    the ten best and the ten worst. Classes without images are left out: they have no accuracy, not one of 0.
    """
    scored: list[Scored] = [(row[0], int(row[1]), float(row[2])) for row in table[1] if row[2]]
    scored.sort(key=lambda one: -one[2])
    if len(scored) <= _MOST_BARS:
        height_px = round(136 + 22.1 * len(scored))
        title = f"{title}: {_HEADINGS['per_class.png']}"
        return replace(_accuracy_bars(scored, title), height_px=height_px, is_narrow=False)
    best, worst = scored[:_BARS_OF_MANY], scored[-_BARS_OF_MANY:]
    return [
        _all_classes(scored),
        _accuracy_bars(best, f"the best {_BARS_OF_MANY}"),
        _accuracy_bars(worst, f"the worst {_BARS_OF_MANY}"),
    ]


def _all_classes(scored: Sequence[Scored]) -> Chart:
    """Every class as one step of a falling line, with the mean over classes dashed.

    A long flat line with a drop at its end is a model that fails on a few classes; an even slope is one that
    is unsure of all. The mean weighs classes equally, so on a skewed set it differs from the accuracy.
    """
    values = [value for *_, value in scored]
    ends = (0.5, len(values) + 0.5)
    mean = sum(values) / len(values)
    # A step holds from its own x to the next one, so the last needs an end point.
    steps = [*values, values[-1]]
    places = [number + 0.5 for number in range(len(steps))]
    series = [
        Series(name="each class", x=places, y=steps, style="steps", is_filled=True),
        Series(name=f"mean over classes {mean:.3f}", x=ends, y=(mean, mean), style="line", colour=GREY,
               is_dashed=True),
    ]  # fmt: skip
    x_axis = Scale(title=f"{len(values)} classes, the best first", span=ends)
    y_axis = Scale(title="accuracy", span=(0, 1.02))
    return Chart(key="all_classes", title="", x=x_axis, y=y_axis, series=series, height_px=235)


def _accuracy_bars(scored: Sequence[Scored], title: str) -> Chart:
    """A bar for each class; the axis ends at 1.3, as the texts at the bars' ends need room beyond 1.0."""
    axis = Scale(title="share of the class's images recognised", span=(0, 1.3), ticks=_TENTHS)
    bars = [(shortened(name), value) for name, _, value in scored]
    texts = [f"{value:.3f} ({num} images)" for _, num, value in scored]
    chart = bar_chart("per_class", title, axis, bars, texts, has_labels=True)
    return replace(chart, height_px=352, is_narrow=True)


def confused_pairs(table: Table, title: str) -> Chart:
    """The first 20 rows of confused_pairs.csv as bars, the most frequent confusion on top.

    The length is the number of images and the text adds their share of the class: 5 of 10 images are a worse
    confusion than 5 of 500.
    """
    rows = table[1][:_MOST_BARS]
    title = f"{title}: {'most confused pairs' if rows else 'no image was taken for another class'}"
    bars = [
        (f"{shortened(label)} taken for {shortened(predicted)}", int(count))
        for label, predicted, count, *_ in rows
    ]
    axis = Scale(
        title="images (and their share of the class's images)",
        is_whole=True,
        span=(0, 1.2 * max((count for _, count in bars), default=1)),
    )
    texts = [f"{count} ({float(row[3]):.3f})" for (_, count), row in zip(bars, rows, strict=True)]
    chart = bar_chart("confused_pairs", title, axis, bars, texts, colour=VERMILION, has_labels=True)
    return replace(chart, height_px=round(153 + 22.1 * len(rows)))


def confusion_counts(table: Table, title: str) -> Matrix:
    """confusion.csv: the number of images of a class (row) that were taken for each class (column)."""
    names, cells = _square(table)
    top = max(1.0, *(value for row in cells for value in row if value is not None))
    title = f"{title}: images by class"
    return Matrix(title=title, names=names, cells=cells, top=top, unit="images", form="{:.0f}")


def confusion_shares(table: Table, title: str) -> Matrix:
    """confusion_normalised.csv: the counts as shares of each class, so that rows of rare classes show too."""
    matrix = confusion_counts(table, title)
    return replace(matrix, title=f"{title}: shares of each class", top=1.0, unit="share", form="{:.2f}")


def _square(table: Table) -> tuple[list[str], list[list[float | None]]]:
    """Names and cells of a confusion matrix.

    Raises:
        ValueError: Rows and columns are not the same classes: the file was cut off or edited.
    """
    columns, rows = table
    cells = [[float(cell) if cell else None for cell in row[1:]] for row in rows]
    if any(len(row) != len(columns) - 1 for row in cells) or len(cells) != len(columns) - 1:
        raise ValueError(f"a row and a column for each class, got {len(cells)} rows of {len(columns) - 1}")
    return [shortened(name) for name in columns[1:]], cells


def read_table(path: Path) -> Table:
    """The columns and the rows of a CSV file."""
    with path.open(newline="", encoding="utf-8") as file:
        columns, *rows = ([text_of_cell(cell) for cell in row] for row in csv.reader(file))
    return columns, rows


_PLOTS: Mapping[str, tuple[str, Callable[[Table, str], Chart | Matrix | list[Chart]]]] = {
    "curves.png": (HISTORY, training_curves),
    "confusion.png": ("confusion.csv", confusion_counts),
    "confusion_normalised.png": ("confusion_normalised.csv", confusion_shares),
    "per_class.png": ("per_class.csv", class_accuracy),
    "confused_pairs.png": ("confused_pairs.csv", confused_pairs),
}
_HEADINGS = {"curves.png": "training curves", "per_class.png": "accuracy of each class"}  # of several panels
