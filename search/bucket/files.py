"""The files of a run's folder at one moment, while other processes write them."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from search.ledger.run_folder import RunFolder
from search.trial.trial_folder import PROGRESS
from trainables.core.files import SCRATCH

Signature = tuple[int, int, int]  # a file's state: nanoseconds of its last change, bytes, inode
_TRIES = 3


def parts_of(folder: Path) -> list[str]:
    """Return the runs in a run's folder that have a journal: "" for the search, "promotion/" and the like."""
    run = RunFolder(folder)
    return [*([""] if run.has_run else []), *(f"{part.folder.name}/" for part in run.parts())]


def scan(folder: Path) -> tuple[dict[str, Signature], list[Path]]:
    """Return every file that is shipped whole, by path in the folder, and the links, which are not shipped.

    Locks, unfinished files and the progress of epochs are not shipped either, and journals are shipped line
    by line.
    """
    runs = [RunFolder(folder / part) for part in {"", *parts_of(folder)}]
    left_out = {path for run in runs for path in (run.journal_file, run.lock_file, run.bucket_file)}
    found: dict[str, Signature] = {}
    links = []
    for place, subfolders, names in os.walk(folder):
        links += [path for name in subfolders if (path := Path(place, name)).is_symlink()]
        for name in names:
            path = Path(place, name)
            if path.is_symlink():
                links.append(path)
            elif (
                path not in left_out
                and name != PROGRESS
                and not SCRATCH.match(name)
                and (seen := signature(path))
            ):
                found[path.relative_to(folder).as_posix()] = seen
    return found, links


def signature(path: Path) -> Signature | None:
    """Return a value that changes when the file does; None if there is no regular file."""
    try:
        seen = path.lstat()
    except OSError:
        return None
    return (seen.st_mtime_ns, seen.st_size, seen.st_ino) if stat.S_ISREG(seen.st_mode) else None


def group_of(path: str) -> str:
    """Return what a file is shipped together with: the folder of its trial, or the file alone."""
    parts = path.split("/")
    trials = RunFolder(Path()).trials_folder.name
    return "/".join(parts[: parts.index(trials) + 2]) if trials in parts else path


@contextmanager
def taking(
    folder: Path, paths: Sequence[str], scratch: Path
) -> Iterator[Mapping[str, tuple[Path, Signature]]]:
    """Snapshot files at one moment, under other names during the block; yields them by path in the folder.

    A script's checkpoint of several files is useful only if all are from one moment. A hard link keeps a
    file's content when another file takes its place, and costs nothing. Files that are gone are left out.

    Args:
        scratch: A folder to create, on the same file system, and to remove afterwards.

    Raises:
        OSError: A file cannot be read.
    """
    scratch.mkdir()
    try:
        for _ in range(_TRIES):
            taken = dict(_take(folder, paths, scratch))
            if all(signature(folder / path) == seen for path, (_, seen) in taken.items()):
                break
        yield taken
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _take(folder: Path, paths: Sequence[str], scratch: Path) -> Iterator[tuple[str, tuple[Path, Signature]]]:
    for number, path in enumerate(paths):
        seen = signature(folder / path)
        snapshot = scratch / str(number)
        snapshot.unlink(missing_ok=True)
        if seen is None or not link_or_copy(folder / path, snapshot):
            continue
        yield path, (snapshot, seen)


def link_or_copy(path: Path, other: Path) -> bool:
    """Give the file a second name, by copying it if necessary; return False if it is gone."""
    try:
        os.link(path, other)
    except FileNotFoundError:
        return False
    except OSError:  # a file system without hard links, or another user's file
        shutil.copy2(path, other)
    return True
