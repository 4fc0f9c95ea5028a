"""Pictures on disk: which there are, and what identifies their content."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from trainables.atomic_write import replacing
from trainables.contract import DataError
from trainables.engine.images.decoding import num_cores

PARTS = ("train", "val", "test")
_KEY_DIGITS = 20


@dataclass(frozen=True)
class ImageFiles:
    """Files with their class and part ("train", "val", "test"), in an order that never changes."""

    root: Path
    paths: tuple[Path, ...]
    labels: tuple[int, ...]
    parts: tuple[str, ...]
    class_names: tuple[str, ...]

    def content_key(self, known: Path) -> str:
        """Changes when a file is added, removed, renamed or has other bytes; not when the folder moves.

        Reading every file takes a thirtieth of decoding it, and is done anew only for a folder whose
        sizes and times have changed.

        Args:
            known: Folder where keys of files with these sizes and times are kept.
        """
        note = known / f"imagefolder-{self._stat_key()}.key"
        if not note.is_file():
            with ThreadPoolExecutor(num_cores()) as pool:
                digests = pool.map(_content_digest, self.paths)
                lines = [
                    f"{self._name(path)}|{digest}" for path, digest in zip(self.paths, digests, strict=True)
                ]
            with replacing(note) as temporary:
                temporary.write_text(_digest(lines))
        return note.read_text()

    def opened(self, index: int, side: int) -> Image.Image:
        """Decode one file, a JPEG at the least size of half, quarter or eighth that leaves twice `side`.

        That margin is Pillow's own for thumbnails. At 64 px it halves the time of photographs of 400 to
        640 px, and changes values by 0.5 of 255.

        Raises:
            OSError: It is cut short or no picture at all; with its path.
        """
        try:
            with Image.open(self.paths[index]) as image:
                shorter = min(image.size)
                image.draft(None, (2 * side * image.width // shorter, 2 * side * image.height // shorter))
                image.load()
                return image
        except MemoryError:
            raise
        except Exception as error:  # Pillow's decoders raise of everything for broken files
            raise OSError(f"{self.paths[index]}: {error}") from error

    def _stat_key(self) -> str:
        stats = ((path, path.stat()) for path in self.paths)
        return _digest([str(self.root), *(f"{path}|{s.st_size}|{s.st_mtime_ns}" for path, s in stats)])

    def name(self, index: int) -> str:
        """The path of a file below the folder."""
        return self._name(self.paths[index])

    def _name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()


def _digest(lines: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:_KEY_DIGITS]


def _content_digest(path: Path) -> str:
    return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()


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
