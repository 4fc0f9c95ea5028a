"""Loads a space's source as images with boxes, in three parts."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from trainables.core.contract import DataError, TrainingContext
from trainables.core.data_source import DataSource, read_source
from trainables.core.data_summary import DataSummary
from trainables.detection.annotations import Annotations, Objects
from trainables.detection.box_rules import annotations_of
from trainables.detection.coco import read_coco
from trainables.detection.data_sources import BOX_SOURCES, Coco, Shapes, Voc, Yolo
from trainables.detection.entries import Category, ImageEntry
from trainables.detection.image_files import check_files, headers_of
from trainables.detection.shapes import shapes
from trainables.detection.sizes import SizedImages, hold_against_files
from trainables.detection.summary import refuse_parts_without_objects, sum_up, undecodable
from trainables.detection.voc import read_voc
from trainables.detection.yolo import read_yolo
from trainables.engine.cache_folder import CacheFolder
from trainables.engine.findings import Findings
from trainables.engine.images.data import DataSplits, ImageSet, split_source
from trainables.engine.images.decoded_source import decoded_source
from trainables.engine.images.decoding import ImageReader
from trainables.engine.images.files import ImageFiles
from trainables.engine.images.source import ImageSource, in_memory_source, with_files
from trainables.engine.images.survey import Survey

_MAX_SURVEY_S = 10.0


@dataclass(frozen=True, eq=False)
class DetectionData:
    """Images, stretched to squares, in three parts, with the objects in them."""

    splits: DataSplits
    annotations: Annotations

    def objects(self, images: ImageSet, indices: Sequence[int]) -> list[Objects]:
        """Return the objects of the images with these numbers in one part."""
        return [self.annotations.objects[row] for row in images.rows[list(indices)].tolist()]

    def notes(self) -> dict[str, str]:
        return {**self.splits.notes(), **self.annotations.row_notes()}


def load_detection_data(context: TrainingContext) -> DetectionData:
    """Load the data of a run, split the same way in all its trials; it is kept for the next trial.

    Images are stretched to squares, as in RT-DETR and D-FINE: no padding is computed, and boxes as fractions
    of width and height hold at every resolution.

    Raises:
        DataError: The data are unknown, missing or unfit, or training or validation has no objects.
    """
    cache = CacheFolder.of(context)
    given = read_source(context.data, BOX_SOURCES)
    source, annotations = _loaded(given, cache, context.resolution, context.num_workers)
    data = DetectionData(split_source(source, context), annotations)
    rows = (data.splits.train.rows, data.splits.val.rows, data.splits.test.rows)
    refuse_parts_without_objects(str(given), annotations, rows)
    return data


def check_detection_data(context: TrainingContext) -> DataSummary:
    """Summarise the source that `context.data` names, without decoding all of it.

    Reads all annotations and the header of every image, and splits them as a trial does. Files are read
    whole for at most ten seconds, to find copies, and 64 of them are decoded for at most two.

    Raises:
        DataError: There is no such source, or it is missing or inconsistent; all problems at once.
    """
    source = read_source(context.data, BOX_SOURCES)
    if isinstance(source, Shapes):
        return sum_up(shapes()[1], {}, context)
    if context.resolution is None:
        raise DataError(f"{source} has no resolution of its own; give search.ladder a resolution in pixels")
    described = _described(
        source,
        lambda files: files.survey(context.cache_dir, most_s=_MAX_SURVEY_S),
        lambda files: undecodable(files, context.resolution or 1, max(1, context.num_workers)),
    )
    return sum_up(
        described.annotations, described.images.unusable, context, described.files, described.survey
    )


@dataclass(frozen=True, eq=False)
class _Described:
    """Valid annotations, and how to read the pixels of their images."""

    annotations: Annotations
    images: SizedImages
    files: ImageFiles
    survey: Survey | None


def _described(
    source: DataSource,
    survey_of: Callable[[ImageFiles], Survey],
    broken_of: Callable[[ImageFiles], Mapping[int, str]],
) -> _Described:
    findings = Findings()
    entries, categories = _read(source, findings)
    if not entries and not findings.problems:
        findings.add_problem("it lists no images")
    check_files(entries, findings)
    paths = [entry.path.absolute() for entry in entries]
    files = _files(paths)
    if findings.problems:  # reading the files would only delay the message
        survey, unreadable = None, dict[int, str]()
    else:
        survey = survey_of(files)
        rows = np.flatnonzero(survey.is_unreadable).tolist()
        unreadable = {**{row: str(files.paths[row]) for row in rows}, **broken_of(files)}
    headers = headers_of(paths, survey)
    images = hold_against_files(entries, headers, unreadable, findings)
    annotations = annotations_of(images.entries, categories, findings)
    findings.refuse(str(source))
    described = replace(annotations, notes=findings.notes, left_out=findings.left_out)
    return _Described(described, images, files, survey)


def _read(source: DataSource, findings: Findings) -> tuple[list[ImageEntry], list[Category]]:
    match source:
        case Coco():
            return read_coco(source, findings)
        case Voc():
            return read_voc(source.voc, findings)
        case Yolo():
            return read_yolo(source.yolo, findings)
    raise TypeError(f"{type(source).__name__} is among BOX_SOURCES, and nothing here reads it")


def _files(paths: Sequence[Path]) -> ImageFiles:
    root = Path(os.path.commonpath([path.parent for path in paths])) if paths else Path()
    return ImageFiles(root=root, paths=tuple(paths), labels=(), parts=(), class_names=())


@lru_cache(maxsize=1)
def _loaded(
    given: DataSource, cache: CacheFolder, top: int | None, num_threads: int
) -> tuple[ImageSource, Annotations]:
    if isinstance(given, Shapes):
        images, annotations = shapes()
        balance = annotations.balance()
        return in_memory_source(images, balance, class_names=annotations.class_names), annotations
    described = _described(given, lambda files: files.survey(cache.folder), lambda _: {})
    annotations, files, sized = described.annotations, described.files, described.images

    def stretched(index: int, side: int) -> Image.Image:
        if reason := sized.unusable.get(index):
            raise OSError(reason)
        image = sized.placed(files.opened(index, side), index)
        return image.resize((side, side), Image.Resampling.BILINEAR)

    source = decoded_source(
        ImageReader(len(files.paths), stretched),
        annotations.balance(),
        parts=np.array(annotations.parts),
        class_names=annotations.class_names,
        cache=cache,
        name=lambda: f"boxes-{files.content_key(cache.folder)}-{sized.key}",
        top=top,
        num_threads=num_threads,
    )
    return with_files(source, files, cache.folder), annotations
