"""Folders of images: which are parts and which are classes, by the rule that docs/own-images.md states."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from unicodedata import normalize

from trainables.core.contract import DataError
from trainables.core.suggest import suggest, suggest_path
from trainables.engine.images.data_sources import ImageTable, Shards
from trainables.engine.images.files import ImageFiles
from trainables.engine.images.folder_names import PART_NAMES, PARTS, Part, part_and_rest, part_of
from trainables.engine.images.folder_tree import FolderTree, is_image
from trainables.engine.images.reading import HEIC_REMEDY, endings

_MAX_PARTS = 10  # folds of a cross-validation; more folders with the same folders in them are classes
_LISTED = 5
_ADDED = re.compile(r"[-_. ](?=\d*[^\W\d_])")  # where a word is added to a name: a_mask, a-flip, a_2x
_MIN_COMPANIONS = 0.05  # of all images
_KINDS_OF_FILE = {
    *("images", "image", "imgs", "img", "jpegimages"),
    *("annotations", "annotation", "labels", "masks", "mask", "segmentation", "segmentations", "trimaps"),
}


def find_image_files(root: Path) -> ImageFiles:
    """Find the images under `root`: folders of parts with class folders in them, or only class folders.

    Raises:
        DataError: No folder, no class folders where they should be, fewer than two classes with
            images, or a class that the training part does not have.
    """
    if not root.is_dir():
        raise DataError(
            f"image folder {root} does not exist; write imagefolder:FOLDER with a path to a "
            f"folder{suggest_path(root)}"
        )
    if Shards.may_read(root):
        raise DataError(f"{root} has images in Parquet, Arrow or tar files; write shards:{root}")
    tree = FolderTree(root)
    remarks: list[str] = []
    folders = _part_folders(tree, remarks)
    images = {part: _images_by_class(tree, folder) for part, folder in folders.items()}
    _leave_unlabelled(tree, images)
    class_names = tuple(name for name, found in images["train"].items() if found)
    _check_classes(tree, folders["train"], images["train"])
    _check_other_parts(folders, images, class_names)
    remarks += _note_gaps(tree, folders, images, class_names)
    remarks += [f"HEIC: {HEIC_REMEDY}"] if _has_heic(tree) else []
    remarks += _note_companions(
        [path for by_class in images.values() for paths in by_class.values() for path in paths]
    )
    number_of = {name: number for number, name in enumerate(class_names)}
    found = [
        (path, number_of[name], part)
        for part, by_class in images.items()
        for name, paths in by_class.items()
        for path in paths
    ]
    paths, labels, parts = zip(*found, strict=True)
    return ImageFiles(
        root=root,
        paths=paths,
        labels=labels,
        parts=parts,
        class_names=class_names,
        left_out=tree.left_out(),
        remarks=tuple(remarks),
    )


def _part_folders(tree: FolderTree, remarks: list[str]) -> dict[Part, Path]:
    """The folder of each part; only the root, as the training part, if its folders are the classes."""
    folders = tree.listing(tree.root).folders
    named: defaultdict[Part, list[Path]] = defaultdict(list)
    for folder in folders:
        if part := part_of(folder.name):
            named[part].append(folder)
    if not named and (alike := _parts_by_word(tree, folders)):
        named |= {part: [folder] for part, folder in alike.items()}
        names = _listed([folder.name for folder in alike.values()])
        remarks.append(f"{names} are taken for the parts {', '.join(alike)}, by their names")
    of_parts = [folder for same in named.values() for folder in same]
    others = [folder for folder in folders if folder not in of_parts]
    if not _is_split(tree, named, others):
        remarks += [
            f"{folder.name} is taken for a class, as it has no class folders"
            for part in PARTS
            for folder in named[part]
        ]
        return {"train": tree.root}
    _check_parts(tree, named, others)
    for path in others:
        tree.leave("folder beside the parts", path)
    for path in tree.listing(tree.root).files:
        tree.leave_file(path, otherwise="image outside of the parts")
    return {part: _inner(tree, part, named[part][0]) for part in PARTS if named[part]}


def _parts_by_word(tree: FolderTree, folders: Sequence[Path]) -> dict[Part, Path]:
    """Parts by folders named like `seg_train`, with class folders in it, and `seg_test`; else empty."""
    by_rest: defaultdict[str, dict[Part, Path]] = defaultdict(dict)
    for folder in folders:
        if found := part_and_rest(folder.name):
            by_rest[found[1]].setdefault(found[0], folder)
    alike = [found for found in by_rest.values() if "train" in found and len(found) > 1]
    if len(alike) != 1 or not tree.listing(alike[0]["train"]).folders:
        return {}
    return {part: alike[0][part] for part in PARTS if part in alike[0]}


def _inner(tree: FolderTree, part: Part, folder: Path) -> Path:
    """The part's folder, or the only folder in it if named like it, as train/train from an archive."""
    listing = tree.listing(folder)
    names = [inner.name for inner in listing.folders]
    if any(map(is_image, listing.files)) or not (names == [folder.name] or [*map(part_of, names)] == [part]):
        return folder
    return _inner(tree, part, listing.folders[0])


def _is_split(tree: FolderTree, named: Mapping[Part, Sequence[Path]], others: Sequence[Path]) -> bool:
    """Whether folders named like parts are parts: there are no others but test1, or one has class folders.

    `train` is also something that runs on rails: beside bus/ and car/ it is a class.
    """
    inside = {path.name for part in PARTS for folder in named[part] for path in tree.listing(folder).folders}
    if not any(named.values()):
        return False
    numbered = [folder for folder in others if part_of(folder.name.rstrip("0123456789"))]
    if len(numbered) == len(others) or any(tree.listing(folder).folders for folder in named["train"]):
        return True
    return bool(inside & {folder.name for folder in others})


def _check_parts(tree: FolderTree, named: Mapping[Part, Sequence[Path]], others: Sequence[Path]) -> None:
    problems = [
        f"{' and '.join(folder.name for folder in folders)} are both named like the {part} part; keep one"
        for part, folders in named.items()
        if len(folders) > 1
    ]
    if not named["train"]:
        found = ", ".join(folder.name for folders in named.values() for folder in folders)
        problems.append(
            f"{found} has the name of a part, but there is no training part beside it; put the class folders "
            f"to train on into a folder named {', '.join(PART_NAMES['train'])}"
        )
    elif not tree.listing(named["train"][0]).folders:
        problems.append(
            f"{named['train'][0].name}/ is the training part by its name, but has no class folders; "
            f"{_ways_to_label(tree, named['train'][0], tree.root)}"
        )
    elif not named["val"] and not named["test"] and (beside := _with_images(tree, others)):
        problems.append(
            f"{_listed(beside)} lie beside {named['train'][0].name}/, which has folders in it: if that is "
            "the training part, name the others val or test or move them away; if it is a class, give it "
            "another name"
        )
    if problems:
        raise DataError(f"{tree.root}: {'; '.join(problems)}")


def _with_images(tree: FolderTree, folders: Sequence[Path]) -> list[str]:
    """The names of folders that have images, in them or one folder deeper."""
    inside = {folder: (folder, *tree.listing(folder).folders) for folder in folders}
    return [
        folder.name
        for folder, deeper in inside.items()
        if any(is_image(path) for one in deeper for path in tree.listing(one).files)
    ]


def _images_by_class(tree: FolderTree, folder: Path) -> dict[str, list[Path]]:
    """The images of each class folder of a part, including folders without any."""
    class_folders = tree.listing(folder).folders
    _check_no_split(tree, folder, class_folders)
    for path in tree.listing(folder).files:
        tree.leave_file(path, otherwise="image outside of class folders")
    images: defaultdict[str, list[Path]] = defaultdict(list)
    for class_folder in class_folders:
        images[_class_name(class_folder)] += tree.images(class_folder)
    return images


def _leave_unlabelled(tree: FolderTree, images: Mapping[Part, dict[str, list[Path]]]) -> None:
    """Leave out the images of val or test that are all in one folder `images`, as in Tiny ImageNet."""
    for part in PARTS[1:]:
        filled = [name for name, found in images.get(part, {}).items() if found]
        if len(filled) == 1 and filled[0].lower() in _KINDS_OF_FILE and filled[0] not in images["train"]:
            for path in images[part].pop(filled[0]):
                tree.leave_file(path, otherwise="image outside of class folders")


def _class_name(folder: Path) -> str:
    r"""The class of a folder: its name, as text that files in UTF-8 can hold.

    macOS and its archives write é as e and an accent. Archives of other systems leave bytes that are not
    UTF-8, which become `\udce9` and the like.
    """
    return normalize("NFC", folder.name).encode(errors="backslashreplace").decode()


def _check_no_split(tree: FolderTree, folder: Path, class_folders: Sequence[Path]) -> None:
    """Refuse class folders that have the same folders in them: they are parts, whatever their names.

    This does not apply if they share only one folder (`images`), or if they are more than ten with fewer
    inside: persons, say, with a folder for each day.
    """
    names = {one.name for one in class_folders}
    for one in class_folders:
        if len(names) > 2 and names - {one.name} <= {path.name for path in tree.listing(one).folders}:
            raise DataError(
                f"{one} has a folder for each of the classes beside it, so it is not a class but a copy of "
                "all; move it away"
            )
    if len(class_folders) < 2 or any(is_image(p) for one in class_folders for p in tree.listing(one).files):
        return
    inside = [{path.name for path in tree.listing(one).folders} for one in class_folders]
    common = sorted(set.intersection(*inside))
    if len(common) < 2 or len(class_folders) > max(_MAX_PARTS, len(common)):
        return
    holders = [one for one in class_folders if _with_images(tree, [one])]
    if len(holders) == 1:  # beside the annotations of each class
        return
    outer = _listed([one.name for one in class_folders])
    if any(name.lower() in _KINDS_OF_FILE for name in common):
        remedy = "if they are classes, keep one of these folders in each, and move the others away"
    elif all(part_of(name) for name in common):
        remedy = f"put the parts outside: {common[0]}/{class_folders[0].name}"
    else:
        remedy = f"name them by their part (train, val, test), or give imagefolder:{class_folders[0]} alone"
    raise DataError(
        f"{folder}: {outer} have the same folders in them ({_listed(common)}), so they are not "
        f"classes but parts of a split; {remedy}"
    )


def _check_classes(tree: FolderTree, folder: Path, images: Mapping[str, Sequence[Path]]) -> None:
    """Raise DataError, with what may be meant instead, unless at least two classes have images."""
    filled = [name for name, found in images.items() if found]
    if len(filled) > 1 and all(name.lower() in _KINDS_OF_FILE for name in filled):
        raise DataError(
            f"{folder}: {_listed(filled)} are kinds of files; give a folder with one for each class"
        )
    if len(filled) > 1:
        return
    text = f"{folder} has {len(filled)} class folders with images; at least 2 are needed"
    if empty := [name for name, found in images.items() if not found]:
        text += f"; there are none in {_listed(empty)}"
    inner = tuple(one for one in tree.listing(folder).folders if one.name in filled)
    while len(inner) == 1 and len(deeper := tree.listing(inner[0]).folders) == 1:
        inner = deeper
    loose = sum(map(is_image, tree.listing(folder).files))
    if len(inner) == 1 and len(tree.listing(inner[0]).folders) > 1:
        text += f"; did you mean imagefolder:{inner[0]}?"
    elif loose:
        text += f"; {loose} images lie in it side by side: {_ways_to_label(tree, folder, tree.root)}"
    counts = Counter({left.reason: left.count for left in tree.left_out()})
    if counts:
        text += f"; left out are {', '.join(f'{count} ({reason})' for reason, count in counts.most_common())}"
    if _has_heic(tree):
        text += f"; HEIC: {HEIC_REMEDY}"
    raise DataError(f"{text}; known endings: {', '.join(sorted(endings()))}" if not filled else text)


def _ways_to_label(tree: FolderTree, *folders: Path) -> str:
    """What to do with images that lie side by side, with the table of their classes if one is there."""
    files = [path for folder in folders for path in tree.listing(folder).files]
    table = next((path for path in files if path.suffix.lower() in ImageTable.endings), "FILE")
    return f"make a folder for each class, or write labels:{table}"


def _has_heic(tree: FolderTree) -> bool:
    """Whether HEIC files, as phones take them, are left out."""
    return any(left.reason.endswith((".heic", ".heif")) for left in tree.left_out())


def _check_other_parts(
    folders: Mapping[Part, Path], images: Mapping[Part, Mapping[str, Sequence[Path]]], names: Sequence[str]
) -> None:
    """Raise DataError for classes that have images in another part but none in the training part."""
    problems = [
        f"class {name!r} is in {folders[part]} but not in the training part, or has no image "
        f"there{suggest(name, names)}"
        for part, by_class in images.items()
        for name, found in by_class.items()
        if found and name not in names
    ]
    if problems:
        raise DataError("; ".join(problems[:_LISTED]) + ("; ..." if len(problems) > _LISTED else ""))


def _note_gaps(
    tree: FolderTree,
    folders: Mapping[Part, Path],
    images: Mapping[Part, Mapping[str, Sequence[Path]]],
    names: Sequence[str],
) -> list[str]:
    """Record empty classes and parts; return a remark for each part that lacks classes."""
    remarks = []
    for part, by_class in images.items():
        for name, found in by_class.items():
            if not found:
                tree.leave("empty class", folders[part] / name)
        if not any(by_class.values()):
            tree.leave("empty part", folders[part])
        elif missing := [name for name in names if not by_class.get(name)]:
            remarks.append(f"{folders[part].name}/ has no image of {_listed(missing)}")
    return remarks


def _note_companions(paths: Sequence[Path]) -> list[str]:
    """A remark for each addition to names that makes many images companions of others: masks, or copies."""
    first = {(path.parent, path.stem): path for path in reversed(paths)}
    companions: defaultdict[str, list[Path]] = defaultdict(list)
    for path in paths:
        if first[path.parent, path.stem] != path:
            companions["another ending"].append(path)
        for found in _ADDED.finditer(path.stem):
            if (path.parent, path.stem[: found.start()]) in first:
                companions[f"{path.stem[found.start() :]} added"].append(path)
                break
    return [
        f"{len(named)} images are named like others with {added} ({named[0].name}); if they are masks or "
        "copies of them, move them away"
        for added, named in companions.items()
        if len(named) > _MIN_COMPANIONS * len(paths)
    ]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_LISTED]) + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")
