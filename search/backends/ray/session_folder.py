"""The temporary folder of a Ray session of our own: private, short enough for sockets, removed at the end."""

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

_PREFIX, _INNER = "jt-", "r"  # short: 29 bytes are left for the folder around it
_MARK = "session.lock"  # held as long as its process lives: what is ours, and whether it is in use
# Where sessions may be if TMPDIR, which Slurm and macOS make long, leaves no room for a socket's path.
_OTHERS = ("/tmp", "/var/tmp", "XDG_RUNTIME_DIR", "/dev/shm")
_WITH_DASHBOARD = "/tmp/ray"  # dashboards/prometheus.yml looks for Ray's nodes there
_MOST_DIGITS = 7  # of a process's number on Linux
# Ray's own, below its temporary folder: the longest path of a socket.
_SOCKET = f"session_2026-01-01_00-00-00_000000_{'9' * _MOST_DIGITS}/sockets/plasma_store"


class NoSessionFolder(OSError):
    """Ray's sockets can be put nowhere; the message says which variable to set."""


@dataclass(frozen=True, kw_only=True)
class SessionFolder:
    """Where a session keeps its files.

    Attributes:
        path: For Ray's `_temp_dir`.
        note: Why it is not at the usual place; empty if it is.
    """

    path: Path
    note: str = ""


@contextmanager
def session_folder(
    environ: Mapping[str, str] = os.environ, *, others: tuple[str, ...] = _OTHERS, has_dashboard: bool = False
) -> Iterator[SessionFolder]:
    """A folder of mode 0700 that exists as long as the context does.

    It is in RAY_TMPDIR if that is set, or else in TMPDIR, or in another usual place where TMPDIR is too
    long for sockets or takes none. What killed sessions of this user left beside it is removed. With a
    dashboard it is Ray's own shared folder, which stays: the session in it is for `closed`.

    Raises:
        NoSessionFolder: No place will do, or RAY_TMPDIR will not.
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
    """Close the folder of a session in a shared place to everybody else, and remove it in the end.

    Until then it bears a mark, by which the next session removes it where its process is killed.
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
    """A new folder in `place` with room for sockets, and its mark, held.

    Raises:
        OSError: The place takes no folder, or no sockets.
    """
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))  # 0700; Ray makes its own in it 0777
    try:
        (folder / _INNER).mkdir()
        _check_sockets(folder / _INNER)
        mark = _marked(folder)
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder, mark


def _marked(folder: Path) -> int:
    """The mark of a folder of ours, held."""
    mark = os.open(folder / f"{_MARK}.new", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(mark, fcntl.LOCK_EX)
    (folder / f"{_MARK}.new").rename(folder / _MARK)  # none sees it before it is held
    return mark


def _check_sockets(folder: Path) -> None:
    """See that a socket can be made whose path is as long as the longest of Ray's."""
    path = folder / _SOCKET.replace("/", "_")
    with closing(socket.socket(socket.AF_UNIX)) as one:
        one.bind(str(path))
    path.unlink()


def _remove_killed(place: Path, pattern: str = f"{_PREFIX}*") -> None:
    """Remove sessions of this user whose processes are gone."""
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
        f"Ray's sockets can be put nowhere ({tried}); {what} a folder on a local disk that takes files, "
        f"with a path of {most} bytes at most"
    )


def _longest_place() -> int:
    return 107 - len(f"/{_PREFIX}abcdefgh/{_INNER}/{_SOCKET}")
