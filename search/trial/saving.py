"""A trial's checkpoint, on a disk that may fail: what it costs is a note, not the trial."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainables.checkpoint import UnreadableCheckpoint, UnwrittenCheckpoint, load_checkpoint, save_checkpoint

Notes = dict[str, str]


def read_state(path: Path) -> tuple[dict[str, Any], Notes]:
    """What a trial goes on from: nothing where there is no file or, with a note, where it is damaged."""
    try:
        return (load_checkpoint(path) if path.exists() else {}), {}
    except UnreadableCheckpoint as error:
        return {}, {path.stem: f"{error}; the training starts over"}


def save_state(path: Path, state: Mapping[str, Any]) -> Notes:
    """Write `state`; gives a note where the disk does not take it, and the file of before stays."""
    try:
        save_checkpoint(path, state)
    except UnwrittenCheckpoint as error:
        return {path.stem: f"{path} not written ({error.strerror})"}
    return {}
