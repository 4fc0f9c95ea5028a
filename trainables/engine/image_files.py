"""Pictures on disk: which there are, and all of them decoded once into a memory-mapped array."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap
from PIL import Image

from trainables.atomic_write import replacing
from trainables.contract import DataError
from trainables.engine.resolution import squared

PARTS = ("train", "val", "test")
_MAX_UNREADABLE_SHARE = 0.01
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImageFiles:
    """Files with their class and part ("train", "val", "test"), in an order that never changes."""

    root: Path
    paths: tuple[Path, ...]
    labels: tuple[int, ...]
    parts: tuple[str, ...]
    class_names: tuple[str, ...]

    @property
    def content_key(self) -> str:
        """Changes when a file is added, removed, resized or rewritten."""
        digest = hashlib.sha256(b"channels last")
        for path in self.paths:
            stat = path.stat()
            digest.update(f"{path.relative_to(self.root)}|{stat.st_size}|{stat.st_mtime_ns}\n".encode())
        return digest.hexdigest()[:20]

    def open_image(self, index: int) -> Image.Image:
        """Decode one file to RGB; raises OSError with its path if it is cut short or no picture at all."""
        try:
            with Image.open(self.paths[index]) as image:
                return image.convert("RGB")
        except (OSError, SyntaxError, ValueError) as error:  # what Pillow raises for broken files
            raise OSError(f"{self.paths[index]}: {error}") from error


def find_image_files(root: Path) -> ImageFiles:
    """The pictures under `root`: train/, val/ and test/ of class folders, or class folders alone.

    Raises:
        DataError: No folder, fewer than two classes, or a class that train/ does not have.
    """
    if not root.is_dir():
        raise DataError(f"image folder {root} does not exist; write imagefolder:PATH with a path to a folder")
    part_folders = [(part, root / part) for part in PARTS if (root / part).is_dir()]
    if not any(part == "train" for part, _ in part_folders):
        part_folders = [("train", root)]
    class_names = tuple(sorted(entry.name for entry in part_folders[0][1].iterdir() if entry.is_dir()))
    if len(class_names) < 2:
        raise DataError(f"{part_folders[0][1]} has {len(class_names)} class folders; at least 2 are needed")
    found = [
        (path, class_names.index(name), part)
        for part, folder in part_folders
        for name, path in _images_by_class(folder, class_names)
    ]
    if not found:
        raise DataError(f"there are no images under {root}; known endings: {', '.join(sorted(_endings()))}")
    paths, labels, parts = zip(*found, strict=True)
    return ImageFiles(root=root, paths=paths, labels=labels, parts=parts, class_names=class_names)


def _images_by_class(folder: Path, class_names: Sequence[str]) -> Iterator[tuple[str, Path]]:
    endings = _endings()
    for class_folder in sorted(entry for entry in folder.iterdir() if entry.is_dir()):
        if class_folder.name not in class_names:
            raise DataError(f"class {class_folder.name!r} is in {folder} but not in the training part")
        for path in sorted(class_folder.rglob("*")):
            if path.suffix.lower() in endings:
                yield class_folder.name, path


def _endings() -> set[str]:
    return set(Image.registered_extensions())


def decode_all(
    path: Path, open_image: Callable[[int], Image.Image], num_images: int, side: int, *, num_threads: int
) -> None:
    """Write images 0 to `num_images` - 1 to `path` as .npy: (n, side, side, 3), uint8.

    Beside it goes `readable_path(path)`: (n,), bool. A picture that cannot be decoded is black there.

    Raises:
        DataError: More than 1 % of the pictures cannot be decoded.
    """

    def write(index: int) -> str | None:
        try:
            image = open_image(index)
        except OSError as error:
            return str(error)
        images[index] = np.asarray(squared(image, side).convert("RGB"))
        return None

    with replacing(path) as temporary:
        images = open_memmap(temporary, mode="w+", dtype=np.uint8, shape=(num_images, side, side, 3))
        with ThreadPoolExecutor(max(1, num_threads)) as pool:  # Pillow decodes outside Python's lock
            problems = list(pool.map(write, range(num_images)))
        _check_unreadable([problem for problem in problems if problem], num_images)
        with replacing(readable_path(path)) as mask:
            np.save(mask, np.array([problem is None for problem in problems]))
        images.flush()


def readable_path(images_path: Path) -> Path:
    """Where `decode_all` says which images it could decode."""
    return images_path.with_suffix(".readable.npy")


def _check_unreadable(problems: Sequence[str], num_images: int) -> None:
    if not problems:
        return
    listed = "; ".join(problems[:5]) + ("; ..." if len(problems) > 5 else "")
    if len(problems) > _MAX_UNREADABLE_SHARE * num_images:
        raise DataError(
            f"{len(problems)} of {num_images} images cannot be read, over 1 %; mend or remove them: {listed}"
        )
    _log.warning("%d of %d images cannot be read and are left out: %s", len(problems), num_images, listed)
