"""A run as other programs' files: Optuna studies, W&B sweeps, TensorBoard, MLflow.

An export is a copy for another program; the journal remains the truth. No file is ever overwritten, since a
study may have been continued with Optuna, and TensorBoard mixes all runs that are in one folder.
"""

from __future__ import annotations

import os
from pathlib import Path


class ExportError(RuntimeError):
    """An export cannot be written; the message says why and what to do."""


def check_file(flag: str, path: Path) -> list[str]:
    """Problems with a file to be written, each beginning with its flag."""
    if path.exists():
        return [f"{flag}: {path} already exists; remove it or choose another name"]
    if not path.absolute().parent.is_dir():
        return [f"{flag}: the folder {path.absolute().parent} does not exist; create it or choose another"]
    return _check_writable(flag, path)


def check_folder(flag: str, path: Path) -> list[str]:
    """Problems with a folder to be filled, which may exist if it is empty."""
    if path.exists() and not path.is_dir():
        return [f"{flag}: {path} is a file; choose a folder"]
    if path.is_dir() and any(path.iterdir()):
        return [f"{flag}: {path} is not empty; choose a new folder, so that runs do not mix"]
    return _check_writable(flag, path)


def _check_writable(flag: str, path: Path) -> list[str]:
    """Problems with the folder that a file or a folder is to be made in, or in which it is."""
    there = next(each for each in (path.absolute(), *path.absolute().parents) if each.exists())
    if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        return []
    return [f"{flag}: {path} cannot be made: {there} is not a folder that you may write to; choose another"]
