"""Reading a table of images and their classes, as competitions and labelling tools provide it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from trainables.core.contract import DataError
from trainables.engine.findings import Findings, line_of
from trainables.engine.images.file_lookup import ImageFinder
from trainables.engine.images.files import ImageFiles
from trainables.engine.images.folder_names import PARTS, Part, part_in, part_of
from trainables.engine.images.folder_tree import FolderTree, is_image
from trainables.engine.tables import is_parquet, read_table

# Names that a column may have, see `first_named`.
IMAGE_COLUMNS = (
    *("image", "filename", "file_name", "file", "filepath", "filepaths", "file_path", "path", "image_path"),
    *("image_name", "image_id", "img", "images", "name", "id"),
)
LABEL_COLUMNS = (
    "label",
    "labels",
    "class",
    "class_name",
    "category",
    "target",
    "species",
    "breed",
    "class_id",
    "choice",  # Label Studio's
    "y",
)
_VAGUE = {"id", "name"}  # columns that need not be the images'
# fast.ai's is_valid and its like: columns with a yes for each image of one part.
_PART_MARKS: Mapping[str, Part] = {"is_valid": "val", "is_val": "val", "is_test": "test"}
_MAX_MARKED_FRACTION = 2 / 3  # more are no part that is held out: is_valid may also say that a row is usable
PART_COLUMNS = ("part", "split", "set", "subset", "data_set", "dataset")
_TRIED = 50  # images to look for in each folder
_LISTED = 10  # columns in a message: digits have one for each pixel
# Cells of a column for one class.
_MARKS = {"1": "yes", "1.0": "yes", "true": "yes", "0": "no", "0.0": "no", "false": "no"}
_NO_CLASS = {"", "nan", "<na>"}  # what pandas writes for none
_NUMBER = re.compile(r"-?\d+(\.\d*)?")
_JOINED = re.compile(r"\s*[|;,&+/ ]\s*")  # between the classes of an image that has several
_MAX_MISSING_FRACTION = 0.01  # of the images, the same as for unreadable ones

Row = Mapping[str, str]


def read_labelled_table(table: Path, given: Path | None) -> ImageFiles:
    """Read the images that a table names, with their classes and parts.

    A cell may name an image with folders, which need not match, or without its ending. Instead of a column
    of classes there may be one for each class, with a 1 in one of them. Rows without a class are left out.
    Columns are known by their names, those of images and parts also by their cells, and that of classes by
    being the only other one.

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
    findings, renamed = Findings(), list[str]()
    folder = _folder_with_most([row[columns.image] for row in rows], table, given)
    if columns.spare and not any(folder.find(row[columns.image]) for row in rows[:_TRIED]):
        renamed = [f"{columns.image} names no image here, {columns.spare} does"]
        columns = replace(columns, image=columns.spare)
        folder = _folder_with_most([row[columns.image] for row in rows], table, given)
    line, first = ("row", 0) if is_parquet(table) else ("line", 1 if columns.has_no_header else 2)
    places = [f"{line} {number}" for number in range(first, first + len(rows))]
    found = _found(columns, dict(zip(places, rows, strict=True)), folder, findings)
    names = class_order(label for label, _ in found.values())
    check_classes(names, found.values(), findings)
    for path in _beside(found):
        findings.leave_out("image that the table does not name", path.name)
    findings.refuse(str(table))
    number_of = {name: number for number, name in enumerate(names)}
    return ImageFiles(
        root=folder.root,
        paths=tuple(found),
        labels=tuple(number_of[label] for label, _ in found.values()),
        parts=tuple(part for _, part in found.values()),
        class_names=tuple(names),
        left_out=findings.left_out,
        remarks=(f"images are in {folder.root}, classes in {columns.described}", *renamed, *_remarks(names)),
    )


@dataclass(frozen=True)
class _Columns:
    """The roles of the columns: `labels` is one column of classes, or several of which one has a 1.

    Attributes:
        marked: The part of the rows with a yes in the column `part`; None if that names parts.
        spare: The only column with images' endings, if `image` is vague: an id may be a number alone.
    """

    image: str
    labels: tuple[str, ...]
    part: str | None = None
    marked: Part | None = None
    spare: str | None = None
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
        if any(is_image(Path(name)) for name in header):
            raise DataError(f"{table} has no header; let its first line be image,label")
        names = [name for name in header if name]
        part, label = first_named(PART_COLUMNS, names), first_named(LABEL_COLUMNS, names)
        image = first_named(IMAGE_COLUMNS, names)
        marked: Part | None = None
        of_images = [name for name in names if _are_images(row[name] for row in rows[:_TRIED])]
        if image is None and len(of_images) == 1:
            (image,) = of_images
        if part is None and image is not None:
            of_parts = [name for name in names if name != label and _are_parts(row[name] for row in rows)]
            part = of_parts[0] if of_parts else None
        if part is None and len({*names} - {image}) > 1:  # alone it is the class
            part, marked = _marked_part(names, rows)
        rest = tuple(name for name in names if name not in (image, part))
        is_clear = len(rest) == 1 or all(_MARKS.get(row[name].lower()) for row in rows for name in rest)
        labels = (label,) if label else rest if is_clear else ()
        if image is None or not labels:
            more = f" and {len(header) - _LISTED} more" if len(header) > _LISTED else ""
            raise DataError(
                f"{table} has the columns {', '.join(header[:_LISTED]) or 'none'}{more}; it needs one of "
                f"images ({', '.join(IMAGE_COLUMNS[:3])}) and one of classes "
                f"({', '.join(LABEL_COLUMNS[:3])}), and may have split"
            )
        others = [name for name in of_images if name not in (image, *labels)]
        spare = others[0] if others == of_images and len(others) == 1 and _plain(image) in _VAGUE else None
        return cls(image, labels, part, marked, spare)

    def classes(self, row: Row) -> Sequence[str]:
        """The classes that a row names: one, none, or several if several columns have a 1."""
        if len(self.labels) == 1:
            return [row[name] for name in self.labels if row[name].lower() not in _NO_CLASS]
        return [name for name in self.labels if _MARKS.get(row[name].lower()) == "yes"]

    def part_of_row(self, row: Row) -> Part | None:
        """The part of a row, the training part if it says none; None if it names no part."""
        given = row[self.part] if self.part else ""
        if self.marked:
            return self.marked if _MARKS.get(given.lower()) == "yes" else PARTS[0]
        return part_of(given) if given else PARTS[0]

    @property
    def described(self) -> str:
        if self.has_no_header:
            return "the other column"
        classes = self.labels[0] if len(self.labels) == 1 else f"{len(self.labels)} columns with a 1 each"
        return f"{classes}; those marked {self.part} are the {self.marked} part" if self.marked else classes


def first_named(usual: Iterable[str], names: Sequence[str]) -> str | None:
    """The column with the first of the usual names, in any case, with or without blanks, dashes or _."""
    plain = {_plain(name): name for name in reversed(names)}
    return next((plain[_plain(name)] for name in usual if _plain(name) in plain), None)


def _plain(name: str) -> str:
    return re.sub(r"[ _-]", "", name.lower())


def _marked_part(names: Sequence[str], rows: Sequence[Row]) -> tuple[str | None, Part | None]:
    """The column that marks the rows of one part, and that part; None and None without such a column."""
    for name, part in _PART_MARKS.items():
        if column := first_named([name], names):
            marks = [_MARKS.get(row[column].lower()) for row in rows]
            if None not in marks and 0 < marks.count("yes") <= _MAX_MARKED_FRACTION * len(marks):
                return column, part
    return None, None


def _are_images(cells: Iterable[str]) -> bool:
    endings = {is_image(Path(cell)) for cell in cells}
    return endings == {True}


def _are_parts(cells: Iterable[str]) -> bool:
    """Whether a column names the training part and another one: `train` alone may be the vehicle."""
    parts = {part_of(cell) for cell in set(cells)} - {None}
    return "train" in parts and len(parts) > 1


def _folder_with_most(names: Sequence[str], table: Path, given: Path | None) -> ImageFinder:
    """The folder that has most of the images: the one given, or one of those beside the table.

    The table's own folder has all of them if several folders share them.

    Raises:
        DataError: Several have equally many, and none is named like the table's part.
    """
    beside = table.parent
    inner = FolderTree(beside).listing(beside).folders
    folders = [ImageFinder(root) for root in ([given] if given else [*inner, beside])]
    tried = [name for name in names[:: max(1, len(names) // _TRIED)] if name]
    counts = {folder: (sum(map(folder.has, tried)), 0) for folder in folders}
    if len(folders) > 1 and max(counts.values()) < (len(tried), 0):  # only then: it lists all that is below
        counts = {folder: _num_found(folder, tried) for folder in folders}
    most = max(counts.values())
    tied = [folder for folder in folders if counts[folder] == most]
    named = [folder for folder in tied if part_of(folder.root.name) == (part_in(table.stem) or PARTS[0])]
    alike = [folder.root.name for folder in tied if folder.root != beside]
    if any(most) and len(named) != 1 and len(alike) > 1:
        raise DataError(
            f"{table}: its images are in {' and in '.join(alike)} equally; say which with {{labels: {table}, "
            "images: FOLDER}"
        )
    if len(named) == 1:
        return named[0]
    return tied[0] if any(most) else folders[-1]


def _num_found(folder: ImageFinder, names: Sequence[str]) -> tuple[int, int]:
    """How many names lead to an image each, and how many of their folders are those here."""
    shared = [folder.num_shared(name) for name in names]
    return sum(num > 0 for num in shared), sum(shared)


def _found(
    columns: _Columns, rows: Mapping[str, Row], folder: ImageFinder, findings: Findings
) -> dict[Path, tuple[str, str]]:
    """Class and part of each image, from the rows by their places in the table."""
    found: dict[Path, tuple[str, str]] = {}
    missing = []
    for where, row in rows.items():
        name = row[columns.image]
        label, *more = columns.classes(row) or [""]
        given = row[columns.part] if columns.part else ""
        part, paths = columns.part_of_row(row), folder.find(name)
        if not label:
            findings.leave_out("row without a class", f"{where} ({name})")
        elif more:
            classes = f"{where} ({name}: {', '.join((label, *more)[:3])})"
            findings.add_problem("image with several classes, of which it can have only one", classes)
        elif not paths:
            missing.append(f"{where} ({name:.80})")
        elif len(paths) > 1:
            meant = ", ".join(path.relative_to(folder.root).as_posix() for path in paths[:2])
            findings.add_problem("image that may be one of several", f"{where} ({name}: {meant})")
        elif part is None:
            what = f"{columns.part} that is none of train, val and test (rename the column if it is no part)"
            findings.add_problem(what, f"{where} ({given})")
        elif found.get(paths[0], (label, part)) != (label, part):
            findings.add_problem("image with two classes or in two parts", f"{where} ({name})")
        elif paths[0] in found:
            findings.leave_out("image that is listed twice", f"{where} ({name})")
        else:
            found[paths[0]] = label, part
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


def check_classes(names: Sequence[str], found: Iterable[tuple[str, str]], findings: Findings) -> None:
    """Add a problem unless two classes are trained on, and all others too; `found` are classes and parts."""
    trained = {label for label, part in found if part == "train"}
    if len(trained) < 2:
        findings.add_problem(f"{len(trained)} classes have images to train on; at least 2 are needed")
    for label in [name for name in names if name not in trained and trained]:
        findings.add_problem("class that the training part has no image of", label)


def _remarks(names: Sequence[str]) -> list[str]:
    """What is unusual in the names of classes: other case alone, or several names in one."""
    cases = Counter(map(str.casefold, names))
    alike = [name for name in names if cases[name.casefold()] > 1]
    known = set(names)
    joined = [name for name in names if len(parts := _JOINED.split(name)) > 1 and known.issuperset(parts)]
    remarks = []
    if alike:
        remarks.append(line_of("class names that differ only in case", alike))
    if joined:
        what = "classes that read like several others, each taken for one of its own: an image has one class"
        remarks.append(line_of(what, joined))
    numbers = [float(name) for name in names if _NUMBER.fullmatch(name)]
    if len(numbers) == len(names) and not all(map(float.is_integer, numbers)):
        remarks.append("classes are numbers with fractions, each a class of its own and none near another")
    return remarks


def class_order(labels: Iterable[str]) -> list[str]:
    """The classes in numerical order, or alphabetically if they are not all numbers."""
    names = sorted(set(labels))
    return sorted(names, key=int) if all(name.isdecimal() for name in names) else names
