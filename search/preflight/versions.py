"""Which versions of packages the program requires, and whether they are installed."""

from __future__ import annotations

import importlib.metadata
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

_PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


def requirements() -> tuple[str, ...]:
    """The requirements in pyproject.toml or, for an installed program, in its metadata."""
    if _PYPROJECT.is_file():
        dependencies = tomllib.loads(_PYPROJECT.read_text(encoding="utf-8"))["project"]["dependencies"]
        return tuple(map(str, dependencies))
    try:
        found = importlib.metadata.requires("jouletune") or []
    except importlib.metadata.PackageNotFoundError:  # only the packages were shipped
        return ()
    return tuple(line for line in found if "extra ==" not in line)


def unmet(requirements: tuple[str, ...]) -> list[str]:
    """The requirements this Python does not meet, as in "timm is 0.9.2, the program needs >=1.0.20"."""
    lacks = []
    for requirement in map(Requirement, requirements):
        if requirement.marker and not requirement.marker.evaluate():
            continue
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            lacks.append(f"{requirement.name} is not installed, the program needs {requirement.specifier}")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            lacks.append(f"{requirement.name} is {version}, the program needs {requirement.specifier}")
    return lacks
