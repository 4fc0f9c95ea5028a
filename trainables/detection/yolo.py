"""Boxes in YOLO's text files with a data.yaml: a line for each object, in fractions of its image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from trainables.core.suggest import suggest_path
from trainables.detection.coco_json import is_finite, outline_corners
from trainables.detection.entries import Category, Corners, ImageEntry, ObjectEntry
from trainables.detection.image_files import read_headers
from trainables.engine.findings import Findings
from trainables.engine.images.file_lookup import forms, is_file, is_folder, spellings
from trainables.engine.images.folder_names import PARTS, Part, part_of
from trainables.engine.images.folder_tree import FolderTree

_ENDINGS = (".yaml", ".yml")
_USUAL = ("data.yaml", "dataset.yaml", "data.yml")
_EXAMPLE = "train: images/train, val: images/val, names: [cat, dog]"
_MAX_SHARE = 2.0  # mistakes are below, pixel coordinates above
_MAX_UNFIT_FRACTION = 0.1  # of all boxes; more are not mistakes but pixels


def read_yolo(path: Path, findings: Findings) -> tuple[list[ImageEntry], list[Category]]:
    """Read the images and classes named by a data.yaml, given by its path or its folder's.

    Its parts are folders, lists of images in text files, or several of either, relative to its `path`, to
    its folder, or as Roboflow writes them. Labels are beside images, or in `labels` if images are in
    `images`. A line of more than five numbers is an outline, whose box is used; with `kpt_shape` it is a box
    and keypoints. An image without a label file has no objects. A folder without a data.yaml may have a
    `classes.txt`. Contradictions are added to `findings`.
    """
    content, folder = _content(path, findings)
    if content is None:
        return [], []
    names = _names(content, findings)
    places = _Places(content, folder)
    parts = [(part, image) for part in PARTS for image in places.images(part, findings)]
    if not any(part == "train" for part, _ in parts) and not findings.problems:
        findings.add_problem(f"{path} names no images to train on; write {_EXAMPLE}")
    labels = _Labels(names, folder, findings, has_keypoints=bool(content.get("kpt_shape")))
    tested = [image for part, image in parts if part == "test"]
    if tested and not any(map(labels.has_file, tested)):
        what = f"the test part has {len(tested)} images and no label file; they are left out"
        findings.add_note("parts", f"{what}, and a test part is split off")
        parts = [(part, image) for part, image in parts if part != "test"]
    headers = read_headers([image for _, image in parts])
    entries = []
    for (part, image), header in zip(parts, headers, strict=True):
        size_px = header.upright_px if header.width else None  # decoding reports unreadable files
        objects = labels.objects(image, size_px) if size_px else ()
        entries.append(ImageEntry(_below(image, folder), image.name, image, part, size_px, tuple(objects)))
    labels.check(len(entries))
    categories = [Category(str(number), number, name) for number, name in sorted(names.items())]
    return entries, categories


def _content(path: Path, findings: Findings) -> tuple[Mapping[str, Any] | None, Path]:
    """The content of a data.yaml and its folder; None if there is none, which is added as a problem."""
    if not path.exists():
        findings.add_problem(f"{path} does not exist{suggest_path(path)}; write yolo:PATH with a data.yaml")
        return None, path
    folder = path if path.is_dir() else path.parent
    file = _data_file(folder) if path.is_dir() else path
    if file is None and (listed := folder / "classes.txt").is_file():
        return {**_parts_by_folder(folder), "names": list(_lines(listed, findings))}, folder
    if file is None:
        findings.add_problem(f"{folder} has no data.yaml; write one such as {_EXAMPLE}")
        return None, folder
    try:
        text = file.read_text("utf-8-sig")
        content, as_text = YAML(typ="safe", pure=True).load(text), YAML(typ="base", pure=True).load(text)
    except (OSError, ValueError, YAMLError) as error:
        findings.add_problem(f"{file} is not YAML: {' '.join(str(error).split())[:200]}")
        return None, folder
    if not isinstance(content, dict):
        findings.add_problem(f"{file} is not a data.yaml of YOLO; write a mapping such as {_EXAMPLE}")
        return None, folder
    if isinstance(content.get("names"), list | dict):
        return {**content, "names": as_text["names"]}, folder  # 007, null and 1.10 are classes' names too
    return content, folder


def _lines(path: Path, findings: Findings) -> Iterator[str]:
    """The lines of a text file that are not empty; none if it is not UTF-8, which is added as a problem."""
    try:
        yield from (line.strip() for line in path.read_text("utf-8-sig").splitlines() if line.strip())
    except UnicodeDecodeError as error:
        findings.add_problem(f"{path} is not UTF-8 (byte {error.start}); save it as UTF-8")


def _parts_by_folder(folder: Path) -> dict[str, str]:
    """The folders of parts, at the top or in `images`; that or the top as training part if there are none."""
    images = folder / "images" if (folder / "images").is_dir() else folder
    for top in (images, folder):
        folders = [each for each in sorted(top.iterdir()) if each.is_dir()]
        parts = {str(part): str(each) for each in folders if (part := part_of(each.name))}
        if "train" in parts:
            return parts
    return {"train": str(images)}


def _data_file(folder: Path) -> Path | None:
    """The data file: the one with a usual name, or the only YAML file."""
    found = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in _ENDINGS and path.is_file()]
    usual = [path for path in found if path.name.lower() in _USUAL]
    return (usual or found)[0] if usual or len(found) == 1 else None


def _names(content: Mapping[str, Any], findings: Findings) -> dict[int, str]:
    """The class name of each number, from a list, a mapping, or only the count in `nc`."""
    names, count = content.get("names"), content.get("nc")
    if names is None and isinstance(count, int):
        names = list(range(count))
    if isinstance(names, list):
        names = dict(enumerate(names))
    if isinstance(names, dict) and names and all(str(number).isdecimal() for number in names):
        return {int(number): str(name) for number, name in names.items()}
    findings.add_problem(
        f"names must be a list of classes, or a mapping from their numbers, got {names!r:.60}"
    )
    return {}


class _Places:
    """The places of images that a data.yaml names.

    Args:
        folder: The folder of the data.yaml.
    """

    def __init__(self, content: Mapping[str, Any], folder: Path) -> None:
        self._folder = folder
        self._texts: dict[Path, str] = {}  # what each place is called
        self._by_part: dict[Part, Any] = {}
        for key, given in content.items():
            if (part := part_of(str(key))) and given:
                self._by_part.setdefault(part, given)
        given = Path(str(content.get("path") or "."))
        tops = (folder / given, folder / given.name, folder)  # the latter two if it is from another machine
        self._root = next(top for top in tops if top.is_dir())

    def images(self, part: Part, findings: Findings) -> Iterator[Path]:
        """The images of a part; a place that does not exist is a problem, but for a missing test part.

        Roboflow and others name a test part whether there is one or not.
        """
        given = self._by_part.get(part, [])
        for one in given if isinstance(given, list) else [given]:
            text = PurePosixPath(str(one).replace("\\", "/")).as_posix()
            place = self._found(text, self._root)
            if place is None and part == "test":
                what = f"test: {text} does not exist; a test part is split off"
                findings.add_note("parts", what)
            elif place is None:
                findings.add_problem(f"{part}: {text} is not in {self._root}; correct it, or path")
            elif self._texts.setdefault(place, text) != text:
                both = f"{self._texts[place]} and {text}"
                findings.add_problem(
                    f"{both} are not in {self._root}, or are both {place}; correct them, or path"
                )
            elif place.is_dir():
                yield from FolderTree(place).images(place)
            else:
                lines = _lines(place, findings)
                yield from (self._found(line, place.parent) or place.parent / line for line in lines)

    def _found(self, text: str, top: Path) -> Path | None:
        """Find a path from its possible bases, also if its first folders are another machine's.

        Roboflow's `../train/images` starts one level too high.
        """
        paths = (start / each for each in spellings(text) for start in (top, self._root, self._folder))
        return next((path for path in paths if is_file(path) or is_folder(path)), None)


class _Labels:
    """The objects of images, read from the text files of the same names."""

    def __init__(
        self, names: Mapping[int, str], folder: Path, findings: Findings, *, has_keypoints: bool
    ) -> None:
        self._names, self._folder, self._findings = names, folder, findings
        self._has_keypoints = has_keypoints
        self._num_boxes = self._num_labels = 0
        self._unfit: list[str] = []
        self._last = Path()

    def has_file(self, image: Path) -> bool:
        """Whether an image has a label file."""
        return any(map(is_file, self._candidates(image)))

    def objects(self, image: Path, size_px: tuple[float, float]) -> Iterator[ObjectEntry]:
        label = next(filter(is_file, self._candidates(image)), None)
        if label is None:
            self._last = next(iter(self._candidates(image)))
            what = "images without a label file, taken to have no objects"
            self._findings.add_note("files", what, image.name)
            return
        self._num_labels += 1
        for number, line in enumerate(label.read_text("utf-8-sig", errors="replace").splitlines(), 1):
            where = f"{_below(label, self._folder)} line {number}"
            if line.strip() and (entry := self._object(line.split(), where, size_px)):
                yield entry

    def check(self, num_images: int) -> None:
        """Check, once all labels are read, that there are some and that they are fractions."""
        if num_images and not self._num_labels:
            self._findings.add_problem(f"no image has a label file, such as {self._last}")
        if len(self._unfit) > _MAX_UNFIT_FRACTION * self._num_boxes:
            what = f"number above 1, in over 10 % of {self._num_boxes} boxes: give shares of width and height"
            for where in self._unfit:
                self._findings.add_problem(what, where)

    def _candidates(self, image: Path) -> Sequence[Path]:
        """Possible label files: in `labels` in place of the last `images`, and beside the image."""
        parts = list(image.parts)
        last = max((place for place, name in enumerate(parts[:-1]) if name.lower() == "images"), default=None)
        if last is not None:
            parts[last] = "labels"
        places = list(dict.fromkeys([Path(*parts).with_suffix(".txt"), image.with_suffix(".txt")]))
        return [path.with_name(name) for path in places for name in forms(path.name)]

    def _object(self, words: Sequence[str], where: str, size_px: tuple[float, float]) -> ObjectEntry | None:
        try:
            category, *numbers = map(float, words)
        except ValueError:
            self._findings.add_problem("line that is not numbers alone", f"{where} ({' '.join(words)[:40]})")
            return None
        shares = _corners(numbers[:4] if self._has_keypoints else numbers)
        if category not in self._names:
            self._findings.add_problem("object of a class that names does not have", f"{where} ({words[0]})")
        elif shares is None:
            what = "line that is neither a class and a box (5 numbers) nor a class and an outline (7 or more)"
            self._findings.add_problem(what, f"{where} ({len(words)} numbers)")
        else:
            self._num_boxes += 1
            if max(shares) > _MAX_SHARE:
                self._unfit.append(where)
            (left, top, right, bottom), (width, height) = shares, size_px
            corners = (left * width, top * height, right * width, bottom * height)
            return ObjectEntry(where, str(int(category)), corners)
        return None


def _corners(numbers: Sequence[float]) -> Corners | None:
    """The corners of a box (given as centre and sides) or of an outline, in fractions; None if neither."""
    if not all(map(is_finite, numbers)):
        return None
    if len(numbers) == 4:
        x, y, width, height = numbers
        return x - width / 2, y - height / 2, x + width / 2, y + height / 2
    return outline_corners(list(numbers)) if len(numbers) >= 6 else None


def _below(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)
