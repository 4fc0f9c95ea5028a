"""Which Parquet, Arrow and tar files of a folder are the parts of a data set, by the names hubs give them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from trainables.core.contract import DataError
from trainables.engine.findings import Findings, line_of
from trainables.engine.images.data_sources import Shards
from trainables.engine.images.folder_names import PARTS, Part, part_in, part_of
from trainables.engine.images.folder_tree import FolderTree

_NUMBERED = re.compile(r"(?P<split>.+?)-(?P<number>\d+)-of-(?P<count>\d+)(-[0-9a-f]{16})?")
_NUMBER = re.compile(r"[-_. ]?\d+$")
_DERIVED = re.compile(r"cache-[0-9a-f]+(_\d+_of_\d+)?\.arrow")  # what `Dataset.map` leaves beside its input
_DIGITS = re.compile(r"(\d+)")


@dataclass(frozen=True)
class _File:
    """One file, with what its name says.

    Attributes:
        data_set: The folders above it that name no part; a hub has a folder for each variant of a data set.
        split: What names its part: its own name without numbers, or else a folder's.
    """

    path: Path
    data_set: tuple[str, ...]
    split: str

    @classmethod
    def of(cls, path: Path, root: Path) -> _File:
        numbered = _NUMBERED.fullmatch(path.stem)
        own = _NUMBER.sub("", numbered["split"] if numbered else path.stem)
        folders = path.relative_to(root).parts[:-1]
        splits = [name for name in (own, *reversed(folders)) if part_in(name)]
        return cls(path, tuple(name for name in folders if not part_in(name)), (splits or [own])[0])

    @property
    def part(self) -> Part | None:
        return part_in(self.split)


def find_parts(root: Path, findings: Findings, remarks: list[str]) -> dict[Part, list[Path]]:
    """The files of each part, in the order of their numbers; all are the training part if none names one.

    Raises:
        DataError: No such file, several data sets, or parts without one to train on.
    """
    if root.is_file():
        return {PARTS[0]: [root]}
    tree = FolderTree(root)
    files = [_File.of(path, root) for path in sorted(_shards(tree, root, findings), key=_in_order)]
    if not files:
        endings = " or ".join(Shards.endings)
        raise DataError(f"{root} has no files ending in {endings}, at most {Shards.depth} folders deep")
    named = [file for file in files if file.part]
    data_sets = sorted({"/".join(file.data_set) for file in named or files})
    if len(data_sets) > 1:
        raise DataError(
            f"{root} has several data sets, in {' and in '.join(name or 'itself' for name in data_sets)}; "
            f"give one of them: shards:{root / data_sets[-1]}"
        )
    for file in files if named else ():
        if not file.part:
            findings.leave_out("file of no part", file.path.relative_to(root).as_posix())
    remarks += _missing([file.path for file in named or files])
    return _by_part(root, named, findings, remarks) if named else {PARTS[0]: [file.path for file in files]}


def _shards(tree: FolderTree, folder: Path, findings: Findings, depth: int = 0) -> Iterator[Path]:
    listing = tree.listing(folder)
    for path in listing.files:
        if _DERIVED.fullmatch(path.name):
            findings.leave_out("file that `datasets` derived", path.relative_to(tree.root).as_posix())
        elif path.suffix.lower() in Shards.endings:
            yield path
    for inner in listing.folders if depth < Shards.depth else ():
        yield from _shards(tree, inner, findings, depth + 1)


def _by_part(
    root: Path, files: Sequence[_File], findings: Findings, remarks: list[str]
) -> dict[Part, list[Path]]:
    """The files of each part: of train and train_small, those of train."""
    by_split: defaultdict[Part, dict[str, list[Path]]] = defaultdict(dict)
    for file in files:
        if file.part:
            by_split[file.part].setdefault(file.split, []).append(file.path)
    chosen = {part: _main_split(root, part, splits) for part, splits in by_split.items()}
    for part, splits in by_split.items():
        for split in splits.keys() - {chosen[part]}:
            for path in splits[split]:
                what = f"file of {split}, as {chosen[part]} is the {part} part"
                findings.leave_out(what, path.relative_to(root).as_posix())
    found = {part: by_split[part][chosen[part]] for part in PARTS if part in chosen}
    if len(found) == 1:
        ((part, paths),) = found.items()
        remarks += [] if part == PARTS[0] else [f"{chosen[part]} is the only part, so it is split"]
        return {PARTS[0]: paths}
    if PARTS[0] not in found:
        raise DataError(f"{root} has {' and '.join(chosen.values())}, but no training part")
    return found


def _main_split(root: Path, part: Part, splits: Mapping[str, Sequence[Path]]) -> str:
    exact = [split for split in splits if part_of(split)] or list(splits)
    if len(exact) > 1:
        raise DataError(f"{root}: {' and '.join(exact)} are all named like the {part} part; keep one")
    return exact[0]


def _missing(paths: Sequence[Path]) -> list[str]:
    """A remark for each set of numbered files that is incomplete, as after a download that was ended."""
    there: defaultdict[tuple[Path, str, int], set[int]] = defaultdict(set)
    for path in paths:
        if found := _NUMBERED.fullmatch(path.stem):
            there[path.parent, found["split"], int(found["count"])].add(int(found["number"]))
    remarks = []
    for (_, split, count), numbers in there.items():
        if absent := sorted(set(range(count)) - numbers):
            names = [f"{split}-{number:05}-of-{count:05}" for number in absent]
            remarks.append(line_of("file that is not here, though others are numbered with it", names))
    return remarks


def _in_order(path: Path) -> list[tuple[int, str]]:
    """A key by which 10 follows 9."""
    pieces = _DIGITS.split(path.as_posix())
    return [(int(piece), "") if piece.isdecimal() else (0, piece) for piece in pieces]
