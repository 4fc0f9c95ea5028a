"""The images that are meant by folders, files and patterns."""

from __future__ import annotations

import glob
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from trainables.core.suggest import suggest_path
from trainables.engine.images.folder_names import is_never_data
from trainables.engine.images.reading import endings


class NoImages(ValueError):
    """What was named holds no images; the message says what it holds."""


@dataclass(frozen=True)
class Found:
    """Images in the order they were named, each once; those of a folder by name.

    Attributes:
        num_others: Files in named folders that are no images by their ending.
    """

    paths: tuple[Path, ...]
    num_others: int


def find_images(named: Iterable[str | Path]) -> Found:
    """The images that are meant: files, folders with all that is below them, and patterns such as "a/*.jpg".

    A file that is named by itself is one whatever its ending; hidden files and folders are left out of the
    others.

    Raises:
        NoImages: One of them does not exist, matches nothing, or there is no image in all of them: every
            problem in one message.
    """
    paths: dict[Path, None] = {}
    num_others, problems = 0, []
    for each in named:
        path = Path(each).expanduser()
        if path.is_dir():
            images, others = _below(path)
            num_others += others
        elif path.exists():
            images = [path]
        elif glob.has_magic(str(each)):
            # Not Path.glob, which takes no pattern with a root.
            matched = sorted(map(Path, glob.glob(str(path), recursive=True)))  # noqa: PTH207
            images = [found for found in matched if found.is_file() and _is_image(found)]
            if not images:
                problems.append(f"{each} matches no image")
        else:
            images = []
            problems.append(f"there is no {each}{suggest_path(path)}")
        paths |= dict.fromkeys(images)
    if problems:
        raise NoImages("; ".join(problems))
    if not paths:
        raise NoImages(
            f"no images among {num_others} files; known endings: {', '.join(sorted(endings()))}"
            if num_others
            else "there are no images, and no other files"
        )
    return Found(tuple(paths), num_others)


def _below(folder: Path) -> tuple[list[Path], int]:
    """The images in a folder and below it, and how many other files there are."""
    files = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(is_never_data(part) for part in path.relative_to(folder).parts)
    ]
    images = [path for path in files if _is_image(path)]
    return images, len(files) - len(images)


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in endings()
