"""From a source's name in a space to pictures with boxes, in three parts."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from trainables.contract import DataError, Env
from trainables.data_summary import DataSummary
from trainables.engine.cache_folder import CacheFolder
from trainables.engine.detection.annotations import Annotations, Objects
from trainables.engine.detection.box_rules import annotations_of
from trainables.engine.detection.coco import read_coco
from trainables.engine.detection.findings import Findings, line_of
from trainables.engine.detection.picture_files import (
    Header,
    check_files,
    keep_headers,
    kept_headers,
    read_headers,
)
from trainables.engine.detection.shapes import shapes
from trainables.engine.detection.sizes import SizedPictures, hold_against_files
from trainables.engine.detection.voc import read_voc
from trainables.engine.images.data import DataSplits, ImageSet, split_source
from trainables.engine.images.decoded_source import decoded_source
from trainables.engine.images.decoding import Pictures
from trainables.engine.images.files import ImageFiles
from trainables.engine.images.folder_names import PARTS
from trainables.engine.images.source import ImageSource, in_memory_source
from trainables.engine.subset import split_rows
from trainables.nearest import no_such_source

SOURCES = ("shapes", "coco:PATH", "coco:FILE.json?images=FOLDER", "voc:PATH")
_READERS = {"coco": read_coco, "voc": read_voc}


@dataclass(frozen=True, eq=False)
class DetectionData:
    """Pictures, stretched to squares, in three parts, with the objects in them."""

    splits: DataSplits
    annotations: Annotations

    def objects(self, images: ImageSet, indices: Sequence[int]) -> list[Objects]:
        """Those of the pictures of one part, by number."""
        return [self.annotations.objects[row] for row in images.rows[list(indices)].tolist()]

    def notes(self) -> dict[str, str]:
        return {**self.splits.notes(), **self.annotations.said()}


def load_detection_data(env: Env) -> DetectionData:
    """The data of a run, split the same way in every trial of it; kept for the next trial.

    Pictures are stretched to squares, as RT-DETR and D-FINE have them: no border is computed on, and
    boxes as shares of width and height stay what they are at every resolution.

    Raises:
        DataError: Unknown, missing or unfit data, or a part without objects.
    """
    cache = CacheFolder(env.cache_dir, env.cache_gib)
    source, annotations = _loaded(env.data, cache, env.resolution, env.num_workers)
    data = DetectionData(split_source(source, env), annotations)
    rows = (data.splits.train.rows, data.splits.val.rows, data.splits.test.rows)
    _refuse_parts_without_objects(env.data, annotations, rows)
    return data


def check_detection_data(env: Env) -> DataSummary:
    """What is to be known of the source that `env.data` names, without decoding it.

    Reads all annotations and the header of every picture, and splits them, as a trial does.

    Raises:
        DataError: No such source, or it is missing or contradicts itself; all problems at once.
    """
    if env.data == "shapes":
        annotations, unusable = shapes()[1], set[int]()
    else:
        described = _described(env.data, read_headers)
        annotations, unusable = described.annotations, set(described.pictures.unusable)
        if env.resolution is None:
            raise DataError(
                f"{env.data} has no resolution of its own; give search.ladder a resolution in pixels"
            )
    usable = [part if row not in unusable else "unreadable" for row, part in enumerate(annotations.parts)]
    rows = split_rows(annotations.balance(), np.array(usable), seed=env.data_seed)
    _refuse_parts_without_objects(env.data, annotations, rows)
    return _summary(annotations, dict(zip(PARTS, rows, strict=True)))


@dataclass(frozen=True, eq=False)
class _Described:
    """Annotations that hold, and how the pixels of their pictures are to be read."""

    annotations: Annotations
    pictures: SizedPictures


def _described(name: str, headers_of: Callable[[Sequence[Path]], Sequence[Header]]) -> _Described:
    kind, _, rest = name.partition(":")
    if kind not in _READERS or not rest:
        raise DataError(no_such_source("source of boxes", name, SOURCES))
    findings = Findings()
    entries, categories = _READERS[kind](rest, findings)
    check_files(entries, findings)
    if not entries and not findings.problems:
        findings.add_problem("it lists no pictures")
    pictures = hold_against_files(entries, headers_of([entry.path for entry in entries]), findings)
    annotations = annotations_of(pictures.entries, categories, findings)
    findings.refuse(name)
    return _Described(replace(annotations, notes=findings.notes, left_out=findings.left_out), pictures)


@lru_cache(maxsize=1)
def _loaded(
    name: str, cache: CacheFolder, top: int | None, num_threads: int
) -> tuple[ImageSource, Annotations]:
    if name == "shapes":
        pictures, annotations = shapes()
        balance = annotations.balance()
        return in_memory_source(pictures, balance, class_names=annotations.class_names), annotations
    described = _described(name, lambda paths: _headers_of_node(paths, cache))
    annotations, sized = described.annotations, described.pictures
    files = _files(annotations.paths)

    def stretched(index: int, side: int) -> Image.Image:
        if reason := sized.unusable.get(index):
            raise OSError(reason)
        picture = sized.placed(files.opened(index, side), index).convert("RGB")
        return picture.resize((side, side), Image.Resampling.BILINEAR)

    source = decoded_source(
        Pictures(len(files.paths), stretched),
        annotations.balance(),
        parts=np.array(annotations.parts),
        class_names=annotations.class_names,
        cache=cache,
        name=f"boxes-{files.content_key(cache.folder)}-{sized.key}",
        top=top,
        num_threads=num_threads,
    )
    return source, annotations


def _files(paths: Sequence[Path]) -> ImageFiles:
    root = Path(os.path.commonpath([path.parent for path in paths]))
    return ImageFiles(root=root, paths=tuple(paths), labels=(), parts=(), class_names=())


def _headers_of_node(paths: Sequence[Path], cache: CacheFolder) -> list[Header]:
    """Read once for all processes of a node, as long as the pictures do not change."""
    if not all(path.is_file() for path in paths) or not paths:
        return read_headers(paths)
    kept = cache.folder / f"headers-{_files(paths).content_key(cache.folder)}.npy"
    if kept.is_file():
        return kept_headers(kept)
    headers = read_headers(paths)
    keep_headers(headers, kept)
    return headers


def _refuse_parts_without_objects(name: str, annotations: Annotations, rows: Sequence[Tensor]) -> None:
    words = ("training", "validation")
    empty = [
        word for word, of_part in zip(words, rows, strict=False) if not _has_objects(annotations, of_part)
    ]
    if empty:
        raise DataError(f"{name} has no objects in its {' and '.join(empty)} part, so nothing can be scored")


def _has_objects(annotations: Annotations, rows: Tensor) -> bool:
    """Crowds apart."""
    return any(bool(annotations.objects[row].is_trained.any()) for row in rows.tolist())


def _summary(annotations: Annotations, rows: Mapping[str, Tensor]) -> DataSummary:
    used = [row for of_part in rows.values() for row in of_part.tolist()]
    names = annotations.class_names
    counts = Counter(names[label] for row in used for label in annotations.objects[row].labels.tolist())
    sizes = sorted((annotations.objects[row].size_px for row in used), key=lambda size: size[0] * size[1])
    chosen = [sizes[0], sizes[len(sizes) // 2], sizes[-1]]
    return DataSummary(
        num_examples=len(used),
        classes={name: counts[name] for name in names},
        class_unit="objects",
        parts={part: len(of_part) for part, of_part in rows.items()},
        split_off=tuple(part for part in PARTS if part not in annotations.parts),
        sizes_px=tuple((round(width), round(height)) for width, height in chosen),
        left_out=annotations.left_out,
        notes=(
            *([] if _has_objects(annotations, rows["test"]) else ["the test part has no objects to score"]),
            *_class_notes(annotations, rows["train"], counts),
            *annotations.described().values(),
        ),
    )


def _class_notes(annotations: Annotations, train: Tensor, counts: Mapping[str, int]) -> list[str]:
    """Classes that cannot be learnt or cannot be told apart by their names, and pictures without objects."""
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
        *([line_of("class names that differ in case alone", alike)] if alike else []),
        *([f"{num_negatives} pictures without objects"] if num_negatives else []),
    ]
