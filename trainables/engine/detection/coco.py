"""Annotations in COCO's JSON: one file, or a folder with one for each part."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from trainables.contract import DataError
from trainables.engine.detection.annotations import Annotations, Objects, objects_of, refuse

_PARTS = {"train": "train", "val": "val", "valid": "val", "test": "test"}


def read_coco(address: str) -> Annotations:
    """The annotations of `PATH` or `FILE.json?images=FOLDER`.

    A folder has files with train, val (or valid) and test in their names or their folders' names, in
    itself, in `annotations/` or in the folders beside the pictures; `instances_` goes before others. A
    file alone, or one whose name says nothing, is split by the program. Pictures lie in the folder that
    is given, or in `images/`, in a folder named like the part, or beside the file.

    Raises:
        DataError: Missing or no COCO file, or one that contradicts itself; all problems of a file at once.
    """
    name, _, query = address.partition("?images=")
    root = Path(name).expanduser()
    if not root.exists():
        raise DataError(f"{root} does not exist; write coco:PATH with a folder or a JSON file of annotations")
    files = {"train": root} if root.is_file() else _files_by_part(root)
    if not files.get("train"):
        raise DataError(f"{root} has no JSON file of training annotations, such as annotations/train.json")
    loaded = {part: _loaded(path) for part, path in files.items()}
    names = _category_names(loaded)
    ids = tuple(sorted(names))
    parts: list[str] = []
    paths: list[Path] = []
    objects: list[Objects] = []
    for part, content in loaded.items():
        folder = Path(query).expanduser() if query else _picture_folder(files[part], root, content)
        found = list(_pictures(content, {number: index for index, number in enumerate(ids)}, files[part]))
        paths += [folder / picture.picture for picture in found]
        parts += [part] * len(found)
        objects += found
    return Annotations(
        objects=tuple(objects),
        parts=tuple(parts),
        class_names=tuple(names[number] for number in ids),
        category_ids=ids,
        paths=tuple(paths),
    )


def _files_by_part(root: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    folders = [root, root / "annotations", *(root / name for name in _PARTS)]
    candidates = [path for folder in folders if folder.is_dir() for path in sorted(folder.glob("*.json"))]
    for path in sorted(candidates, key=lambda path: not path.name.startswith("instances")):
        words = f"{path.parent.name if path.parent != root else ''} {path.stem}".lower()
        part = next((part for word, part in _PARTS.items() if word in words), None)
        if part:
            found.setdefault(part, path)
    if not found and len(candidates) == 1:
        return {"train": candidates[0]}
    return {part: found[part] for part in ("train", "val", "test") if part in found}


def _loaded(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise DataError(f"{path} is no JSON: {error}") from error
    wanted = ("images", "annotations", "categories")
    if not isinstance(content, dict) or (missing := [name for name in wanted if name not in content]):
        lacks = "a list" if not isinstance(content, dict) else f"without {', '.join(missing)}"
        raise DataError(f"{path} is no COCO file of annotations: it is {lacks}")
    return content


def _category_names(loaded: Mapping[str, Mapping[str, Any]]) -> dict[int, str]:
    """Of all parts: one id has one name."""
    names: dict[int, str] = {}
    problems = []
    for part, content in loaded.items():
        for category in content["categories"]:
            known = names.setdefault(int(category["id"]), str(category["name"]))
            if known != category["name"]:
                problems.append(f"category {category['id']} is {known}, and {category['name']} in {part}")
    refuse("the categories", problems)
    return names


def _pictures(content: Mapping[str, Any], index: Mapping[int, int], path: Path) -> Iterator[Objects]:
    known = {image["id"] for image in content["images"]}
    annotated: dict[Any, list[Mapping[str, Any]]] = defaultdict(list)
    problems = []
    for number, item in enumerate(content["annotations"]):
        if reason := _why_unfit(item, known, index):
            problems.append(f"annotation {item.get('id', number)}: {reason}")
        else:
            annotated[item["image_id"]].append(item)
    unsized = [image for image in content["images"] if not (image.get("width") and image.get("height"))]
    problems += [f"image {image.get('file_name')}: it has no width and height" for image in unsized]
    refuse(str(path), problems)
    for image in content["images"]:
        yield _objects(image, annotated[image["id"]], index)


def _why_unfit(item: Mapping[str, Any], images: set[Any], index: Mapping[int, int]) -> str:
    if item.get("image_id") not in images:
        return f"there is no image {item.get('image_id')}"
    if item.get("category_id") not in index:
        return f"there is no category {item.get('category_id')}"
    return "" if len(item.get("bbox", ())) == 4 else "bbox is not left, top, width, height"


def _objects(
    image: Mapping[str, Any], items: Sequence[Mapping[str, Any]], index: Mapping[int, int]
) -> Objects:
    boxes = [item["bbox"] for item in items]
    return objects_of(
        image["file_name"],
        (image["width"], image["height"]),
        [(left, top, left + width, top + height) for left, top, width, height in boxes],
        [index[item["category_id"]] for item in items],
        is_crowd=[bool(item.get("iscrowd", 0)) for item in items],
        area_px=[item.get("area", box[2] * box[3]) for item, box in zip(items, boxes, strict=True)],
    )


def _picture_folder(path: Path, root: Path, content: Mapping[str, Any]) -> Path:
    """Where the first picture lies."""
    top = root if root.is_dir() else path.parent
    part = path.stem.removeprefix("instances_")
    folders = [path.parent, top, top / "images", top / part, top / "images" / part]
    first = next((image["file_name"] for image in content["images"]), "")
    for folder in folders:
        if (folder / first).is_file():
            return folder
    looked = ", ".join(map(str, dict.fromkeys(folders)))
    raise DataError(f"{first} of {path} is in none of {looked}; give the folder: coco:{path}?images=FOLDER")
