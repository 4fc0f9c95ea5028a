"""From a source's name in a space to pictures with boxes, in three parts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from trainables.contract import DataError, Env
from trainables.engine.cache_folder import CacheFolder
from trainables.engine.detection.annotations import Annotations, Objects, refuse
from trainables.engine.detection.coco import read_coco
from trainables.engine.detection.shapes import shapes
from trainables.engine.detection.voc import read_voc
from trainables.engine.images.data import DataSplits, ImageSet, split_source
from trainables.engine.images.decoded_source import decoded_source
from trainables.engine.images.decoding import Pictures
from trainables.engine.images.files import ImageFiles
from trainables.engine.images.source import ImageSource, in_memory_source
from trainables.nearest import no_such_source

SOURCES = ("shapes", "coco:PATH", "coco:FILE.json?images=FOLDER", "voc:PATH")
_LOOKED_AT = 64


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
    for name, part in (("training", data.splits.train), ("validation", data.splits.val)):
        if not any(bool(objects.is_trained.any()) for objects in data.objects(part, range(len(part)))):
            raise DataError(f"{env.data} has no objects in its {name} part, so nothing can be scored")
    return data


def check_detection_data(env: Env) -> list[str]:
    """What is to be known of the source that `env.data` names, without decoding it.

    Of the pictures 64 are opened, evenly spread, and held against the sizes that their boxes are in.

    Raises:
        DataError: No such source, or it is missing or contradicts itself.
    """
    annotations = shapes()[1] if env.data == "shapes" else _annotations(env.data)
    if annotations.paths and env.resolution is None:
        raise DataError(f"{env.data} has no resolution of its own; give search.ladder a resolution in pixels")
    step = max(1, len(annotations.paths) // _LOOKED_AT)
    looked_at = range(0, len(annotations.paths), step)
    with ThreadPoolExecutor(max(1, env.num_workers)) as pool:
        reasons = list(pool.map(lambda index: _why_unfit(annotations, index), looked_at))
    refuse(env.data, [reason for reason in reasons if reason])
    return [*_counts(annotations), *annotations.said().values()]


@lru_cache(maxsize=1)
def _loaded(
    name: str, cache: CacheFolder, top: int | None, num_threads: int
) -> tuple[ImageSource, Annotations]:
    if name == "shapes":
        pictures, annotations = shapes()
        balance = annotations.balance()
        return in_memory_source(pictures, balance, class_names=annotations.class_names), annotations
    annotations = _annotations(name)
    files = ImageFiles(
        root=Path(os.path.commonpath([path.parent for path in annotations.paths])),
        paths=annotations.paths,
        labels=(),
        parts=annotations.parts,
        class_names=annotations.class_names,
    )
    missing = [f"{path} does not exist" for path in annotations.paths if not path.is_file()]
    refuse(name, missing)

    def stretched(index: int, side: int) -> Image.Image:
        picture = files.opened(index, side).convert("RGB")
        return picture.resize((side, side), Image.Resampling.BILINEAR)

    source = decoded_source(
        Pictures(len(files.paths), stretched),
        annotations.balance(),
        parts=np.array(annotations.parts),
        class_names=annotations.class_names,
        cache=cache,
        name=f"stretched-{files.content_key(cache.folder)}",
        top=top,
        num_threads=num_threads,
    )
    return source, annotations


def _annotations(name: str) -> Annotations:
    kind, _, rest = name.partition(":")
    readers = {"coco": read_coco, "voc": read_voc}
    if kind not in readers or not rest:
        raise DataError(no_such_source("source of boxes", name, SOURCES))
    return readers[kind](rest)


def _why_unfit(annotations: Annotations, index: int) -> str:
    path, size_px = annotations.paths[index], annotations.objects[index].size_px
    try:
        with Image.open(path) as picture:
            if picture.size == size_px:
                return ""
            (width, height), (said_width, said_height) = picture.size, size_px
            return f"{path} is {width} x {height} px, its boxes are in {said_width:g} x {said_height:g}"
    except OSError as error:
        return str(error) if str(path) in str(error) else f"{path}: {error}"


def _counts(annotations: Annotations) -> list[str]:
    num_objects = sum(len(objects.labels) for objects in annotations.objects)
    num_empty = sum(not len(objects.labels) for objects in annotations.objects)
    num_classes = len(annotations.class_names)
    counts = f"{len(annotations.objects)} pictures, {num_objects} objects of {num_classes} classes"
    return [f"{counts}, {num_empty} pictures without any"]
