"""A run as other programs' files: Optuna studies, W&B sweeps, TensorBoard, MLflow. None overwrites a file."""

from __future__ import annotations

from pathlib import Path


class ExportError(RuntimeError):
    """An export cannot be written; the message says why and what to do."""


def check_file(flag: str, path: Path) -> list[str]:
    """What is wrong with a file to be written, in words that begin with its flag."""
    if path.exists():
        return [f"{flag}: {path} is there already; remove it or give another name"]
    if not path.absolute().parent.is_dir():
        return [f"{flag}: the folder {path.absolute().parent} does not exist; make it or give another"]
    return []


def check_folder(flag: str, path: Path) -> list[str]:
    """What is wrong with a folder to be filled; it may be there if it is empty."""
    if path.exists() and not path.is_dir():
        return [f"{flag}: {path} is a file; give a folder"]
    if path.is_dir() and any(path.iterdir()):
        return [f"{flag}: {path} is not empty; give a new folder, so that runs do not mix"]
    return []
