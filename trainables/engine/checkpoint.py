"""Checkpoints: one file, written atomically, read back without running code from it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from trainables.engine.atomic_write import replacing


def save(path: Path, state: Mapping[str, Any]) -> None:
    """Write `state` so that a reader sees the old checkpoint or the whole new one."""
    with replacing(path) as temporary:
        torch.save(dict(state), temporary)


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU.

    Generator states must stay there: `map_location="cuda"` would move them and then fail.
    """
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state
