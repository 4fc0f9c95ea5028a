"""A run as other programs' files: Optuna studies, W&B sweeps, TensorBoard, MLflow.

An export is a copy for another program; the journal remains the truth. No file is ever overwritten, since a
study may have been continued with Optuna, and TensorBoard mixes all runs that are in one folder.
"""

from __future__ import annotations

from pathlib import Path


class ExportError(RuntimeError):
    """An export cannot be written; the message says why and what to do."""


def check_file(flag: str, path: Path) -> list[str]:
    """Problems with a file to be written, each beginning with its flag."""
    if path.exists():
        return [f"{flag}: {path} already exists; remove it or choose another name"]
    if not path.absolute().parent.is_dir():
        return [f"{flag}: the folder {path.absolute().parent} does not exist; create it or choose another"]
    return []


def check_folder(flag: str, path: Path) -> list[str]:
    """Problems with a folder to be filled, which may exist if it is empty."""
    if path.exists() and not path.is_dir():
        return [f"{flag}: {path} is a file; choose a folder"]
    if path.is_dir() and any(path.iterdir()):
        return [f"{flag}: {path} is not empty; choose a new folder, so that runs do not mix"]
    return []
