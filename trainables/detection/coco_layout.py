"""Which JSON file of a COCO folder belongs to which part, and where its images are."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from trainables.engine.findings import Findings
from trainables.engine.images.file_lookup import find_file
from trainables.engine.images.folder_names import PARTS, Part, is_never_data, part_in, part_of

_ANNOTATION_FOLDERS = {"annotations", "annotation", "labels", "json"}
_IMAGE_FOLDERS = ("images", "JPEGImages", "data", "imgs", "img")
_NOT_BOXES = (  # COCO's other kinds of annotation files, beside instances
    "captions",
    "person_keypoints",
    "stuff",
    "panoptic",
    "image_info",
)
_TRIED = 50  # number of a file's images that are looked for in each folder

Family = tuple[str, ...]


def files_by_part(root: Path, findings: Findings) -> dict[Part, Path]:
    """Return the file of each part; a single file that names no part is "train", which the program splits.

    A part is named by the file or by its folder. Among several files for a part, `instances` comes first,
    then the pattern of name that most parts have, then the latest year.
    """
    candidates = _candidates(root)
    by_part: dict[Part, list[Path]] = defaultdict(list)
    for path in candidates:
        if part := _part(path, root):
            by_part[part].append(path)
    if not by_part and len(candidates) == 1:
        return {"train": candidates[0]}
    if "train" not in by_part:
        names = ", ".join(_relative(path, root) for path in candidates[:5]) or "none"
        deeper = [path for path in sorted(root.iterdir()) if path.is_dir() and _candidates(path)]
        meant = f"; did you mean coco:{deeper[0]}?" if deeper and not candidates else ""
        meant = f"; did you mean yolo:{root}?" if any(root.glob("*.y*ml")) else meant
        findings.add_problem(
            f"{root} has no JSON file of training annotations, such as annotations/train.json or "
            f"train/_annotations.coco.json; JSON files there: {names}{meant}"
        )
    best = {part: _best_ranked(paths) for part, paths in by_part.items()}
    coverage = Counter(family for paths in best.values() for family in {_family(p, root) for p in paths})
    found = {part: _chosen(best[part], coverage, root, findings) for part in PARTS if part in best}
    for path in candidates:
        if path not in found.values():
            findings.leave_out("JSON file of no part, or of a part that has another", _relative(path, root))
    return found


def _candidates(root: Path) -> list[Path]:
    folders = [
        entry
        for entry in sorted(root.iterdir())
        if entry.is_dir() and (entry.name.lower() in _ANNOTATION_FOLDERS or part_of(entry.name))
    ]
    deeper = [
        inner for folder in folders for name in _ANNOTATION_FOLDERS if (inner := folder / name).is_dir()
    ]
    return [
        path
        for folder in (root, *folders, *deeper)
        for path in sorted(folder.iterdir())
        if path.suffix.lower() == ".json" and path.is_file() and not is_never_data(path.name)
    ]


def _part(path: Path, root: Path) -> Part | None:
    """The part named by the file, or by a folder between it and the root."""
    folders = path.relative_to(root).parts[:-1]
    return part_in(path.stem) or next((part for name in folders[::-1] if (part := part_of(name))), None)


def _best_ranked(paths: Sequence[Path]) -> list[Path]:
    ranks = {path: _rank(path.name.lower()) for path in paths}
    return [path for path in paths if ranks[path] == min(ranks.values())]


def _rank(name: str) -> int:
    return 0 if name.startswith("instances") else 2 if name.startswith(_NOT_BOXES) else 1


def _family(path: Path, root: Path) -> Family:
    """The words and numbers of its path without those that name a part: equal for train and val."""
    words = re.findall(r"[a-z]+|\d+", _relative(path, root).lower())
    return tuple(word for word in words if not part_of(word))


def _chosen(paths: Sequence[Path], coverage: Mapping[Family, int], root: Path, findings: Findings) -> Path:
    most = max(coverage[_family(path, root)] for path in paths)
    covering = [path for path in paths if coverage[_family(path, root)] == most]
    without_years = {tuple(w for w in _family(path, root) if not w.isdigit()) for path in covering}
    if len(without_years) > 1 and _rank(covering[0].name.lower()) < 2:
        names = " and ".join(_relative(path, root) for path in covering)
        findings.add_problem(
            f"{names} may be meant for the same part; keep one in the folder, or give one as coco:FILE"
        )
    return max(covering, key=lambda path: _family(path, root))


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def image_paths(
    names: Sequence[str], file: Path, part: Part | None, root: Path, given: Path | None, findings: Findings
) -> list[Path]:
    """Return the path of each image that `file` names, in the folder that has most of a sample of them.

    Names may contain folders or backslashes. Folders that do not exist here, as from another machine, are
    ignored.
    """
    folders = _folders(file, part, root) if given is None else [given, *_subfolders(given, part)]
    tried = names[:: max(1, len(names) // _TRIED)]
    counts = {folder: sum(find_file(folder, name) is not None for name in tried) for folder in folders}
    best = max(folders, key=lambda folder: (counts[folder], folder.name.lower() in file.stem.lower()))
    if tried and not counts[best]:
        searched = ", ".join(map(str, folders))
        findings.add_problem(
            f"{names[0]} of {file} is in none of {searched}; give it: data: {{coco: {file}, images: FOLDER}}"
        )
    return [_located(best, name) for name in names]


def _folders(file: Path, part: Part | None, root: Path) -> list[Path]:
    """The folders where the images of a file usually are, without repetition."""
    tops = [file.parent, root if root.is_dir() else file.parent]
    if file.parent.name.lower() in _ANNOTATION_FOLDERS:
        tops.append(file.parent.parent)
    part = part or part_in(file.stem)
    found = [*tops, *(folder for top in tops for folder in _subfolders(top, part))]
    found += [inner for folder in found if (inner := folder / file.stem.rpartition("_")[2]).is_dir()]
    return list(dict.fromkeys(found))


def _subfolders(top: Path, part: Part | None) -> Iterable[Path]:
    """The subfolders for images, for a part, or for both."""
    if not top.is_dir():
        return
    of_images = [folder for name in _IMAGE_FOLDERS if (folder := top / name).is_dir()]
    for folder in (top, *of_images):
        if folder != top:
            yield folder
        of_part = sorted(inner for inner in folder.iterdir() if part and part_of(inner.name) == part)
        for inner in of_part:
            if inner.is_dir():
                yield inner
                yield from (deeper for name in _IMAGE_FOLDERS if (deeper := inner / name).is_dir())


def _located(folder: Path, name: str) -> Path:
    """The file by its whole name or by the end of that, as its first folders may be another machine's."""
    return find_file(folder, name) or folder / PurePosixPath(name.replace("\\", "/"))
