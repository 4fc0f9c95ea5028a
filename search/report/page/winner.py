"""The promoted configurations against the default, and the mistakes of the winner.

The gain is the answer of the whole search, so its interval comes with it everywhere: as a chart, in the
table, and in the sentence that leads. The mistakes come from files that the winner's training left
(confusion, hardest classes, the images themselves); what is not there is left out, as not every trainable
classifies.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from search.ledger.history import TrialRecord
from search.report.charts.chart import BLUE, Chart, Mark, Scale, Series
from search.report.formatting import value_text
from search.report.gain import default_of, gain_sentence, set_text
from search.report.page.elements import Cell, Element, Figure, Figures, Section, Table, Text, text_cell
from search.report.page.run_data import Promotion, RunData
from search.report.page.trial_table import number_cell
from search.trial.final_outputs import MISTAKE_IMAGES

_HARDEST = 10  # classes; more belong into per_class.csv
_CLASS_SCORES = ("num_images", "accuracy", "precision", "f1")  # of per_class.csv
_MOST_PAIRS = 10
_MOST_MISTAKE_IMAGES = 24  # embedded in the page, so each makes it larger
_PLOTS = {"confusion_normalised.png": "Confusion of the test set", "curves.png": "Training curves"}


def winner_section(run: RunData) -> Section:
    """The gain over the default with its interval; before any promotion, how to get one."""
    promotion = run.promotion
    if promotion is None:
        none = "Nothing has been promoted yet: promote.py trains the best and the default in full."
        return Section(key="winner", title="Winner against default", elements=[Text(text=none)])
    winner = promotion.winner
    if winner is None:
        none = "No promoted training has finished yet, so there is nothing to compare with the default."
        return Section(key="winner", title="Winner against default", elements=[Text(text=none)])
    elements: list[Element] = [
        Text(text=gain_sentence(winner, run.space, default_of(promotion.rows)), is_lead=True),
        Text(text=_scored_on(run, winner)),
        _table(run, promotion),
    ]
    elements[1:1] = _gain_chart(run, promotion)
    if promotion.history.ended is None:
        elements.insert(
            1, Text(text="The promotion is still running: these are the trainings finished so far.")
        )
    return Section(
        key="winner",
        title="Winner against default",
        elements=[*elements, *_mistakes(promotion, str(winner["trial_id"]))],
    )


def _scored_on(run: RunData, winner: Mapping[str, Any]) -> str:
    """The set that the trainings were scored on, and the score of guessing there."""
    guessing = winner["guessing"]
    known = "unknown" if guessing is None else f"{guessing:.4g} in {run.metric.removeprefix('val_')}"
    return f"Scored on {set_text(winner, run.space)}. Guessing scores {known}."


def _gain_chart(run: RunData, promotion: Promotion) -> list[Chart]:
    """The gain of each promoted configuration over the default, with its 95 % interval and a line at 0.

    An interval that crosses the line is a tie. A point without an interval is one seed or an unknown
    uncertainty. Right is better, also for metrics of which less is better: a gain has its sign turned there.
    """
    rows = [row for row in promotion.rows if row["gain_mean"] is not None]
    if not rows:
        return []
    places = list(range(len(rows) - 1, -1, -1))
    points = Series(
        name="gain",
        x=[row["gain_mean"] for row in rows],
        y=places,
        errors=[_reach(row) for row in rows],
        hover=[
            f"{row['trial_id']}: {row['gain_mean']:+.4g}, {row['conclusion']}, from {row['gain_interval']}"
            for row in rows
        ],
        colour=BLUE,
        is_in_legend=False,
        size_px=10,
    )
    plain = run.metric.removeprefix("val_")
    chart = Chart(
        key="gain",
        title="Gain over the default configuration",
        x=Scale(title=f"gain in {plain}, with its 95 % interval (better to the right)"),
        y=Scale(
            title="",
            ticks=tuple((place, str(row["trial_id"])) for place, row in zip(places, rows, strict=True)),
            span=(-0.6, len(rows) - 0.4),
        ),
        series=[points],
        marks=[Mark(at=0.0, text="the default")],
        height_px=170 + 40 * len(rows),
    )
    return [chart]


def _reach(row: Mapping[str, Any]) -> tuple[float, float]:
    """How far the interval reaches below and above the gain; 0 without one.

    The two differ where a limit is cut at the largest gain that the metric's range allows.
    """
    if row["gain_low"] is None:
        return 0.0, 0.0
    return row["gain_mean"] - row["gain_low"], row["gain_high"] - row["gain_mean"]


def _table(run: RunData, promotion: Promotion) -> Table:
    """The rows of promoted.csv, ranked by validation.

    Ranking by test would choose the winner on the test set, and its test score would be no estimate any more.
    """
    plain = run.metric.removeprefix("val_")
    columns = ("rank", "trial", "seeds", f"validation {plain}", f"test {plain}", "95 % interval")
    return Table(
        caption="Promoted configurations, ranked by validation",
        columns=[
            *columns,
            "gain",
            "95 % interval of the gain",
            "conclusion",
            "time (s)",
            "energy (J)",
            *run.shown_hparams,
        ],
        rows=[_row(run, row) for row in promotion.rows],
    )


def _row(run: RunData, row: Mapping[str, Any]) -> list[Cell]:
    """One configuration. Hints say what an interval counts, and why joules are missing."""
    joules = row["energy_j"]
    hparams = [row.get(name) for name in run.shown_hparams]
    return [
        number_cell(row["rank"]),
        text_cell(f"{row['trial_id']}{' (default)' if row['is_default'] else ''}"),
        number_cell(row["num_seeds"]),
        number_cell(row["val_mean"]),
        number_cell(row["test_mean"]),
        Cell(text=_interval(row, "test"), hint=str(row["test_interval"] or "")),
        number_cell(row["gain_mean"]),
        Cell(text=_interval(row, "gain"), hint=str(row["gain_interval"] or "")),
        text_cell(row["conclusion"]),
        number_cell(row["seconds"], f"{row['seconds']:.1f}"),
        number_cell(
            joules,
            None if joules is None else f"{joules:.1f}",
            _energy_hint(run, row),
        ),
        *(number_cell(v) if isinstance(v, float | int) and v is not True else text_cell(v) for v in hparams),
    ]


def _energy_hint(run: RunData, row: Mapping[str, Any]) -> str:
    """Why joules are missing; where the whole run has none, the page says it in one place."""
    if row["energy_j"] is not None:
        return ""
    return "see Energy" if run.spent_j is None else str(row["energy_reason"] or "")


def _interval(row: Mapping[str, Any], name: str) -> str:
    """ "0.91 to 0.95"; empty where there is no interval."""
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return "" if low is None else f"{low:.4g} to {high:.4g}"


def _mistakes(promotion: Promotion, source: str) -> Iterator[Element]:
    """Confusion, hardest classes and mistake images of the winner's first training.

    Of one training, because a confusion matrix summed over seeds would show each image several times.
    """
    trainings = promotion.trainings(source)
    if not trainings:
        return
    first, folder = trainings[0], promotion.ledger.trial_folder(trainings[0].trial_id)
    yield Text(text=f"The following is from {_named(first)}: {folder}")
    plots = [(name, caption) for name, caption in _PLOTS.items() if (folder / name).is_file()]
    yield from (
        Figures(figures=[Figure(png=(folder / name).read_bytes(), caption=caption)])
        for name, caption in plots
    )
    yield from _hardest(_read(folder / "per_class.csv"))
    yield from _hardest_to_find(_read(folder / "average_precision.csv"))
    yield from _confused(_read(folder / "confused_pairs.csv"))
    yield from _mistake_images(folder)


def _named(training: TrialRecord) -> str:
    return f"the full training {training.trial_id} (hparams of {training.parent_trial}, seed {training.seed})"


def _hardest(rows: Sequence[Mapping[str, str]]) -> Iterator[Element]:
    """The classes with the lowest accuracy, with precision beside it.

    A class of low accuracy and high precision is missed; one of high accuracy and low precision attracts
    images of others.
    """
    scored = sorted((row for row in rows if row["accuracy"]), key=lambda row: float(row["accuracy"]))
    if scored:
        yield Table(
            caption="Hardest classes of the test set",
            columns=("class", "images", "accuracy (share)", "precision", "F1"),
            rows=[
                [text_cell(row["label"]), *(_csv_number(row[name]) for name in _CLASS_SCORES)]
                for row in scored[:_HARDEST]
            ],
        )


def _hardest_to_find(rows: Sequence[Mapping[str, str]]) -> Iterator[Element]:
    """The classes with the lowest average precision of a detector."""
    scored = sorted((row for row in rows if row["ap"]), key=lambda row: float(row["ap"]))
    if scored:
        yield Table(
            caption="Hardest classes of the test set",
            columns=("class", "objects", "average precision (IoU 0.50 to 0.95)", "recall, 100 boxes"),
            rows=[
                [
                    text_cell(row["label"]),
                    *(_csv_number(row[name]) for name in ("num_objects", "ap", "ar_100")),
                ]
                for row in scored[:_HARDEST]
            ],
        )


def _confused(rows: Sequence[Mapping[str, str]]) -> Iterator[Element]:
    """The most frequent confusions: the class, what it was taken for, and how often."""
    if rows:
        yield Table(
            caption="Most confused pairs",
            columns=("class", "taken for", "images", "share of the class"),
            rows=[
                [
                    text_cell(row["label"]),
                    text_cell(row["predicted"]),
                    _csv_number(row["num_images"]),
                    _csv_number(row["share"]),
                ]
                for row in rows[:_MOST_PAIRS]
            ],
        )


def _mistake_images(folder: Path) -> Iterator[Element]:
    """The most confident mistakes; a sentence if their images were not kept.

    A model that is sure and wrong is often right: these are the images to check for wrong labels. Files and
    rows are in the same order.
    """
    rows = _read(folder / "mistakes.csv")
    files = sorted((folder / MISTAKE_IMAGES).glob("*.png"))[:_MOST_MISTAKE_IMAGES]
    if not rows:
        return
    yield Text(
        text=f"{len(rows)} images of the test set got the wrong class; "
        "the most confident mistakes come first."
    )
    if not files:
        yield Text(text="The images were not kept with this training.")
        return
    yield Figures(
        figures=[
            Figure(png=file.read_bytes(), caption=_mistake_caption(row))
            for file, row in zip(files, rows, strict=False)
        ],
        is_small=True,
    )


def _mistake_caption(row: Mapping[str, str]) -> str:
    return f"{row['image']}: {row['label']} taken for {row['predicted']} ({float(row['score']):.2f})"


def _csv_number(text: str) -> Cell:
    """A number from a CSV file; an empty cell or nan is unknown."""
    value = float(text) if text else math.nan
    return number_cell(None) if math.isnan(value) else number_cell(value, value_text(value))


def _read(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file by column; none if there is no such file."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
