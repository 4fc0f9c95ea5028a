"""The content of a folder, with links followed and a record of what is left out."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from trainables.core.data_summary import LeftOut
from trainables.engine.images.folder_names import is_never_data
from trainables.engine.images.reading import endings

DEAD_LINK, CLOSED_FOLDER = "dead link", "folder that cannot be read"  # reasons why something is left out
_NAMED = 5


@dataclass(frozen=True)
class Listing:
    """The folders and the files of one folder, each in the order of their names."""

    folders: tuple[Path, ...]
    files: tuple[Path, ...]


class FolderTree:
    """Everything below a folder, each folder listed once; nothing is left out without a record.

    `is_never_data` decides what is never data. Links are followed, except for dead ones and those that
    lead back to a folder above or to one that was read in the same walk.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._listings: dict[Path, Listing] = {}
        self._left_out: defaultdict[str, list[str]] = defaultdict(list)

    def listing(self, folder: Path) -> Listing:
        """The content of one folder that may be data; empty if it cannot be read."""
        if folder not in self._listings:
            self._listings[folder] = self._listed(folder)
        return self._listings[folder]

    def images(self, folder: Path) -> list[Path]:
        """All files with an image's ending below a folder, sorted; other files are left out."""
        above = {_identity(path) for path in (*folder.absolute().parents, *folder.resolve().parents)}
        found: list[Path] = []
        self._walk(folder, above, found)
        return sorted(found)

    def leave(self, reason: str, path: Path) -> None:
        """Record that `path` is not used."""
        name = path.relative_to(self.root).as_posix() + ("/" if path.is_dir() else "")
        self._left_out[reason].append(name.encode(errors="replace").decode())

    def leave_file(self, path: Path, *, otherwise: str) -> None:
        """Record that a file is not used: by its ending if that is no image's, else as `otherwise`."""
        if is_image(path):
            self.leave(otherwise, path)
        else:
            self.leave(
                f"file ending in {path.suffix.lower()}" if path.suffix else "file without ending", path
            )

    def left_out(self) -> tuple[LeftOut, ...]:
        """Everything recorded, by reason, the most frequent first."""
        by_count = sorted(self._left_out.items(), key=lambda item: (-len(item[1]), item[0]))
        return tuple(
            LeftOut(reason=reason, count=len(names), names=tuple(names[:_NAMED]))
            for reason, names in by_count
        )

    def all_left_out(self, reason: str) -> list[Path]:
        """Everything recorded for one reason."""
        return [self.root / name for name in self._left_out.get(reason, ())]

    def _listed(self, folder: Path) -> Listing:
        """List a folder with links followed, recording whatever is not data."""
        folders, files = [], []
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError:
            self.leave(CLOSED_FOLDER, folder)
            return Listing((), ())
        for entry in entries:
            path = folder / entry.name
            if is_never_data(entry.name):
                self.leave("hidden or system file", path)
            elif entry.is_file(follow_symlinks=False):
                files.append(path)
            elif path.is_dir():
                folders.append(path)
            elif path.is_file():  # through a link
                files.append(path)
            else:
                self.leave(DEAD_LINK if entry.is_symlink() else "special file", path)
        return Listing(tuple(folders), tuple(files))

    def _walk(self, folder: Path, seen: set[tuple[int, int]], found: list[Path]) -> None:
        """Add the images below a folder to `found`, each folder once: a link may lead in a circle."""
        if (identity := _identity(folder)) in seen:
            self.leave("link to a folder above it or read already", folder)
            return
        seen.add(identity)
        listing = self.listing(folder)
        for path in listing.files:
            if is_image(path):
                found.append(path)
            else:
                self.leave_file(path, otherwise="")
        for path in listing.folders:
            self._walk(path, seen, found)


def is_image(path: Path) -> bool:
    """Whether a file has the ending of an image that can be read."""
    return path.suffix.lower() in endings()


def _identity(folder: Path) -> tuple[int, int]:
    """What identifies a folder whatever path leads to it: device and inode."""
    found = folder.stat()
    return found.st_dev, found.st_ino
