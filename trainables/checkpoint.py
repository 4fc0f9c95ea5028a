"""State on disk: written whole or not at all, and read without running anything it holds."""

from __future__ import annotations

import io
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from trainables.atomic_write import replacing


class UnwrittenCheckpoint(OSError):
    """State could not be written; the file of before, if there is one, is as it was."""


class UnreadableCheckpoint(ValueError):
    """A file holds no state: it was damaged."""


def load_torch() -> None:
    """Import what saving needs, in a start: else the first checkpoint of a worker would, 5 s of training."""
    import_module("torch")


def save_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write `state` so that a kill or a full disk leaves the file of before.

    Args:
        state: Tensors, numbers, text, dicts and lists; `weights_only=True` must read it.

    Raises:
        UnwrittenCheckpoint: The disk is full, read-only or gone.
    """
    import torch  # here, because `search` names these functions and must not load torch

    try:
        # A file of Python's: torch's own says "unexpected pos" of a full disk, and nothing of the disk.
        with replacing(path) as scratch, scratch.open("wb") as file:
            torch.save(dict(state), file)
    except (OSError, RuntimeError) as error:
        cause = error if isinstance(error, OSError) else error.__context__
        if not isinstance(cause, OSError):
            raise
        raise UnwrittenCheckpoint(cause.errno, cause.strerror, str(path)) from error


def load_checkpoint(path: Path) -> dict[str, Any]:
    """The state that was saved, its tensors on the CPU.

    Generator states must stay there: `map_location="cuda"` would move them and then fail.

    Raises:
        UnreadableCheckpoint: The file is damaged.
    """
    import torch

    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # RuntimeError, EOFError, UnpicklingError and others, by where the damage is
        raise UnreadableCheckpoint(f"{path} is damaged ({type(error).__name__})") from error
    return state


def unsavable(value: object) -> bool:
    """Whether `load_checkpoint` would refuse a value that is no dict or list."""
    if value is None or type(value) in (bool, int, float, str, bytes):
        return False
    import torch

    if type(value) is torch.Tensor:
        return False
    content = io.BytesIO()
    try:
        torch.save(value, content)
        content.seek(0)
        torch.load(content, map_location="cpu", weights_only=True)
    except Exception:  # whatever pickling an object of the user's raises
        return True
    return False
