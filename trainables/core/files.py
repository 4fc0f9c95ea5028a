"""Atomic writes, which leave the old file or the whole new one, and names that stay in their folder."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

GIT_LFS_POINTER = b"version https://git-lfs"  # how a file begins that Git has in place of a large one
SCRATCH = re.compile(r"\.[0-9a-f]{32}\.")  # how the name of a file begins that is not whole yet

# No "/" and no leading ".": such a name stays in its folder, is not hidden there, and is no "..". No leading
# "-" or space: it is typed after a flag. No control characters: it is printed. 120 characters and an ending
# of ours fit the 255 bytes of a file's name, unless they are all of a script with three bytes a character.
_SAFE_NAME = re.compile(r"[^./\\\s\x00-\x1f\x7f-\x9f-][^/\\\x00-\x1f\x7f-\x9f]{0,119}")


def is_safe_name(name: str) -> bool:
    """Whether a file or folder of this name lies in the folder that it is made in."""
    return _SAFE_NAME.fullmatch(name) is not None


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to, that takes the place of `path` when the block ends without an error.

    Writers may race: each writes a file of its own in the same folder, and the last rename wins.
    What one that is killed leaves has a name like `SCRATCH`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{uuid4().hex}.{path.name}")  # np.save would append a missing .npy
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
