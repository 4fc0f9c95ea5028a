"""Files that are either the old one or the whole new one, whoever else writes them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

SCRATCH = re.compile(r"\.[0-9a-f]{32}\.")  # how the name of a file begins that is not whole yet


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
