"""What a node has left: disk, memory, and whether files can be written to a folder."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path

GIB = 2**30
_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")


def nearest_folder(path: Path) -> Path:
    """`path`, or the folder above it in which it will be created."""
    return next(folder for folder in (path, *path.parents) if folder.is_dir())


def free_disk_gib(path: Path) -> float:
    return shutil.disk_usage(nearest_folder(path)).free / GIB


def unwritable_reason(path: Path) -> str | None:
    """Why no file can be created in the folder, or in the one it will be created in; None if one can."""
    folder = nearest_folder(path)
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(64 * 1024))
    except OSError as error:
        return f"{folder}: {error.strerror}"
    return None


def memory_gib(*, meminfo: Path = _MEMINFO, cgroup: Path = _CGROUP) -> float | None:
    """Memory of this machine, within the container's limit; None if unknown."""
    known = [_line_gib(meminfo, "MemTotal")]
    with contextlib.suppress(OSError, ValueError):  # "max", which is no number, means no limit
        known.append(int((cgroup / "memory.max").read_text()) / GIB)
    return min((gib for gib in known if gib is not None), default=None)


def free_memory_gib(*, meminfo: Path = _MEMINFO, cgroup: Path = _CGROUP) -> float | None:
    """Memory that new processes can have here, within the container's limit; None if unknown."""
    known = [gib for gib in (_line_gib(meminfo, "MemAvailable"), _of_cgroup(cgroup)) if gib is not None]
    return min(known, default=None)


def _line_gib(meminfo: Path, name: str) -> float | None:
    with contextlib.suppress(OSError):
        for line in meminfo.read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024 / GIB
    return None


def _of_cgroup(cgroup: Path) -> float | None:
    """The limit less what is used and cannot be reclaimed, as inactive file pages can."""
    try:
        most = (cgroup / "memory.max").read_text().strip()
        used = int((cgroup / "memory.current").read_text())
        stat = dict(line.split() for line in (cgroup / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return None
    return None if most == "max" else (int(most) - used + int(stat.get("inactive_file", 0))) / GIB
