"""Atomic writes, which leave the old file or the complete new one, and names that stay in their folder."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

PARQUET = b"PAR1"  # first bytes of a Parquet file
GIT_LFS_POINTER = b"version https://git-lfs"  # first bytes of the stub that Git LFS puts for a large file
SCRATCH = re.compile(r"\.[0-9a-f]{32}\.")  # start of the name of a file that is not complete yet

# No "/" and no leading ".": the name stays in its folder, is not hidden there, and is not "..". No leading
# "-" or space: it is typed after a flag. No control characters: it is printed. 120 characters and our suffix
# fit the 255 bytes of a file name, except in scripts where every character takes three bytes.
_SAFE_NAME = re.compile(r"[^./\\\s\x00-\x1f\x7f-\x9f-][^/\\\x00-\x1f\x7f-\x9f]{0,119}")


def is_safe_name(name: str) -> bool:
    """Whether a file or folder of this name stays in the folder in which it is created."""
    return _SAFE_NAME.fullmatch(name) is not None


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a path to write to, which replaces `path` when the block ends without an error.

    Writers may race: each writes its own file in the same folder, and the last rename wins. A killed writer
    leaves a file whose name matches `SCRATCH`.
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
