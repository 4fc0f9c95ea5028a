"""Finding files by the names that tables and annotations give them, which may be those of another machine."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from typing import Literal
from unicodedata import normalize

from trainables.engine.images.folder_tree import FolderTree

_FORMS: tuple[Literal["NFC", "NFD"], ...] = (
    "NFC",
    "NFD",
)  # an accented letter as one character, or (macOS) as a letter and its accent


def is_file(path: Path) -> bool:
    """Whether the path is a file; false also for a name that no file can have."""
    try:
        return path.is_file()
    except OSError:  # the name is too long
        return False


def is_folder(path: Path) -> bool:
    """Whether the path is a folder; false also for a name that none can have."""
    try:
        return path.is_dir()
    except OSError:
        return False


def find_file(folder: Path, name: str) -> Path | None:
    """Find a file by its whole name or, without the first folders in that, by what follows them."""
    return next((path for each in spellings(name) if is_file(path := folder / each)), None)


def spellings(name: str) -> Iterator[str]:
    """The paths that a name may stand for, the longest first.

    Backslashes separate folders too, the folders of another machine are dropped one by one, and accents are
    written in either of Unicode's two forms.
    """
    for each in (name, *_ends(name)):
        yield from forms(each)


def forms(name: str) -> tuple[str, ...]:
    """A name as it is and, if it has any accents, as the two forms of Unicode write them."""
    return (name,) if name.isascii() else (name, *(normalize(form, name) for form in _FORMS))


def _ends(name: str) -> Iterator[str]:
    posix = name.replace("\\", "/")
    parts = _parts(name)
    yield posix
    yield from ("/".join(parts[start:]) for start in range(len(parts)))


def _parts(name: str) -> tuple[str, ...]:
    return tuple(part for part in name.replace("\\", "/").split("/") if part not in ("", ".", ".."))


class ImageFinder:
    """Finds the images below a folder by the names in a table's cells.

    A name may have folders, which need not be those here, or lack its ending. Case and the form of accents
    are ignored if only one image is meant then.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def has(self, name: str) -> bool:
        """Whether the whole name leads to a file."""
        return is_file(self.root / name.replace("\\", "/"))

    def find(self, name: str) -> tuple[Path, ...]:
        """The images that a name may mean: one, none, or several that it does not distinguish."""
        path = self.root / name.replace("\\", "/")
        return (path,) if is_file(path) else self._closest(_parts(name))

    def num_shared(self, name: str) -> int:
        """How many parts the name has in common with the image that it means; 0 if that is not one."""
        found = self.find(name)
        return _shared(_parts(name), found[0]) if len(found) == 1 else 0

    def _closest(self, parts: Sequence[str]) -> tuple[Path, ...]:
        """Of the images with this last part, those with most of the folders before it."""
        if not parts:
            return ()
        found = self._by_last_part.get(_key(parts[-1]), ())
        ranks = {path: (_shared(parts, path), path.name == parts[-1]) for path in found}
        best = max(ranks.values(), default=(0, False))
        return tuple(path for path in found if ranks[path] == best)

    @cached_property
    def _by_last_part(self) -> Mapping[str, Sequence[Path]]:
        """The images in the folder and below by file name, with and without ending."""
        found: defaultdict[str, list[Path]] = defaultdict(list)
        for path in FolderTree(self.root).images(self.root):
            for name in {_key(path.name), _key(path.stem)}:
                found[name].append(path)
        return found


def _shared(parts: Sequence[str], path: Path) -> int:
    """How many parts of a name, the last aside, are the folders of a path; at least 1, for the last."""
    folders = zip(parts[-2::-1], path.parts[-2::-1], strict=False)
    return 1 + sum(1 for _ in takewhile(lambda pair: _key(pair[0]) == _key(pair[1]), folders))


def _key(name: str) -> str:
    return normalize("NFC", name).casefold()
