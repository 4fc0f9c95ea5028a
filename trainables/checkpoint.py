"""State on disk: written whole or not at all, and read without running anything it holds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainables.atomic_write import replacing


def save_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write `state` so that a kill or a full disk leaves the file of before.

    Args:
        state: Tensors, numbers, text, dicts and lists; `weights_only=True` must read it.
    """
    import torch  # here, because `search` names these functions and must not load torch

    with replacing(path) as scratch:
        torch.save(dict(state), scratch)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """The state that was saved, its tensors on the CPU.

    Generator states must stay there: `map_location="cuda"` would move them and then fail.
    """
    import torch

    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state
