"""Reading a table of images and their classes, as competitions and labelling tools provide it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from trainables.core.contract import DataError
from trainables.engine.findings import Findings
from trainables.engine.images.files import ImageFiles
from trainables.engine.images.folder_names import PARTS, part_in, part_of
from trainables.engine.images.folder_tree import FolderTree, is_image
from trainables.engine.tables import read_table

# Names that a column may have, in any case, with blanks or dashes for _; the first that is present counts.
_IMAGE = (
    *("image", "filename", "file_name", "file", "filepath", "filepaths", "file_path", "path", "image_path"),
    *("image_name", "image_id", "img", "images", "name", "id"),
)
_LABEL = ("label", "labels", "class", "class_name", "category", "target", "species", "breed", "class_id", "y")
_PART = ("part", "split", "set", "subset", "data_set", "dataset")
_TRIED = 50  # images to look for in each folder
_MAX_MISSING_FRACTION = 0.01  # of the images, the same as for unreadable ones

Row = Mapping[str, str]


def read_labelled_table(table: Path, given: Path | None) -> ImageFiles:
    """Read the images that a table names, with their classes and parts.

    A cell may name an image with folders, which need not match, or without its ending. Instead of a column
    of classes there may be one for each class, with a 1 in one of them. Rows without a class are left out.

    Args:
        given: The folder of the images; None means the table's, or the one in it that has most of them.

    Raises:
        DataError: The table cannot be read, or contradicts itself or its images; the message has all
            problems.
    """
    header, rows = read_table(table)
    columns = _Columns.of_first_row(header) or _Columns.of(table, header, rows)
    if columns.has_no_header:
        rows = [dict(zip(header, header, strict=True)), *rows]
    findings = Findings()
    folder = _folder_with_most([row[columns.image] for row in rows], table, given)
    found = _found(columns, rows, folder, findings)
    names = _class_names([label for label, _ in found.values()])
    trained = {label for label, part in found.values() if part == "train"}
    if len(trained) < 2:
        findings.add_problem(f"{len(trained)} classes have images to train on; at least 2 are needed")
    for label in [name for name in names if name not in trained and trained]:
        findings.add_problem("class that the training part has no image of", label)
    for path in _beside(found):
        findings.leave_out("image that the table does not name", path.name)
    findings.refuse(str(table))
    return ImageFiles(
        root=folder.root,
        paths=tuple(found),
        labels=tuple(names.index(label) for label, _ in found.values()),
        parts=tuple(part for _, part in found.values()),
        class_names=tuple(names),
        left_out=findings.left_out,
        remarks=(f"images are in {folder.root}, classes in {columns.described}",),
    )


@dataclass(frozen=True)
class _Columns:
    """The roles of the columns: `labels` is one column of classes, or several of which one has a 1."""

    image: str
    labels: tuple[str, ...]
    part: str | None = None
    has_no_header: bool = False

    @classmethod
    def of_first_row(cls, header: Sequence[str]) -> _Columns | None:
        """The columns of a table whose first line is already an image and its class, else None."""
        images = [name for name in header if is_image(Path(name))]
        if len(header) != 2 or len(images) != 1:
            return None
        return cls(images[0], tuple(name for name in header if name not in images), has_no_header=True)

    @classmethod
    def of(cls, table: Path, header: Sequence[str], rows: Sequence[Row]) -> _Columns:
        plain = {re.sub(r"[ -]", "_", name.lower()): name for name in header if name}
        if any(is_image(Path(name)) for name in header):
            raise DataError(f"{table} has no header; let its first line be image,label")
        image = next((plain[name] for name in _IMAGE if name in plain), None)
        label = next((plain[name] for name in _LABEL if name in plain), None)
        part = next((plain[name] for name in _PART if name in plain), None)
        others = tuple(name for name in plain.values() if name not in (image, part))
        labels = (label,) if label else others if _is_one_of(rows, others) else ()
        if image is None or not labels:
            raise DataError(
                f"{table} has the columns {', '.join(header) or 'none'}; it needs one of images "
                f"({', '.join(_IMAGE[:3])}) and one of classes ({', '.join(_LABEL[:3])}), and may have split"
            )
        return cls(image, labels, part)

    def label(self, row: Row) -> str:
        if len(self.labels) == 1:
            return row[self.labels[0]]
        return next((name for name in self.labels if _is_one(row[name])), "")

    @property
    def described(self) -> str:
        if self.has_no_header:
            return "the other column"
        return self.labels[0] if len(self.labels) == 1 else f"{len(self.labels)} columns with a 1 each"


def _is_one_of(rows: Sequence[Row], names: Sequence[str]) -> bool:
    """Whether these columns mark the class of each row with a single 1."""
    return len(names) > 1 and all(
        sum(_is_one(row[name]) for name in names) == 1
        and all(row[name] in ("0", "0.0", "1", "1.0") for name in names)
        for row in rows
    )


def _is_one(cell: str) -> bool:
    return cell in ("1", "1.0")


class _Folder:
    """A folder in which images are looked up by the names in cells."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def find(self, name: str) -> Path | None:
        """Find an image by its whole name, or by its last part, with or without ending, if that is unique."""
        path = self.root / name.replace("\\", "/")
        return path if self.has(name) else self._by_last_part.get(path.name)

    def has(self, name: str) -> bool:
        """Whether the whole name leads to an image."""
        return (self.root / name.replace("\\", "/")).is_file()

    @cached_property
    def _by_last_part(self) -> Mapping[str, Path]:
        """The images in the folder and below by file name, with and without ending, if that is unique."""
        images = FolderTree(self.root).images(self.root)
        names = Counter(name for path in images for name in {path.name, path.stem})
        return {name: path for path in images for name in (path.name, path.stem) if names[name] == 1}


def _folder_with_most(names: Sequence[str], table: Path, given: Path | None) -> _Folder:
    """The folder that has most of the images: the one given, or one of those beside the table.

    Raises:
        DataError: Several have equally many, and none is named like the table's part.
    """
    beside = table.parent
    inner = FolderTree(beside).listing(beside).folders
    folders = [_Folder(root) for root in ([given] if given else [*inner, beside])]
    tried = [name for name in names[:: max(1, len(names) // _TRIED)] if name]
    counts = {folder: sum(map(folder.has, tried)) for folder in folders}
    if not any(counts.values()):  # only then, as `find` lists everything below a folder
        counts = {folder: sum(folder.find(name) is not None for name in tried) for folder in folders}
    tied = [folder for folder in folders if counts[folder] == max(counts.values())]
    named = [folder for folder in tied if part_of(folder.root.name) == (part_in(table.stem) or PARTS[0])]
    alike = [folder.root.name for folder in tied if folder.root != beside]
    if any(counts.values()) and len(named) != 1 and len(alike) > 1:
        raise DataError(
            f"{table}: its images are in {' and in '.join(alike)} equally; say which with {{labels: {table}, "
            "images: FOLDER}"
        )
    if len(named) == 1:
        return named[0]
    return tied[0] if any(counts.values()) else folders[-1]


def _found(
    columns: _Columns, rows: Sequence[Row], folder: _Folder, findings: Findings
) -> dict[Path, tuple[str, str]]:
    """Class and part of each image."""
    found: dict[Path, tuple[str, str]] = {}
    missing = []
    for number, row in enumerate(rows, start=1 if columns.has_no_header else 2):
        name, label, where = row[columns.image], columns.label(row), f"line {number}"
        given = row[columns.part] if columns.part else ""
        part, path = part_of(given) if given else PARTS[0], folder.find(name)
        if not label:
            findings.leave_out("row without a class", f"{where} ({name})")
        elif path is None:
            missing.append(f"{where} ({name})")
        elif part is None:
            findings.add_problem("part that is none of train, val and test", f"{where} ({given})")
        elif found.get(path, (label, part)) != (label, part):
            findings.add_problem("image with two classes or in two parts", f"{where} ({name})")
        elif path in found:
            findings.leave_out("image that is listed twice", f"{where} ({name})")
        else:
            found[path] = label, part
    is_too_many = len(missing) > _MAX_MISSING_FRACTION * len(rows)
    for where in missing:
        if is_too_many:
            findings.add_problem(f"image that is not in {folder.root} (images: FOLDER says where)", where)
        else:
            findings.leave_out("image that does not exist", where)
    return found


def _beside(found: Iterable[Path]) -> list[Path]:
    """Other images in the same folders as those that were found."""
    known = set(found)
    folders = sorted({path.parent for path in known})
    files = [path for folder in folders for path in FolderTree(folder).listing(folder).files]
    return [path for path in files if is_image(path) and path not in known]


def _class_names(labels: Sequence[str]) -> list[str]:
    """The classes in numerical order, or alphabetically if they are not all numbers."""
    names = sorted(Counter(labels))
    return sorted(names, key=int) if all(name.isdecimal() for name in names) else names
