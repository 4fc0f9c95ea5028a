"""The files of a run's folder, as they are at one moment while others write them."""

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

Signature = tuple[int, int, int]  # changes when a file does: nanoseconds of its last change, bytes, inode
_TRIES = 3


def parts_of(folder: Path) -> list[str]:
    """The runs in a run's folder that have a journal: "" for the search, "promotion/" and the like."""
    run = RunFolder(folder)
    return [*([""] if run.has_run else []), *(f"{part.folder.name}/" for part in run.parts())]


def scan(folder: Path) -> tuple[dict[str, Signature], list[Path]]:
    """Every file that is shipped whole, by path in the folder; and the links, which are not shipped.

    Locks are not, nor files that are not whole yet, nor how far an epoch is, nor journals, which are shipped
    line by line.
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
    """What changes when a file does; None where there is no regular file."""
    try:
        seen = path.lstat()
    except OSError:
        return None
    return (seen.st_mtime_ns, seen.st_size, seen.st_ino) if stat.S_ISREG(seen.st_mode) else None


def group_of(path: str) -> str:
    """What a file is shipped together with: the folder of its trial, or itself alone."""
    parts = path.split("/")
    trials = RunFolder(Path()).trials_folder.name
    return "/".join(parts[: parts.index(trials) + 2]) if trials in parts else path


@contextmanager
def taking(
    folder: Path, paths: Sequence[str], scratch: Path
) -> Iterator[Mapping[str, tuple[Path, Signature]]]:
    """Files as they are at one moment, under other names for the time of the block, by path in the folder.

    A script's checkpoint of several files is of use only where all are of one moment. A hard link keeps what
    is in a file when another one takes its place, and costs nothing. Files that are gone are left out.

    Args:
        scratch: A folder to make, on the same file system, and to remove.

    Raises:
        OSError: One cannot be read.
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
    """Have the file under another name as well; False where it is gone."""
    try:
        os.link(path, other)
    except FileNotFoundError:
        return False
    except OSError:  # a file system without hard links, or a file of another user's
        shutil.copy2(path, other)
    return True
