"""Annotated images, written to disk for tests in COCO's JSON and in Pascal VOC's XML."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CATEGORIES = [{"id": 3, "name": "dog"}, {"id": 7, "name": "cat"}, {"id": 90, "name": "cow"}]
SIZE_PX = (100, 50)  # not square


def write_image(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (SIZE_PX[1], SIZE_PX[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def annotation(image_id: int, category_id: int, bbox: Sequence[float], **others: Any) -> dict[str, Any]:
    area = bbox[2] * bbox[3]
    return {"image_id": image_id, "category_id": category_id, "bbox": list(bbox), "area": area, **others}


def coco_file(
    path: Path,
    annotations: Sequence[Mapping[str, Any]],
    *,
    num_images: int,
    images: Path | None = None,
    categories: Sequence[Mapping[str, Any]] = CATEGORIES,
) -> Path:
    """Write the file and its images, which are numbered from 10."""
    numbers = range(10, 10 + num_images)
    listed = [{"id": n, "file_name": f"{n}.png", "width": 100, "height": 50} for n in numbers]
    for number in numbers:
        write_image((images or path.parent) / f"{number}.png", number)
    numbered = [{"id": index, **item} for index, item in enumerate(annotations, start=1)]
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"images": listed, "annotations": numbered, "categories": list(categories)}
    path.write_text(json.dumps(content))
    return path


def voc_folder(root: Path, objects: Mapping[str, Sequence[tuple[str, Sequence[int], int]]]) -> Path:
    """Write a folder with an XML file per image, with (name, corners, difficult) of its objects."""
    (root / "Annotations").mkdir(parents=True)
    for stem, items in objects.items():
        write_image(root / "JPEGImages" / f"{stem}.png")
        (root / "Annotations" / f"{stem}.xml").write_text(_xml(stem, items))
    return root


def _xml(stem: str, items: Sequence[tuple[str, Sequence[int], int]]) -> str:
    objects = "".join(
        f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox><xmin>{left}</xmin>"
        f"<ymin>{top}</ymin><xmax>{right}</xmax><ymax>{bottom}</ymax></bndbox></object>"
        for name, (left, top, right, bottom), difficult in items
    )
    size = f"<size><width>{SIZE_PX[0]}</width><height>{SIZE_PX[1]}</height><depth>3</depth></size>"
    return f"<annotation><filename>{stem}.png</filename>{size}{objects}</annotation>"
