"""Annotations in Pascal VOC's XML: a file for each picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

from trainables.contract import DataError
from trainables.engine.detection.annotations import Annotations, Objects, objects_of, refuse

_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def read_voc(address: str) -> Annotations:
    """The annotations of a folder: XML files in `Annotations/` (or `annotations/`, or in itself).

    Pictures lie in `JPEGImages/` or `images/`, or beside the files. `ImageSets/Main/` says which are train,
    val and test; without it the program splits. Numbers are taken as they stand: tools differ by a
    pixel on whether they count from 1. Classes are counted by their names' order.

    Raises:
        DataError: No such folder, or files that cannot be used; all problems at once.
    """
    root = Path(address).expanduser()
    folder = next((root / name for name in ("Annotations", "annotations") if (root / name).is_dir()), root)
    files = sorted(folder.glob("*.xml"))
    if not files:
        raise DataError(f"{folder} has no XML files; write voc:PATH with a folder that has Annotations/*.xml")
    parts = _parts(root)
    files = [path for path in files if not parts or path.stem in parts]
    pictures = {path: _read(path) for path in files}
    problems = [f"{path.name}: {reason}" for path, (_, reason) in pictures.items() if reason]
    refuse(str(folder), problems)
    roots = {path: element for path, (element, _) in pictures.items() if element is not None}
    names = sorted({_text(item, "name") for element in roots.values() for item in element.iter("object")})
    index = {name: number for number, name in enumerate(names)}
    objects = tuple(_objects(element, index) for element in roots.values())
    images = next((root / name for name in ("JPEGImages", "images") if (root / name).is_dir()), root)
    return Annotations(
        objects=objects,
        parts=tuple(parts.get(path.stem, "train") for path in roots),
        class_names=tuple(names),
        category_ids=tuple(range(len(names))),
        paths=tuple(images / item.picture for item in objects),
    )


def _parts(root: Path) -> dict[str, str]:
    """The part of each picture's stem, as `ImageSets/Main` has it; empty where that is not there."""
    lists = {part: root / "ImageSets" / "Main" / f"{part}.txt" for part in ("train", "val", "test")}
    return {
        line.split()[0]: part
        for part, path in lists.items()
        if path.is_file()
        for line in path.read_text().splitlines()
        if line.strip()
    }


def _read(path: Path) -> tuple[ElementTree.Element | None, str]:
    """The file's root, or why it cannot be used."""
    try:
        root = ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        return None, f"no XML: {error}"
    try:
        width, height = _size(root)
        for item in root.iter("object"):
            _text(item, "name")
            _box(item)
    except ValueError as error:
        return None, str(error)
    return root, "" if width > 0 and height > 0 else f"the picture is {width:g} x {height:g} px"


def _objects(root: ElementTree.Element, index: Mapping[str, int]) -> Objects:
    items = list(root.iter("object"))
    return objects_of(
        _text(root, "filename"),
        _size(root),
        [_box(item) for item in items],
        [index[_text(item, "name")] for item in items],
        is_crowd=[item.findtext("difficult", "0").strip() == "1" for item in items],
    )


def _size(root: ElementTree.Element) -> tuple[float, float]:
    return float(_text(root, "size/width")), float(_text(root, "size/height"))


def _box(item: ElementTree.Element) -> list[float]:
    return [float(_text(item, f"bndbox/{corner}")) for corner in _CORNERS]


def _text(element: ElementTree.Element, name: str) -> str:
    text = (element.findtext(name) or "").strip()
    if not text:
        raise ValueError(f"{element.tag} has no {name}")
    return text
