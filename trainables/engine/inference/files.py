"""Finding images by folders, files and patterns."""

from __future__ import annotations

import glob
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from trainables.core.suggest import suggest_path
from trainables.engine.images.folder_tree import CLOSED_FOLDER, DEAD_LINK, FolderTree, is_image
from trainables.engine.images.reading import endings


class NoImages(ValueError):
    """The named files and folders hold no images; the message says what they hold."""


@dataclass(frozen=True)
class Found:
    """Images in the order they were named, each once; those of a folder are sorted.

    Attributes:
        num_others: Number of files in named folders whose endings are not those of images.
        closed_folders: Folders below the named ones that cannot be read.
    """

    paths: tuple[Path, ...]
    num_others: int
    closed_folders: tuple[Path, ...] = ()


def find_images(named: Iterable[str | Path]) -> Found:
    """Find images by files, folders with everything below them, and patterns such as "a/*.jpg".

    A file that is named directly counts whatever its ending; otherwise hidden files and folders are left out.
    Links are followed as in training; a dead one counts as an image that cannot be read.

    Raises:
        NoImages: A name does not exist or matches nothing, or there is no image at all; the message has
            every problem.
    """
    paths: dict[Path, None] = {}
    trees: list[FolderTree] = []
    problems = []
    for each in named:
        path = Path(each).expanduser()
        if path.is_dir():
            trees.append(tree := FolderTree(path))
            images = tree.images(path)
            images = sorted({*images, *filter(is_image, tree.all_left_out(DEAD_LINK))})
        elif path.exists():
            images = [path]
        elif glob.has_magic(str(each)):
            # Not Path.glob, which takes no absolute pattern.
            matched = sorted(map(Path, glob.glob(str(path), recursive=True)))  # noqa: PTH207
            images = [found for found in matched if is_image(found) and not found.is_dir()]
            if not images:
                problems.append(f"{each} matches no image")
        else:
            images = []
            problems.append(f"there is no {each}{suggest_path(path)}")
        paths |= dict.fromkeys(images)
    if problems:
        raise NoImages("; ".join(problems))
    num_others = sum(_num_others(tree) for tree in trees)
    closed = tuple(folder for tree in trees for folder in tree.all_left_out(CLOSED_FOLDER))
    if not paths:
        places = ", ".join(str(tree.root) for tree in trees)
        unread = f"; it cannot be read: {', '.join(map(str, closed))}" if closed else ""
        raise NoImages(
            f"no images among {num_others} files in {places}{unread}; known endings: "
            f"{', '.join(sorted(endings()))}"
            if num_others
            else f"there are no images in {places}, and no other files{unread}"
        )
    return Found(tuple(paths), num_others, closed)


def _num_others(tree: FolderTree) -> int:
    """The number of files below a folder that have no ending of an image."""
    return sum(left.count for left in tree.left_out() if left.reason.startswith("file "))
