"""Arrays that are made once on a node and then read."""

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
    """The arrays that `make` gives, from a file of this name if there is one, else written to it.

    Processes that make them at the same time write the same. Where the disk has no room they are made
    again by the next process, which is logged.

    Args:
        name: Says all that the arrays depend on: a file of this name is never checked against them.
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
        _log.warning("%s is not kept, and made again next time: %s", path, error)
    return arrays


def digest(*parts: str | bytes) -> str:
    """Sixteen letters that differ whenever one of the parts does."""
    found = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        found.update(len(data).to_bytes(8, "big") + data)
    return found.hexdigest()[:16]
