"""Reading images and their classes from Parquet, Arrow and tar files, as hubs and libraries write them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa

from trainables.core.contract import DataError
from trainables.core.suggest import suggest
from trainables.engine.findings import Findings
from trainables.engine.images.data_sources import Shards
from trainables.engine.images.file_lookup import ImageFinder
from trainables.engine.images.files import ImageFiles
from trainables.engine.images.folder_names import Part, part_of
from trainables.engine.images.labelled_table import (
    IMAGE_COLUMNS,
    LABEL_COLUMNS,
    PART_COLUMNS,
    check_classes,
    class_order,
    first_named,
    read_labelled_table,
)
from trainables.engine.images.reading import StoredImage
from trainables.engine.images.shard_layout import find_parts
from trainables.engine.images.tar_shards import TarShard
from trainables.engine.shards import ADDED, ReadWindow, Shard, column_of_bytes, damage_named, open_shard

_UNLABELLED = -1  # what `datasets` writes for a test set whose classes are secret
_LISTS = "; an image can have only one class"
_BOXES = "; boxes are read by detection, from COCO's, Pascal VOC's or YOLO's files"


@dataclass(frozen=True, slots=True)
class ShardRow:
    """An image in a row of a shard, counted from 0."""

    shard: Shard
    column: str
    row: int

    def read_bytes(self) -> bytes:
        return self.shard.value(self.column, self.row)

    def stat(self) -> Any:
        return self.shard.path.stat()

    def __str__(self) -> str:
        return f"{self.shard.path} {self.shard.place(self.row)}"


@dataclass(frozen=True)
class _Columns:
    """The roles of columns: the path of the image's bytes, and names."""

    image: str
    label: str
    part: str | None


@dataclass
class _Found:
    """The images so far, with the class and part of each, and the names that the files give classes."""

    images: list[StoredImage] = field(default_factory=list)
    labels: list[tuple[str, str]] = field(default_factory=list)
    names: dict[str, None] = field(default_factory=dict)


def read_labelled_shards(source: Shards) -> ImageFiles:
    """Read which images the files have; the images themselves are read as they are needed.

    A single file without images in it is a table that names them, see `read_labelled_table`.

    Raises:
        DataError: The files cannot be read, or contradict themselves; the message has all problems.
    """
    path, findings, remarks, window = source.shards, Findings(), list[str](), ReadWindow()
    by_part = find_parts(path, findings, remarks)
    shards = {part: [_opened(file, window) for file in files] for part, files in by_part.items()}
    first, *others = [shard for of_part in shards.values() for shard in of_part]
    if not others and not any(map(column_of_bytes, first.schema)):
        return read_labelled_table(first.path, None)
    columns = _columns(first, source, is_split=len(shards) > 1)
    root = path.parent if path.is_file() else path
    found = _Found()
    for part, of_part in shards.items():
        for shard in of_part:
            with damage_named(shard.path):
                _add_rows(shard, columns, part, found, findings, shard.path.relative_to(root).as_posix())
    if not found.images:
        reasons = "; ".join(map(str, findings.left_out)) or "it has no rows"
        raise DataError(f"{path} has no row with an image and a class: {reasons}")
    used = {label for label, _ in found.labels}
    names = [name for name in found.names if name in used] + class_order(used - found.names.keys())
    for name in [name for name in found.names if name not in used]:
        findings.leave_out("class without an image", name)
    check_classes(names, found.labels, findings)
    findings.refuse(str(path))
    number_of = {name: number for number, name in enumerate(names)}
    named_by = ", named by the file's schema" if found.names else ""
    of_images = columns.image.removesuffix(".bytes")
    columns_remark = f"images are in the column {of_images}, classes in {columns.label}{named_by}"
    return ImageFiles(
        root=root,
        paths=tuple(found.images),
        labels=tuple(number_of[label] for label, _ in found.labels),
        parts=tuple(part for _, part in found.labels),
        class_names=tuple(names),
        left_out=findings.left_out,
        remarks=(columns_remark, *remarks),
        block_starts=_block_starts(found.images),
    )


def _opened(path: Path, window: ReadWindow) -> Shard:
    if path.suffix.lower() != ".tar":
        return open_shard(path, window)
    with damage_named(path):
        return TarShard(path)


def _columns(shard: Shard, source: Shards, *, is_split: bool) -> _Columns:
    """The columns of a data set by its first file.

    Raises:
        DataError: None or several may have the images, or the classes.
    """
    fields = {each.name: each for each in shard.schema if not ADDED.fullmatch(each.name)}
    marked = [name for name, feature in shard.features().items() if _kind_of(feature) == "Image"]
    of_bytes = {name: path for name, each in fields.items() if (path := column_of_bytes(each))}
    images = [name for name in of_bytes if name in marked] or list(of_bytes)
    image = _chosen("image", source.image, source, fields, images, first_named(IMAGE_COLUMNS, images))
    rest = [name for name in fields if name not in of_bytes]
    parts = [name for name in rest if not is_split and _are_parts(shard, fields[name])]
    part = first_named(PART_COLUMNS, parts)
    named_images = {name for name in rest if first_named(IMAGE_COLUMNS, [name])} - {source.label}
    able = (name for name in rest if name != part and _is_plain(fields[name].type))
    classes = [name for name in able if name not in named_images]
    marked = [name for name in classes if shard.class_names(name)]
    usual = first_named(LABEL_COLUMNS, classes) or (marked[0] if len(marked) == 1 else None)
    label = _chosen("label", source.label, source, fields, classes, usual)
    return _Columns(of_bytes[image], label, part)


def _chosen(
    role: str,
    wanted: str | None,
    source: Shards,
    fields: Mapping[str, pa.Field],
    able: Sequence[str],
    usual: str | None,
) -> str:
    """The column of a role: the one that is wanted, has a usual name, or is the only one that can be it."""
    chosen = wanted or usual or (able[0] if len(able) == 1 else None)
    if chosen is not None and chosen in able:
        return chosen
    listed = ", ".join(f"{name} ({each.type})"[:80] for name, each in fields.items())
    what = "bytes of images" if role == "image" else "a class for each image, as whole numbers or words"
    if wanted:
        problem = f"no column {wanted} with {what}{suggest(wanted, able)}"
    elif able:
        problem = f"{' and '.join(able)}, each of which may be the {role}; write {{shards: {source.shards}, "
        problem += f"{role}: {able[0]}}}"
    else:
        problem = f"no column with {what}"
    raise DataError(
        f"{source.shards} has {problem}; its columns are {listed}{_reason(source, fields.values())}"
    )


def _reason(source: Shards, fields: Iterable[pa.Field]) -> str:
    """Why there may be no column with a class for each image; empty if that is unknown."""
    if all(map(column_of_bytes, fields)) and source.shards.suffix.lower() == ".tar":
        return "; if the folders in it are the classes, unpack it"
    kinds = [each.type for each in fields if column_of_bytes(each) is None and pa.types.is_nested(each.type)]
    lists = [
        kind for kind in kinds if not pa.types.is_struct(kind) and not pa.types.is_nested(kind.value_type)
    ]
    return (_LISTS if lists else _BOXES) if kinds else ""


def _kind_of(feature: Any) -> Any:
    return feature.get("_type") if isinstance(feature, dict) else None


def _is_plain(kind: pa.DataType) -> bool:
    """Whether a column may have classes: whole numbers, words, or numbers that pandas made floats."""
    of = pa.types
    kind = kind.value_type if of.is_dictionary(kind) else kind
    tests = (
        of.is_integer,
        of.is_string,
        of.is_large_string,
        of.is_string_view,
        of.is_boolean,
        of.is_floating,
    )
    return any(test(kind) for test in tests) or bool(of.is_null(kind))


def _are_parts(shard: Shard, each: pa.Field) -> bool:
    """Whether a column has the usual name of one with parts, and nothing else in it."""
    if first_named(PART_COLUMNS, [each.name]) is None or not _is_plain(each.type):
        return False
    values = set(shard.column(each.name)) - {None}
    return len(values) > 1 and all(isinstance(value, str) and part_of(value) for value in values)


def _add_rows(
    shard: Shard, columns: _Columns, part: Part, found: _Found, findings: Findings, name: str
) -> None:
    """Add the rows of a file that have an image and a class."""
    stored, labels = _stored_images(shard, columns.image), _values(shard, columns.label)
    names, given = shard.class_names(columns.label), _values(shard, columns.part)
    found.names |= dict.fromkeys(names)
    none = {None, "", _UNLABELLED} if names or set(labels) == {_UNLABELLED} else {None, ""}
    for row, label in enumerate(labels):
        label, where = label.strip() if isinstance(label, str) else label, f"{name} {shard.place(row)}"
        if (image := stored[row]) is None:
            findings.leave_out("row without an image", where)
        elif label in none or label != label:  # pandas writes NaN
            findings.leave_out("row without a class", where)
        elif (text := _class_of(label, names)) is None:
            what = "class that is no word, and no number that the schema has a name for"
            findings.add_problem(what, f"{where} ({label!r:.40})")
        else:
            found.images.append(image)
            found.labels.append((text, part_of(str(given[row])) or part))


def _stored_images(shard: Shard, column: str) -> list[StoredImage | None]:
    """What each row's image is read from: the row, or the file that it names; None if neither has it."""
    name, fields = column.removesuffix(".bytes"), {each.name: each for each in shard.schema}
    if name not in fields or column_of_bytes(fields[name]) != column:
        raise DataError(f"{shard.path} has no bytes in a column {column}, as the first file has")
    stored: list[StoredImage | None] = [ShardRow(shard, column, row) for row in range(shard.num_rows)]
    empty = shard.without_value(column).tolist()
    is_named = column != name and fields[name].type.get_field_index("path") >= 0
    paths = shard.column(f"{name}.path") if is_named and empty else [None] * shard.num_rows
    beside = ImageFinder(shard.path.parent)
    for row in empty:
        found = beside.find(paths[row]) if paths[row] else ()
        stored[row] = found[0] if len(found) == 1 else None
    return stored


def _values(shard: Shard, name: str | None) -> list[Any]:
    """The values of a column of words or numbers; None in each row of a file without it."""
    if name is None or name not in shard.schema.names:
        return [None] * shard.num_rows
    if not _is_plain(kind := shard.schema.field(name).type):
        raise DataError(f"{shard.path} has {kind} in its column {name}, not whole numbers or words")
    return shard.column(name)


def _class_of(label: Any, names: Sequence[str]) -> str | None:
    """The class of a value: the schema's name of its number, or the value itself; None if it has no name."""
    if isinstance(label, float) and label.is_integer():
        label = int(label)
    if isinstance(label, int) and names:
        return names[label] if 0 <= label < len(names) else None
    return None if isinstance(label, float) else str(label)


def _block_starts(images: Sequence[StoredImage]) -> tuple[int, ...]:
    """The index of the first image of each block of each file; empty if no file has blocks."""
    blocks = [
        (id(image.shard), image.shard.block_of(image.row)) if isinstance(image, ShardRow) else (0, -1)
        for image in images
    ]
    if all(block == -1 for _, block in blocks):
        return ()
    starts, start = [], 0
    for _, of_block in groupby(blocks):
        starts.append(start)
        start += len(list(of_block))
    return tuple(starts)
