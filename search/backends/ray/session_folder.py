"""The temporary folder of our own Ray session: private, short enough for sockets, removed at the end."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

_PREFIX, _INNER = "jt-", "r"  # short, since only 29 bytes are left for the enclosing folder
_MARK = "session.lock"  # marks our folders; locked while their process lives
# Places to use if TMPDIR, which is long on Slurm and macOS, leaves no room for a socket's path.
_OTHERS = ("/tmp", "/var/tmp", "XDG_RUNTIME_DIR", "/dev/shm")
_WITH_DASHBOARD = "/tmp/ray"  # dashboards/prometheus.yml looks for Ray's nodes there
_MOST_DIGITS = 7  # of a pid on Linux
# The longest path of a Ray socket, relative to Ray's temporary folder.
_SOCKET = f"session_2026-01-01_00-00-00_000000_{'9' * _MOST_DIGITS}/sockets/plasma_store"


class NoSessionFolder(OSError):
    """There is no place for Ray's sockets; the message says which variable to set."""


@dataclass(frozen=True, kw_only=True)
class SessionFolder:
    """Where a session keeps its files.

    Attributes:
        path: Passed to Ray as `_temp_dir`.
        note: Why it is not in the usual place; empty if it is.
    """

    path: Path
    note: str = ""


@contextmanager
def session_folder(
    environ: Mapping[str, str] = os.environ, *, others: tuple[str, ...] = _OTHERS, has_dashboard: bool = False
) -> Iterator[SessionFolder]:
    """Provide a folder of mode 0700 for the duration of the block.

    It is in RAY_TMPDIR if that is set, else in TMPDIR, or in another usual place if TMPDIR is too long for
    sockets or does not support them. Leftovers of this user's killed sessions beside it are removed. With a
    dashboard it is Ray's own shared folder, which stays; `closed` protects and removes the session in it.

    Raises:
        NoSessionFolder: No place is suitable, or RAY_TMPDIR is not.
    """
    given = environ.get("RAY_TMPDIR")
    if has_dashboard:
        shared = Path(given).absolute() / "ray" if given else Path(_WITH_DASHBOARD)
        _remove_killed(shared, "session_*")
        yield SessionFolder(path=shared)
        return
    wanted = Path(given or environ.get("TMPDIR") or "/tmp").absolute()
    reasons = {}
    for place in dict.fromkeys([wanted, *([] if given else _places(environ, others))]):
        _remove_killed(place)
        try:
            folder, mark = _made(place)
        except OSError as error:
            reasons[place] = error.strerror or str(error)
            continue
        try:
            yield SessionFolder(path=folder / _INNER, note=_note(place, wanted, reasons))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(mark)
        return
    raise NoSessionFolder(_message(reasons, is_given=bool(given)))


@contextmanager
def closed(session: Path) -> Iterator[None]:
    """Close a session's folder in a shared place to other users, and remove it after the block.

    Meanwhile it is marked, so that the next session removes it if its process is killed.
    """
    session.chmod(0o700)
    mark = _marked(session)
    try:
        yield
    finally:
        shutil.rmtree(session, ignore_errors=True)
        os.close(mark)


def _places(environ: Mapping[str, str], others: tuple[str, ...]) -> list[Path]:
    paths = (other if other.startswith("/") else environ.get(other) for other in others)
    return [Path(path) for path in paths if path]


def _made(place: Path) -> tuple[Path, int]:
    """Create a folder in `place` with room for sockets, and return it with its locked mark.

    Raises:
        OSError: No folder, or no sockets, can be created there.
    """
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))  # 0700; Ray's own folder in it is 0777
    try:
        (folder / _INNER).mkdir()
        _check_sockets(folder / _INNER)
        mark = _marked(folder)
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder, mark


def _marked(folder: Path) -> int:
    """Create and lock the mark of one of our folders."""
    mark = os.open(folder / f"{_MARK}.new", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(mark, fcntl.LOCK_EX)
    (folder / f"{_MARK}.new").rename(folder / _MARK)  # visible only once it is locked
    return mark


def _check_sockets(folder: Path) -> None:
    """Check that a socket can be created whose path is as long as Ray's longest."""
    path = folder / _SOCKET.replace("/", "_")
    with closing(socket.socket(socket.AF_UNIX)) as one:
        one.bind(str(path))
    path.unlink()


def _remove_killed(place: Path, pattern: str = f"{_PREFIX}*") -> None:
    """Remove this user's sessions whose processes are gone."""
    with suppress(OSError):
        for folder in place.glob(pattern):
            with suppress(OSError):
                if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                    continue
                mark = os.open(folder / _MARK, os.O_RDWR | os.O_NOFOLLOW)
                try:
                    fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder, ignore_errors=True)
                finally:
                    os.close(mark)


def _note(place: Path, wanted: Path, reasons: Mapping[Path, str]) -> str:
    if place == wanted:
        return ""
    return f"Ray's session is in {place}: its sockets cannot be put in TMPDIR ({wanted}: {reasons[wanted]})"


def _message(reasons: Mapping[Path, str], *, is_given: bool) -> str:
    tried = "; ".join(f"{place}: {reason}" for place, reason in reasons.items())
    most = _longest_place()
    what = "RAY_TMPDIR must be" if is_given else "set RAY_TMPDIR to"
    return (
        f"there is no place for Ray's sockets ({tried}); {what} a writable folder on a local disk, "
        f"with a path of {most} bytes at most"
    )


def _longest_place() -> int:
    return 107 - len(f"/{_PREFIX}abcdefgh/{_INNER}/{_SOCKET}")
