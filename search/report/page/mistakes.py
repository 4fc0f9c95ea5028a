"""What the winner got wrong: confusion, hardest classes, and the images themselves.

All of it comes from files of the winner's first training; what is missing is left out, since not every
trainable classifies. It is one training, because a confusion summed over seeds would show each image several
times.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image

from search.ledger.history import TrialRecord
from search.report.charts.chart import Chart, Matrix, chart_key
from search.report.charts.training import confusion_counts, confusion_shares, read_table, training_curves
from search.report.formatting import value_text
from search.report.page.elements import (
    Cell,
    Element,
    Figure,
    Figures,
    Mistake,
    Mistakes,
    Section,
    Table,
    Text,
    number_cell,
    text_cell,
)
from search.report.page.run_data import Promotion, RunData
from search.trial.final_outputs import MISTAKE_IMAGES

_HARDEST = 10  # classes; for more there is per_class.csv
# A class of low accuracy and high precision is missed; one of high accuracy and low precision attracts images
# of others.
_CLASS_SCORES = {"num_images": "images", "accuracy": "accuracy (share)", "precision": "precision", "f1": "F1"}
_DETECTION_SCORES = {
    "num_objects": "objects",
    "ap": "average precision (IoU 0.50 to 0.95)",
    "ar_100": "recall, 100 boxes",
}
_MOST_PAIRS = 10
_MOST_MISTAKE_IMAGES = 24  # embedded in the page, so each makes it larger
_MOST_CELLS_SIDE = 60  # classes of a confusion that the page draws; of more its PNG is embedded
_NOT_KEPT = Text(text="The images were not kept with this training.")
_SMALL_BYTES = 4096  # a PNG up to here stays as it is: WebP would blur digits for nothing


def mistakes_section(run: RunData) -> Section:
    """Empty before a promotion, and if the winner's training left nothing to show."""
    winner = run.promotion.winner if run.promotion else None
    found = list(_mistakes(run.promotion, str(winner["trial_id"]))) if run.promotion and winner else []
    return Section(key="mistakes", title="The winner, class by class", elements=found)


def _mistakes(promotion: Promotion, source: str) -> Iterator[Element]:
    trainings = promotion.trainings(source)
    if not trainings:
        return
    first, folder = trainings[0], promotion.ledger.trial_folder(trainings[0].trial_id)
    yield Text(text=f"From {_named(first)}: {folder}")
    yield from _confusion(folder)
    yield from _hardest(_read(folder / "per_class.csv"), by="accuracy", columns=_CLASS_SCORES)
    yield from _hardest(_read(folder / "average_precision.csv"), by="ap", columns=_DETECTION_SCORES)
    pairs = _read(folder / "confused_pairs.csv")
    yield from _confused(pairs)
    rows = _read(folder / "mistakes.csv")
    yield from (
        _box_mistakes(folder, rows)
        if "num_missed" in next(iter(rows), ())
        else _mistake_images(folder, rows, pairs)
    )
    history = promotion.ledger.trial(first.trial_id).history
    if history.is_file():
        yield from _curves(history)


def _curves(history: Path) -> list[Chart]:
    """Loss, scores, learning rate and joules of the training."""
    panels = training_curves(read_table(history), "")
    return [
        replace(panel, key=chart_key("training", panel.key), title=f"Full training: {panel.y.title}")
        for panel in panels
    ]


def _confusion(folder: Path) -> Iterator[Matrix | Figures]:
    """Shares of each class as colours, with the numbers of images; for many classes the PNG."""
    matrix = confusion_of(folder)
    if matrix:
        yield matrix
    elif (png := folder / "confusion_normalised.png").is_file():
        yield Figures(figures=[Figure(content=png.read_bytes(), caption="Confusion of the test set")])


def confusion_of(folder: Path) -> Matrix | None:
    """The confusion of a training's test set; None without one, or with more classes than a page can show."""
    counts_file, shares_file = folder / "confusion.csv", folder / "confusion_normalised.csv"
    if not counts_file.is_file() or not shares_file.is_file():
        return None
    counts = confusion_counts(read_table(counts_file), "")
    if len(counts.names) > _MOST_CELLS_SIDE:
        return None
    texts = [[f"{value:.0f}" if value else "" for value in row] for row in counts.cells]
    shares = confusion_shares(read_table(shares_file), "")
    title = "Confusion of the test set: number of images, coloured by their share of the class"
    return replace(shares, title=title, texts=texts)


def _named(training: TrialRecord) -> str:
    return f"the full training {training.trial_id} (hparams of {training.parent_trial}, seed {training.seed})"


def _hardest(rows: Sequence[Mapping[str, str]], *, by: str, columns: Mapping[str, str]) -> Iterator[Element]:
    """The classes with the lowest score, and what else is known of each.

    Args:
        by: The column of the score.
        columns: The titles of the columns shown, by the columns that they are read from.
    """
    scored = sorted((row for row in rows if row[by]), key=lambda row: float(row[by]))
    if scored:
        yield Table(
            caption="Hardest classes of the test set",
            columns=("class", *columns.values()),
            rows=[
                [text_cell(row["label"]), *(_csv_number(row[name]) for name in columns)]
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


def _mistake_images(
    folder: Path, rows: Sequence[Mapping[str, str]], pairs: Sequence[Mapping[str, str]]
) -> Iterator[Element]:
    """The most confident mistakes; a sentence if their images were not kept.

    A model that is sure and wrong is often right, so these are the images to check for wrong labels. Files
    and rows are in the same order.
    """
    files = _mistake_files(folder)
    if not rows:
        return
    yield Text(
        text=f"{len(rows)} images of the test set got the wrong class; "
        "the most confident mistakes come first: check their labels."
    )
    if not files:
        yield _NOT_KEPT
        return
    notes = {(row["label"], row["predicted"]): _frequency(row) for row in pairs}
    yield Mistakes(
        mistakes=[
            _mistake(file, row, notes.get((row["label"], row["predicted"]), ""))
            for file, row in zip(files, rows, strict=False)
        ]
    )


def _box_mistakes(folder: Path, rows: Sequence[Mapping[str, str]]) -> Iterator[Element]:
    """The images with the most missed objects and false boxes, which are drawn in them."""
    yield Text(
        text=f"{len(rows)} images of the test set have mistakes at a score of 0.5; those with the most come "
        "first: check their boxes. Blue: an object that was found; yellow: one that was missed; red: a box "
        "where no object of its class is."
    )
    files = _mistake_files(folder)
    if not files:
        yield _NOT_KEPT
        return
    figures = []
    for file, row in zip(files, rows, strict=False):
        content, form = _embedded(file.read_bytes())
        figures.append(Figure(content=content, caption=_box_caption(row), format=form))
    yield Figures(figures=figures, are_side_by_side=True)


def _box_caption(row: Mapping[str, str]) -> str:
    """ "a.jpg: 5 objects; missed: 2 cat; false: 1 dog", without what there is none of."""
    parts = [
        f"{row['num_objects']} objects",
        *(f"{kind}: {row[kind]}" for kind in ("missed", "false") if row[kind]),
    ]
    return f"{row['image']}: {'; '.join(parts)}"


def _mistake_files(folder: Path) -> list[Path]:
    return sorted((folder / MISTAKE_IMAGES).glob("*.png"))[:_MOST_MISTAKE_IMAGES]


def _mistake(file: Path, row: Mapping[str, str], note: str) -> Mistake:
    label, predicted = row["label"], row["predicted"]
    content, form = _embedded(file.read_bytes())
    return Mistake(
        figure=Figure(content=content, caption=f"{row['image']}: {label} taken for {predicted}", format=form),
        name=f"image {row['image']}",
        label=label,
        predicted=predicted,
        shares=[(predicted, float(row["score"])), (label, float(row["label_score"]))],
        note=note,
    )


def _frequency(pair: Mapping[str, str]) -> str:
    """ "3 of 75 of its class", from a row of confused_pairs.csv; empty if the share is 0."""
    count, share = int(pair["num_images"]), float(pair["share"])
    return f"{count} of {count / share:.0f} of its class" if share else ""


def _embedded(png: bytes) -> tuple[bytes, str]:
    """An image as the page carries it, and its format: photographs as WebP, a sixth of the size of a PNG."""
    if len(png) <= _SMALL_BYTES:
        return png, "png"
    content = io.BytesIO()
    with Image.open(io.BytesIO(png)) as image:
        image.save(content, format="WEBP", quality=85)
    return content.getvalue(), "webp"


def _csv_number(text: str) -> Cell:
    """A number from a CSV file; an empty cell or nan is unknown."""
    value = float(text) if text else math.nan
    return number_cell(None) if math.isnan(value) else number_cell(value, value_text(value))


def _read(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file by column; none if there is no such file."""
    if not path.is_file():
        return []
    columns, rows = read_table(path)
    return [dict(zip(columns, row, strict=False)) for row in rows]
