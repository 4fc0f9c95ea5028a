"""What a run ran on and with: the content of environment.json.

It is written at the beginning of each session. A result that cannot be repeated is usually due to another
version, another GPU, or uncommitted changes; all three are recorded here.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from search.energy.hardware import describe_devices
from search.secrets import without_secrets

_PACKAGES = (
    "jouletune",
    "ray",
    "optuna",
    "torch",
    "torchvision",
    "timm",
    "torchmetrics",
    "numpy",
    "nvidia-ml-py",
)


def describe_environment(command: Sequence[str]) -> dict[str, Any]:
    """Return versions, machine, devices, commit and the command without secrets; None for unknown values."""
    return {
        "command": without_secrets(command),
        "folder": str(Path.cwd()),
        **versions(),
        "platform": platform.platform(),
        "hostname": platform.node(),
        "num_cpus": os.cpu_count(),
        "devices": describe_devices(),
    }


def versions() -> dict[str, Any]:
    """Return the versions of Python and the packages, and the program's commit."""
    return {
        "python": sys.version.split()[0],
        "packages": {name: _version(name) for name in _PACKAGES},
        "git": _git_commit(),
    }


def _version(package: str) -> str | None:
    """Return the version of an installed package without importing it: torch takes seconds."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    """Return the program's own commit, with "+changes" if files differ from it."""
    here = Path(__file__).parent
    try:
        shown = subprocess.run(
            [
                "git",
                "-C",
                str(here),
                "describe",
                "--always",
                "--abbrev=12",
                "--dirty=+changes",
                "--exclude=*",
            ],
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):  # a network disk may let git hang
        return None
    return shown.stdout.strip() or None
