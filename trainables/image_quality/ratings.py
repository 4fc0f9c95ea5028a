"""Images with scores given by people or by known distortions: read from a CSV table, and split."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from trainables.core.contract import DataError
from trainables.engine.findings import refuse
from trainables.engine.images.file_lookup import ImageFinder
from trainables.engine.images.folder_names import part_of
from trainables.engine.images.labelled_table import IMAGE_COLUMNS, first_named
from trainables.engine.subset import HELD_OUT_FRACTION, balanced_order
from trainables.engine.tables import read_table

# Accepted names of columns, see `first_named`.
_COLUMNS = {
    "image": IMAGE_COLUMNS,
    "score": ("score", "mos"),  # KonIQ-10k has MOS and set
    "reference": ("reference",),
    "part": ("part", "split", "set", "subset"),
}
NUM_LEVELS = 5  # of scores, for balanced subsets


@dataclass(frozen=True, eq=False)
class Ratings:
    """All images of a source.

    Attributes:
        images: Names; for files, paths relative to the folder.
        scores: Higher is better.
        references: The photograph that each image was made from; its own name if none is given.
        parts: "train", "val" or "test" as in the source; "train" if it does not say.
    """

    images: tuple[str, ...]
    scores: tuple[float, ...]
    references: tuple[str, ...]
    parts: tuple[str, ...]

    @property
    def num_references(self) -> int:
        return len(set(self.references))

    def levels(self) -> Tensor:
        """The quintile of each score, from 0: (n,), int64."""
        return _levels(np.array(self.scores))

    def split(self, seed: int) -> np.ndarray:
        """The part of each image, (n,); no reference is in two.

        If the source lacks validation or test, each missing part is taken from the references of its training
        part, balanced by their mean scores: as many as make up 15 % of its images.

        Raises:
            DataError: There are too few references.
        """
        parts = np.array(self.parts, dtype=object)
        missing = [part for part in ("test", "val") if part not in self.parts]
        references = np.array(self.references, dtype=object)
        names, own = np.unique(references[parts == "train"].astype(str), return_inverse=True)
        if len(names) < 1 + len(missing):
            raise DataError(
                f"{len(names)} references are too few for training, validation and test parts: no two may "
                f"share one; give at least {1 + len(missing)}, or a column part"
            )
        sizes = np.bincount(own)
        scores = np.bincount(own, weights=np.array(self.scores)[parts == "train"]) / sizes
        order = balanced_order(_levels(scores), seed=seed).tolist()
        num_wanted = round(HELD_OUT_FRACTION * int(sizes.sum()))
        for number, part in enumerate(missing, start=1):
            num_taken = 0
            while num_taken < max(1, num_wanted) and len(order) > 1 + len(missing) - number:
                reference = order.pop()
                num_taken += int(sizes[reference])
                parts[references == names[reference]] = part
        return parts


def read_ratings(path: Path, folder: Path) -> Ratings:
    """The ratings in a table with the columns image and score, and optionally reference and part.

    Args:
        folder: The folder of the images.

    Raises:
        DataError: There is no such table, or it has problems, which are all listed.
    """
    rows, finder = _rows(path), ImageFinder(folder)
    found = {row["image"]: finder.find(row["image"]) for row in rows}
    refuse(str(path), list(_problems(rows, found, folder)))
    return Ratings(
        images=tuple(Path(os.path.relpath(found[row["image"]][0], folder)).as_posix() for row in rows),
        scores=tuple(float(row["score"]) for row in rows),
        references=tuple(row.get("reference") or row["image"] for row in rows),
        parts=tuple(_part(row) or "train" for row in rows),
    )


def _rows(path: Path) -> list[dict[str, str]]:
    """The rows by our own names of the columns; other columns are dropped."""
    names, rows = read_table(path)
    found = {ours: name for ours, usual in _COLUMNS.items() if (name := first_named(usual, names))}
    if missing := [name for name in ("image", "score") if name not in found]:
        raise DataError(
            f"{path} has no column {' and no column '.join(missing)}, only {', '.join(names) or 'none'}; it "
            "needs image and score, and may have reference and part"
        )
    return [{ours: row[theirs] for ours, theirs in found.items()} for row in rows]


def _problems(
    rows: Sequence[Mapping[str, str]], found: Mapping[str, Sequence[Path]], folder: Path
) -> Iterator[str]:
    if not rows:
        yield "it has no rows"
    seen: set[Sequence[Path]] = set()
    parts: dict[str, str | None] = {}
    for line, row in enumerate(rows, start=2):
        image, reference, part = row["image"], row.get("reference") or row["image"], _part(row)
        if not found[image]:
            yield f"line {line}: there is no image {folder / image} (images: FOLDER says where they are)"
        elif len(found[image]) > 1:
            yield f"line {line}: {image} may be {' or '.join(map(str, found[image][:2]))}"
        elif found[image] in seen:
            yield f"line {line}: {image} is listed twice"
        seen.add(found[image])
        if not _is_number(row["score"]):
            yield f"line {line}: score is {row['score'] or 'empty'}, not a number"
        if part is None:
            yield f"line {line}: part is {row['part']}; it may be train, val or test"
        elif parts.setdefault(reference, part) != part:
            yield f"line {line}: reference {reference} is in {part} and in {parts[reference]}"


def _part(row: Mapping[str, str]) -> str | None:
    """The part of a row, "train" by default; None if no part has that name."""
    given = row.get("part")
    return part_of(given) if given else "train"


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _levels(scores: np.ndarray) -> Tensor:
    edges = np.quantile(scores, np.linspace(0, 1, NUM_LEVELS + 1)[1:-1])
    return torch.from_numpy(np.searchsorted(edges, scores, side="left"))
