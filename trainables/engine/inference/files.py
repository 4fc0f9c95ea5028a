"""Finding images by folders, files and patterns."""

from __future__ import annotations

import glob
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from trainables.core.suggest import suggest_path
from trainables.engine.images.folder_names import is_never_data
from trainables.engine.images.reading import endings


class NoImages(ValueError):
    """The named files and folders hold no images; the message says what they hold."""


@dataclass(frozen=True)
class Found:
    """Images in the order they were named, each once; those of a folder are sorted.

    Attributes:
        num_others: Number of files in named folders whose endings are not those of images.
    """

    paths: tuple[Path, ...]
    num_others: int


def find_images(named: Iterable[str | Path]) -> Found:
    """Find images by files, folders with everything below them, and patterns such as "a/*.jpg".

    A file that is named directly counts whatever its ending; otherwise hidden files and folders are left out.

    Raises:
        NoImages: A name does not exist or matches nothing, or there is no image at all; the message has
            every problem.
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
            # Not Path.glob, which takes no absolute pattern.
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
    """The images in a folder and below it, and the number of other files."""
    files = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(is_never_data(part) for part in path.relative_to(folder).parts)
    ]
    images = [path for path in files if _is_image(path)]
    return images, len(files) - len(images)


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in endings()
