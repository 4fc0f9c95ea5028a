"""Summary of a source of boxes, and whether a trial could start on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import monotonic

import numpy as np
from torch import Tensor

from trainables.core.contract import DataError, TrainingContext
from trainables.core.data_source import data_text
from trainables.core.data_summary import DataSummary
from trainables.detection.annotations import Annotations
from trainables.engine.findings import line_of
from trainables.engine.images.files import ImageFiles
from trainables.engine.images.folder_names import PARTS, Part
from trainables.engine.images.identical import in_two_parts, more_than_once
from trainables.engine.images.survey import Survey
from trainables.engine.subset import split_rows

_MAX_DECODING_S = 2.0
_DECODED = 64


def undecodable(files: ImageFiles, resolution: int, num_threads: int) -> Mapping[int, str]:
    """Return those of 64 evenly spread images that cannot be decoded, with the reason."""
    deadline_s = monotonic() + _MAX_DECODING_S

    def reason(index: int) -> str:
        try:
            if monotonic() < deadline_s:
                files.opened(index, resolution)
        except OSError as error:
            return str(error)
        return ""

    chosen = range(0, len(files.paths), max(1, len(files.paths) // _DECODED))[:_DECODED]
    with ThreadPoolExecutor(num_threads) as pool:
        return {index: text for index, text in zip(chosen, pool.map(reason, chosen), strict=True) if text}


def refuse_parts_without_objects(name: str, annotations: Annotations, rows: Sequence[Tensor]) -> None:
    """Raise DataError if there are no objects to train on or to validate with.

    Args:
        rows: Rows of training, validation and test.
    """
    words = ("training", "validation")
    empty = [
        word for word, of_part in zip(words, rows, strict=False) if not _has_objects(annotations, of_part)
    ]
    if empty:
        raise DataError(f"{name} has no objects in its {' and '.join(empty)} part, so nothing can be scored")


def _has_objects(annotations: Annotations, rows: Tensor) -> bool:
    """Whether any of these images has an object that is not a crowd."""
    return any(bool(annotations.objects[row].is_trained.any()) for row in rows.tolist())


def sum_up(
    annotations: Annotations,
    unusable: Mapping[int, str],
    context: TrainingContext,
    files: ImageFiles | None = None,
    survey: Survey | None = None,
) -> DataSummary:
    """Summarise the annotations, split as a trial splits them.

    Args:
        unusable: Why images are left out, by number.

    Raises:
        DataError: There are too few images, or training or validation has no objects.
    """
    parts = [part if row not in unusable else "unreadable" for row, part in enumerate(annotations.parts)]
    of_parts = split_rows(annotations.balance(), np.array(parts), seed=context.data_seed)
    refuse_parts_without_objects(data_text(context.data), annotations, of_parts)
    rows = dict(zip(PARTS, of_parts, strict=True))
    used = [row for of_part in of_parts for row in of_part.tolist()]
    names = annotations.class_names
    counts = Counter(names[label] for row in used for label in annotations.objects[row].labels.tolist())
    sizes = sorted((annotations.objects[row].size_px for row in used), key=lambda size: size[0] * size[1])
    chosen = [sizes[0], sizes[(len(sizes) - 1) // 2], sizes[-1]]
    return DataSummary(
        num_examples=len(used),
        classes={name: counts[name] for name in names},
        class_unit="objects",
        parts={part: len(of_part) for part, of_part in rows.items()},
        split_off=tuple(part for part in PARTS if part not in parts),
        sizes_px=tuple((round(width), round(height)) for width, height in chosen),
        left_out=annotations.left_out,
        notes=(
            *([] if _has_objects(annotations, rows["test"]) else ["the test part has no objects to score"]),
            *_class_notes(annotations, rows["train"], counts),
            *annotations.described().values(),
            *(_file_notes(files, survey, rows) if files and survey else []),
        ),
    )


def _file_notes(files: ImageFiles, survey: Survey, rows: Mapping[Part, Tensor]) -> list[str]:
    """Notes on copies and unusual pixels, and on whether all files were read."""
    identical = survey.identical()
    copies = in_two_parts(identical, list(rows.items()), files.name) or more_than_once(identical, files.name)
    unread = f"copies and unusual pixels were checked in {survey.num_seen} of {len(survey.records)} images"
    return [*([copies] if copies else []), *survey.notes(), *([] if survey.is_complete else [unread])]


def _class_notes(annotations: Annotations, train: Tensor, counts: Mapping[str, int]) -> list[str]:
    """Notes on classes that cannot be learnt, or told apart by name, and on images without objects."""
    trained = {
        annotations.class_names[label]
        for row in train.tolist()
        for label in annotations.objects[row].trained()[1].tolist()
    }
    empty = [name for name in annotations.class_names if not counts[name]]
    untrained = [name for name in annotations.class_names if counts[name] and name not in trained]
    num_negatives = sum(not len(objects.labels) for objects in annotations.objects)
    alike = [name for name, count in Counter(map(str.lower, annotations.class_names)).items() if count > 1]
    return [
        *([line_of("classes without objects", empty)] if empty else []),
        *([line_of("classes that training has no objects of, crowds apart", untrained)] if untrained else []),
        *([line_of("class names that differ only in case", alike)] if alike else []),
        *([f"{num_negatives} images without objects"] if num_negatives else []),
    ]
