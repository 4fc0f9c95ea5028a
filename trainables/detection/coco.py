"""Annotations in COCO's JSON: one file, or a folder with one for each part."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainables.core.suggest import suggest_path
from trainables.detection.coco_json import (
    Content,
    box_corners,
    is_crowd,
    is_positive,
    is_without_annotations,
    key_of,
    number_of,
    outline_corners,
    read_content,
)
from trainables.detection.coco_layout import files_by_part, image_paths
from trainables.detection.data_sources import Coco
from trainables.detection.entries import Category, Corners, ImageEntry, ObjectEntry
from trainables.engine.findings import Findings
from trainables.engine.images.folder_names import Part


def read_coco(source: Coco, findings: Findings) -> tuple[list[ImageEntry], list[Category]]:
    """Read the images and categories of a folder or a file.

    A folder has a file for each part, at its top, in `annotations/` or in a folder with the part's name; see
    `coco_layout`. A single file is split by the program. Test images without annotations, such as those of
    COCO's `image_info_test2017.json`, are left out. Contradictions are added to `findings`.
    """
    root, given = source.coco, source.images
    if not root.exists():
        findings.add_problem(
            f"{root} does not exist{suggest_path(root)}; write coco:PATH with a folder or a JSON file"
        )
        return [], []
    is_alone = root.is_file()
    paths: dict[Part, Path] = {"train": root} if is_alone else files_by_part(root, findings)
    contents = {part: content for part in paths if (content := read_content(paths[part], findings))}
    top = root.parent if is_alone else root
    files = [
        _CocoFile(part, paths[part], paths[part].relative_to(top).as_posix(), content, findings)
        for part, content in contents.items()
        if not _is_left_out(part, paths[part], content, findings)
    ]
    categories = _categories(files, findings)
    keys = {item.key for item in categories}
    entries = []
    for file in files:
        images = file.images()
        names = [image["file_name"] for image in images.values()]
        places = image_paths(names, file.path, None if is_alone else file.part, root, given, findings)
        objects = file.objects(images, keys)
        entries += [
            file.entry(image, place, objects[key])
            for (key, image), place in zip(images.items(), places, strict=True)
        ]
    return entries, categories


def _is_left_out(part: Part, path: Path, content: Content, findings: Findings) -> bool:
    if not is_without_annotations(content):
        return False
    if part == "test":
        what = f"{path.name} lists {len(content['images'])} images without annotations; they are left out"
        findings.add_note("parts", f"{what}, and a test part is split off")
    else:
        findings.add_problem(f"{path} has images but no annotations; the {part} part needs some")
    return True


@dataclass(frozen=True)
class _CocoFile:
    """The content of one file, which messages call `label`."""

    part: Part
    path: Path
    label: str
    content: Content
    findings: Findings

    def images(self) -> dict[str, Content]:
        """The images by the key of their id, each once."""
        found: dict[str, Content] = {}
        for number, image in enumerate(map(_with_name, self.content["images"]), start=1):
            key, name = _text(image, "id"), image.get("file_name") if isinstance(image, dict) else None
            if not key or not isinstance(name, str) or not name.strip():
                self.findings.add_problem(
                    "image without an id and a file_name", f"{self.label} image number {number}"
                )
            elif (known := found.setdefault(key, image)) is image:
                continue
            elif known["file_name"] == name:
                where = f"{self.label} image {key} ({name})"
                self.findings.leave_out("image that is listed twice", where)
            else:
                where = f"{self.label} image {key} ({known['file_name']} and {name})"
                self.findings.add_problem("image id that more than one image has", where)
        return found

    def objects(self, images: Mapping[str, Content], categories: set[str]) -> Mapping[str, list[ObjectEntry]]:
        """The objects by the key of their image."""
        found: dict[str, list[ObjectEntry]] = defaultdict(list)
        ids: Counter[str] = Counter()
        for number, item in enumerate(self.content["annotations"], start=1):
            own = _text(item, "id")
            ids[own] += bool(own)
            where = f"{self.label} annotation {own or f'number {number}'}"
            if not isinstance(item, dict):
                self.findings.add_problem("annotation that is not a JSON object", where)
            elif entry := self._object(item, where, images, categories):
                found[str(key_of(item["image_id"]))].append(entry)
        for key in (key for key, count in ids.items() if count > 1):
            where = f"{self.label} annotation {key}"
            self.findings.add_note(
                "annotations", "annotation ids that are used twice; each annotation is read", where
            )
        return found

    def _object(
        self, item: Content, where: str, images: Mapping[str, Content], categories: set[str]
    ) -> ObjectEntry | None:
        image, category = key_of(item.get("image_id")), key_of(item.get("category_id"))
        crowd, corners = is_crowd(item), self._corners(item, where)
        if image not in images:
            self._refuse("annotation of an image that does not exist", where, item, "image_id")
        if category not in categories:
            self._refuse("annotation of a category that does not exist", where, item, "category_id")
        if crowd is None:
            self._refuse("iscrowd that is neither 0 nor 1", where, item, "iscrowd")
        if image not in images or category not in categories or crowd is None or corners is None:
            return None
        return ObjectEntry(where, str(category), corners, is_crowd=crowd, area_px=self._area(item, where))

    def _corners(self, item: Content, where: str) -> Corners | None:
        """The corners of the bbox, or of the outline if there is no bbox."""
        if item.get("bbox") not in (None, []):
            corners = box_corners(item["bbox"])
            if corners is None:
                self._refuse("bbox that is not four finite numbers", where, item, "bbox")
            return corners
        if corners := outline_corners(item.get("segmentation")):
            self.findings.add_note("boxes", "boxes taken from the outline, as there is no bbox", where)
        else:
            self.findings.add_problem("annotation without a bbox or an outline", where)
        return corners

    def _area(self, item: Content, where: str) -> float | None:
        area = item.get("area")
        if is_positive(area):
            return float(area)
        if area is not None:
            self.findings.add_note(
                "areas", "areas that are not positive numbers; the box's area counts", f"{where} ({area!r})"
            )
        return None

    def _refuse(self, what: str, where: str, item: Content, name: str) -> None:
        self.findings.add_problem(what, f"{where} ({name} {item.get(name)!r:.60})")

    def entry(self, image: Content, path: Path, objects: Sequence[ObjectEntry]) -> ImageEntry:
        width, height = image.get("width"), image.get("height")
        return ImageEntry(
            where=f"{self.label} image {key_of(image['id'])}",
            name=image["file_name"],
            path=path,
            part=self.part,
            size_px=(width, height) if is_positive(width) and is_positive(height) else None,
            objects=tuple(objects),
        )


def _with_name(image: Any) -> Any:
    """Add a `file_name` from `coco_url`, the only name that LVIS gives an image."""
    url = image.get("coco_url") if isinstance(image, dict) and not image.get("file_name") else None
    return {**image, "file_name": url.rpartition("/")[2]} if isinstance(url, str) else image


def _text(item: Any, name: str) -> str:
    """An id or a name; empty if there is none."""
    return (key_of(item.get(name)) or "") if isinstance(item, dict) else ""


def _categories(files: Sequence[_CocoFile], findings: Findings) -> list[Category]:
    """The categories of all files; an id must have one name, and a name with objects one id."""
    found: dict[str, Category] = {}
    for file in files:
        seen: set[str] = set()
        for number, item in enumerate(file.content["categories"], start=1):
            key, name = _text(item, "id"), _text(item, "name")
            if not key or not name:
                findings.add_problem(
                    "category without an id and a name", f"{file.label} category number {number}"
                )
                continue
            known = found.setdefault(key, Category(key, number_of(key), name))
            if key in seen or known.name != name:
                findings.add_problem(
                    "category id that more than one category has",
                    f"{file.label} category {key} ({known.name} and {name})",
                )
            seen.add(key)
    return _of_one_name(list(found.values()), _used(files), findings)


def _used(files: Sequence[_CocoFile]) -> set[str]:
    return {_text(item, "category_id") for file in files for item in file.content["annotations"]}


def _of_one_name(categories: Sequence[Category], used: set[str], findings: Findings) -> list[Category]:
    """Drop unused categories that share their name with another: Roboflow lists its project as one."""
    by_name: dict[str, list[Category]] = defaultdict(list)
    for item in categories:
        by_name[item.name].append(item)
    kept = []
    for name, items in by_name.items():
        with_objects = [item for item in items if item.key in used] or items[:1]
        if len(with_objects) > 1:
            ids = " and ".join(item.key for item in with_objects)
            findings.add_problem("name that more than one category has", f"{name} is category {ids}")
        for item in items:
            if item not in with_objects:
                findings.leave_out(
                    "category without objects whose name is listed twice", f"{item.key} ({name})"
                )
        kept += with_objects
    return sorted(kept, key=lambda item: (isinstance(item.number, str), item.number))
