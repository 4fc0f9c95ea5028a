"""Annotations in Pascal VOC's XML, one file per image."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from unicodedata import normalize
from xml.etree import ElementTree

from trainables.core.suggest import suggest_path
from trainables.detection.entries import Category, ImageEntry, ObjectEntry
from trainables.detection.voc_lists import read_lists
from trainables.engine.findings import Findings
from trainables.engine.images.folder_names import Part, is_never_data, part_of
from trainables.engine.images.reading import endings

_ANNOTATION_FOLDERS = ("annotations", "annotation", "xmls", "xml", "labels")
_IMAGE_FOLDERS = ("jpegimages", "images", "imgs", "img", "data")
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_YES = {"1", "true", "yes"}


def read_voc(root: Path, findings: Findings) -> tuple[list[ImageEntry], list[Category]]:
    """Read the images and classes of a folder with XML files in `Annotations/` or at its top.

    Images are in `JPEGImages/` or `images/`, or beside the XML files. `ImageSets/Main/` assigns them to
    train, val and test (see `voc_lists`), or they are in folders of these names; otherwise the program
    splits. Coordinates are used unchanged, although tools differ in whether they count pixels from 1.
    Classes are numbered in the order of their names. Contradictions are added to `findings`.
    """
    groups = _groups(root) if root.is_dir() else []
    if not groups:
        findings.add_problem(_no_annotations_reason(root))
        return [], []
    entries = [entry for group in groups for entry in _entries(group, root, findings)]
    names = sorted({item.category for entry in entries for item in entry.objects})
    return entries, [Category(name, number, name) for number, name in enumerate(names)]


@dataclass(frozen=True)
class _Group:
    """XML files and the folders where their images may be, of one part or of any."""

    part: Part | None
    files: Sequence[Path]
    folders: Sequence[Path]


def _groups(root: Path) -> list[_Group]:
    """One group for the whole folder, or one for each folder of a part."""
    holders = [*_subfolders(root, _ANNOTATION_FOLDERS), root]
    images = _subfolders(root, _IMAGE_FOLDERS)
    for holder in holders:
        if files := _xml_files(holder):
            return [_Group(None, files, [*images, root, holder])]
    found = []
    for holder in holders:
        for folder in sorted(holder.iterdir()):
            part = part_of(folder.name) if folder.is_dir() else None
            own = [*_subfolders(folder, _ANNOTATION_FOLDERS), folder] if part else []
            if files := [path for place in own for path in _xml_files(place)]:
                beside = [inner for top in (*images, root) if (inner := top / folder.name).is_dir()]
                folders = [*_subfolders(folder, _IMAGE_FOLDERS), *beside, *own, *images]
                found.append(_Group(part, files, list(dict.fromkeys(folders))))
    return found


def _subfolders(folder: Path, names: Sequence[str]) -> list[Path]:
    """The subfolders with one of these names, in any case."""
    entries = [entry for entry in sorted(folder.iterdir()) if entry.name.lower() in names and entry.is_dir()]
    return sorted(entries, key=lambda entry: names.index(entry.name.lower()))


def _xml_files(folder: Path) -> list[Path]:
    return [
        path
        for path in sorted(folder.iterdir())
        if path.suffix.lower() == ".xml" and not is_never_data(path.name)
    ]


def _no_annotations_reason(root: Path) -> str:
    if not root.is_dir():
        kind = "is a file" if root.exists() else f"does not exist{suggest_path(root)}"
        return f"{root} {kind}; write voc:FOLDER with a folder that has Annotations/*.xml"
    deeper = [path for path in sorted(root.iterdir()) if path.is_dir() and _groups(path)]
    hint = f"; {' and '.join(f'voc:{path}' for path in deeper[:3])} has some" if deeper else ""
    return f"{root} has no XML files; write voc:FOLDER with a folder that has Annotations/*.xml{hint}"


def _entries(group: _Group, root: Path, findings: Findings) -> Iterator[ImageEntry]:
    by_stem = {normalize("NFC", path.stem): path for path in group.files}
    listed = None if group.part else read_lists(root, list(by_stem), findings)
    if listed is None:
        listed = [(group.part or "train", stem) for stem in by_stem]
    images = _Images.of(group.folders)
    read = {stem: _XmlFile.read(by_stem[stem], root, findings) for _, stem in listed}
    for part, stem in listed:
        if file := read[stem]:
            yield file.entry(part, images, group.folders[0])


@dataclass(frozen=True)
class _Images:
    """The files of the folders where images may be, by name and by name without suffix, accents as in NFC."""

    by_name: Mapping[str, Path]
    by_stem: Mapping[str, Sequence[Path]]

    @classmethod
    def of(cls, folders: Sequence[Path]) -> _Images:
        by_name: dict[str, Path] = {}
        by_stem: dict[str, list[Path]] = defaultdict(list)
        for path in (path for folder in folders for path in sorted(folder.iterdir())):
            name = normalize("NFC", path.name)
            if path.suffix.lower() in endings() and not is_never_data(name) and name not in by_name:
                by_name[name] = path
                by_stem[normalize("NFC", path.stem)].append(path)
        return cls(by_name, by_stem)

    def find(self, stem: str, filename: str, where: str, findings: Findings) -> Path | None:
        """Find the image of an XML file: the one of the same name, or else the one in `<filename>`."""
        given = self._given(filename)
        own = self.by_stem.get(normalize("NFC", stem), ())
        if given in own:
            return given
        if len(own) > 1:
            findings.add_problem(
                "XML file with more than one image of its name", f"{where} ({own[0].name}, {own[1].name})"
            )
        elif own and given:
            what = "XML files whose <filename> is another image; the one of the file's own name is taken"
            findings.add_note("files", what, f"{where} ({filename})")
        return own[0] if own else given

    def _given(self, filename: str) -> Path | None:
        """The image named by `<filename>`, ignoring its folders, and its suffix if no image has it."""
        last = normalize("NFC", PureWindowsPath(filename).name)  # accepts both kinds of slash
        of_stem = (*self.by_stem.get(last, ()), *self.by_stem.get(PureWindowsPath(last).stem, ()))
        return self.by_name.get(last) or next(iter(of_stem), None)


@dataclass(frozen=True)
class _XmlFile:
    """One file, which messages call `label`."""

    path: Path
    label: str
    root: ElementTree.Element
    findings: Findings

    @classmethod
    def read(cls, path: Path, root: Path, findings: Findings) -> _XmlFile | None:
        label = (
            path.name
            if path.parent.parent == root or path.parent == root
            else path.relative_to(root).as_posix()
        )
        try:
            element = ElementTree.parse(path).getroot()
        except (OSError, ValueError, LookupError, ElementTree.ParseError) as error:  # also unknown encodings
            findings.add_problem("XML file that cannot be read", f"{label} ({error})")
            return None
        if element.tag != "annotation":
            findings.add_problem(
                "XML file whose root is not <annotation>, so not Pascal VOC's", f"{label} (<{element.tag}>)"
            )
            return None
        return cls(path, label, element, findings)

    def entry(self, part: Part, images: _Images, folder: Path) -> ImageEntry:
        filename = _text(self.root, "filename")
        found = images.find(self.path.stem, filename, self.label, self.findings)
        path = found or folder / (PureWindowsPath(filename).name or self.path.stem)
        items = list(self.root.iterfind("object"))
        objects = [
            self._object(item, f"{self.label} object {number}") for number, item in enumerate(items, 1)
        ]
        return ImageEntry(
            where=self.label,
            name=path.name,
            path=path,
            part=part,
            size_px=self._size(),
            objects=tuple(item for item in objects if item),
        )

    def _size(self) -> tuple[float, float] | None:
        width, height = (_number(_text(self.root, f"size/{side}")) for side in ("width", "height"))
        return (width, height) if width and height and width > 0 and height > 0 else None

    def _object(self, item: ElementTree.Element, where: str) -> ObjectEntry | None:
        name, texts = _text(item, "name"), [_text(item, f"bndbox/{corner}") for corner in _CORNERS]
        numbers = [number for text in texts if (number := _number(text)) is not None]
        if not name:
            self.findings.add_problem("object without a name", where)
        if not any(texts):
            self.findings.add_problem("object without a bndbox", f"{where} ({name})")
        elif len(numbers) < len(_CORNERS):
            self.findings.add_problem(
                "bndbox that is not four finite numbers", f"{where} ({', '.join(texts)})"
            )
        if not name or len(numbers) < len(_CORNERS):
            return None
        left, top, right, bottom = numbers
        return ObjectEntry(
            where, name, (left, top, right, bottom), is_crowd=_text(item, "difficult").lower() in _YES
        )


def _text(element: ElementTree.Element, name: str) -> str:
    return (element.findtext(name) or "").strip()


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
