"""The lists in `ImageSets/Main` of Pascal VOC's layout, which assign images to parts."""

from __future__ import annotations

import codecs
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PureWindowsPath
from unicodedata import normalize

from trainables.engine.findings import Findings
from trainables.engine.images.folder_names import PARTS, Part, is_never_data, part_of
from trainables.engine.images.reading import endings

_TRAINVAL = ("trainval", "trainvalid", "train-val", "train+val")  # train_val may be val of the class "train"
_COLUMN = re.compile(r"\s+[-+]?[01]$")  # in a list for one class: present (1), absent (-1) or difficult (0)


def read_lists(root: Path, stems: Sequence[str], findings: Findings) -> list[tuple[Part, str]] | None:
    """Return the part and the XML file's stem of each listed image, in order; None if there are no lists.

    Lists are named after a part in any usual spelling. `trainval` fills in for train or val, whichever is
    missing. Lists of single classes, such as `dog_train.txt`, are used only if there are no others. Names may
    have folders, a suffix, and the column of such lists. Each must be the name of an XML file, except in a
    test list in which none is, which is left out.
    """
    folder = _folder(root)
    paths = _lists(folder) if folder else []
    if not folder or not paths:
        return None
    by_list = _of_parts(paths) or _of_classes(paths)
    if not by_list:
        for path in paths:
            findings.leave_out("list that names no part", path.name)
        return None
    known = dict.fromkeys(stems)
    listed = {
        name: list(
            dict.fromkeys(stem for path in of_one for stem in _stems(path, known, name == "test", findings))
        )
        for name, of_one in by_list.items()
    }
    parts = _with_trainval(listed, findings)
    if not parts.get("train") and not findings.problems:
        names = ", ".join(path.name for of_one in by_list.values() for path in of_one)
        findings.add_problem(f"{folder} has no list of training images, such as train.txt; it has {names}")
    named = {stem for of_part in parts.values() for stem in of_part}
    for stem in stems:
        if stem not in named:
            findings.leave_out("XML file that is in no list", f"{stem}.xml")
    return [(part, stem) for part in PARTS for stem in parts.get(part, ())]


def _folder(root: Path) -> Path | None:
    sets = _named(root, "imagesets")
    return (_named(sets, "main") or sets) if sets else None


def _named(folder: Path, name: str) -> Path | None:
    """The folder of this name, in any case."""
    return next(
        (path for path in sorted(folder.iterdir()) if path.name.lower() == name and path.is_dir()), None
    )


def _lists(folder: Path) -> list[Path]:
    return [
        path
        for path in sorted(folder.iterdir())
        if path.suffix.lower() == ".txt" and path.is_file() and not is_never_data(path.name)
    ]


def _of_parts(paths: Iterable[Path]) -> dict[str, list[Path]]:
    """Lists of train, val, test and trainval."""
    found: dict[str, list[Path]] = defaultdict(list)
    for path in paths:
        if path.stem.lower() in _TRAINVAL:
            found["trainval"].append(path)
        elif part := part_of(path.stem):
            found[part].append(path)
    return found


def _of_classes(paths: Iterable[Path]) -> dict[str, list[Path]]:
    """The same from lists of single classes: `dog_train.txt` and `cat_train.txt` together are train."""
    found: dict[str, list[Path]] = defaultdict(list)
    for path in paths:
        last = path.stem.lower().rpartition("_")[2]
        if "_" in path.stem and (part := part_of(last)):
            found["trainval" if last in _TRAINVAL else part].append(path)
    return found


def _with_trainval(listed: Mapping[str, Sequence[str]], findings: Findings) -> dict[Part, Sequence[str]]:
    parts = {part: listed[part] for part in PARTS if listed.get(part)}
    taken = {*parts.get("train", ()), *parts.get("val", ())}
    if left := [stem for stem in listed.get("trainval", ()) if stem not in taken]:
        lacking = next((part for part in PARTS[:2] if part not in parts), None)
        if lacking:
            parts[lacking] = left
        for stem in () if lacking else left:
            findings.leave_out("name in trainval that is neither in train nor in val", stem)
    return parts


def _stems(path: Path, known: Mapping[str, None], is_test: bool, findings: Findings) -> list[str]:
    lines = [line.strip() for line in _text(path, findings).splitlines() if line.strip()]
    found = {line: _stem(line, known) for line in lines}
    missing = [line for line, stem in found.items() if stem is None]
    if missing and len(missing) == len(found) and is_test:
        what = f"{path.name} lists {len(missing)} images without XML files; they are left out"
        findings.add_note("parts", f"{what}, and a test part is split off")
        return []
    for stem, count in Counter(found[line] for line in lines).items():
        for _ in range(count - 1 if stem else 0):
            findings.leave_out("name that a list has twice", f"{path.name} {stem}")
    for line in missing:
        findings.add_problem("name in a list without an XML file of that name", f"{path.name} {line}")
    return [stem for line in lines if (stem := found[line]) is not None]


def _stem(line: str, known: Mapping[str, None]) -> str | None:
    """The stem that a line names: names may contain spaces or dots, and a suffix or column may follow."""
    given = normalize("NFC", line)
    for name in (given, _COLUMN.sub("", given).strip()):
        last = PureWindowsPath(name).name  # accepts both kinds of slash
        stem, _, ending = last.rpartition(".")
        is_ending = f".{ending.lower()}" in {".xml", *endings()}
        candidates: tuple[str, ...] = (name, last, stem) if is_ending else (name, last)
        if found := next((candidate for candidate in candidates if candidate in known), None):
            return found
    return None


def _text(path: Path, findings: Findings) -> str:
    content = path.read_bytes()
    is_wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return content.decode("utf-16" if is_wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        findings.add_problem(f"{path} is not UTF-8 (byte {error.start}); save it as UTF-8")
        return ""
