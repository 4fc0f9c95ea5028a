"""Arrays that are made once per node and then read."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from trainables.core.files import replacing

Arrays = Mapping[str, np.ndarray]

_log = logging.getLogger(__name__)


def stored_arrays(folder: Path, name: str, make: Callable[[], Arrays]) -> Arrays:
    """Return the arrays of `make`, read from a file of this name if it exists, else written to it.

    Processes that make them at the same time write the same. If the disk has no room, that is logged and
    the next process makes them again.

    Args:
        name: Must state everything that the arrays depend on: an existing file is never checked.
    """
    path = folder / f"{name}.npz"
    if path.is_file():
        with np.load(path, allow_pickle=False) as found:
            return dict(found)
    arrays = make()
    try:
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
    except OSError as error:
        _log.warning("%s is not stored, and is made again next time: %s", path, error)
    return arrays


def digest(*parts: str | bytes) -> str:
    """Sixteen hexadecimal digits that differ whenever one of the parts does."""
    found = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        found.update(len(data).to_bytes(8, "big") + data)
    return found.hexdigest()[:16]
