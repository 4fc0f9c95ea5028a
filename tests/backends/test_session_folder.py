"""Where a Ray session is: private, with room for sockets, and gone with it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from search.backends.errors import SessionError
from search.backends.ray import cluster
from search.backends.ray.cluster import ray_session
from search.backends.ray.session_folder import NoSessionFolder, session_folder


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose path leaves room for sockets, as pytest's does not."""
    folder = Path(tempfile.mkdtemp(prefix="s", dir="/tmp"))
    yield folder
    shutil.rmtree(folder)


def long(folder: Path) -> Path:
    path = folder / ("slurm_jobdir-" * 3) / "tmp"
    path.mkdir(parents=True)
    return path


def test_it_is_private_lies_in_tmpdir_and_is_gone_in_the_end(short: Path) -> None:
    with session_folder({"TMPDIR": str(short)}) as folder:
        assert folder.note == ""
        assert folder.path.parents[1] == short
        assert stat.S_IMODE(folder.path.parent.stat().st_mode) == 0o700
        (folder.path / "logs").mkdir()
    assert list(short.iterdir()) == []


def test_it_is_gone_after_an_error_too(short: Path) -> None:
    with pytest.raises(KeyError), session_folder({"TMPDIR": str(short)}):
        raise KeyError
    assert list(short.iterdir()) == []


def test_two_sessions_have_folders_of_their_own(short: Path) -> None:
    with session_folder({"TMPDIR": str(short)}) as one, session_folder({"TMPDIR": str(short)}) as other:
        assert one.path != other.path
        assert one.path.is_dir()


def test_there_is_room_for_the_longest_socket_of_ray(short: Path) -> None:
    with session_folder({"TMPDIR": str(short)}) as folder:
        sockets = folder.path / "session_2026-11-28_23-59-59_999999_4194304" / "sockets"
        sockets.mkdir(parents=True)
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(str(sockets / "plasma_store"))


def test_where_tmpdir_is_too_long_another_place_is_taken_and_reported(short: Path) -> None:
    tmpdir = long(short)
    with session_folder({"TMPDIR": str(tmpdir)}, others=(str(short),)) as folder:
        assert folder.path.parents[1] == short
        assert folder.note == (
            f"Ray's session is in {short}: its sockets cannot be put in TMPDIR "
            f"({tmpdir}: AF_UNIX path too long)"
        )
    assert list(tmpdir.iterdir()) == []


@pytest.mark.parametrize("kind", ["missing", "file", "no_sockets"])
def test_a_place_that_takes_no_folder_or_no_sockets_is_passed_over(
    short: Path, monkeypatch, kind: str
) -> None:
    bad, good = short / "bad", short / "good"
    good.mkdir()
    if kind == "file":
        bad.touch()
    if kind == "no_sockets":
        bad.mkdir()
        refuse_sockets_in(bad, monkeypatch)
    environ = {"TMPDIR": str(long(short)), "XDG_RUNTIME_DIR": str(good)}
    with session_folder(environ, others=(str(bad), "XDG_RUNTIME_DIR")) as folder:
        assert folder.path.parents[1] == good
    assert not bad.is_dir() or list(bad.iterdir()) == []


def refuse_sockets_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a file system without them does."""

    class Socket(socket.socket):
        def bind(self, path: str) -> None:
            if path.startswith(f"{folder}/"):
                raise PermissionError(1, "Operation not permitted")
            super().bind(path)

    monkeypatch.setattr(socket, "socket", Socket)


def test_where_no_place_will_do_the_variable_to_set_is_named(short: Path) -> None:
    tmpdir = long(short)
    message = (
        rf"no place for Ray's sockets \({tmpdir}: AF_UNIX path too long; /nowhere: No such file or "
        r"directory\); set RAY_TMPDIR to a writable folder on a local disk, with a path of 29 bytes at most"
    )
    with (
        pytest.raises(NoSessionFolder, match=message),
        session_folder({"TMPDIR": str(tmpdir)}, others=("/nowhere",)),
    ):
        pass


def test_the_longest_place_that_is_named_will_do() -> None:
    place = Path("/tmp") / ("s" * (29 - len("/tmp/")))
    place.mkdir()
    try:
        with session_folder({"RAY_TMPDIR": str(place)}) as folder:
            assert folder.path.parents[1] == place
        with pytest.raises(NoSessionFolder), session_folder({"RAY_TMPDIR": f"{place}/x"}):
            pass
    finally:
        shutil.rmtree(place)


def test_ray_tmpdir_is_kept_to(short: Path) -> None:
    environ = {"RAY_TMPDIR": str(long(short)), "TMPDIR": str(short)}
    with (
        pytest.raises(NoSessionFolder, match="RAY_TMPDIR must be"),
        session_folder(environ, others=(str(short),)),
    ):
        pass
    with session_folder({"RAY_TMPDIR": str(short), "TMPDIR": "/nowhere"}) as folder:
        assert folder.path.parents[1] == short


@pytest.mark.parametrize(
    ("environ", "path"),
    [({}, "/tmp/ray"), ({"TMPDIR": "/elsewhere"}, "/tmp/ray"), ({"RAY_TMPDIR": "/mine"}, "/mine/ray")],
)
def test_with_a_dashboard_it_is_where_prometheus_looks(environ: dict[str, str], path: str) -> None:
    with session_folder(environ, has_dashboard=True) as folder:
        assert str(folder.path) == path


def test_the_next_session_removes_what_a_killed_one_left_and_nothing_else(short: Path) -> None:
    code = (
        "import os, signal\n"
        "from search.backends.ray.session_folder import session_folder\n"
        "with session_folder():\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    env = {**os.environ, "TMPDIR": str(short)}
    env.pop("RAY_TMPDIR", None)
    done = subprocess.run([sys.executable, "-c", code], env=env, check=False)
    assert done.returncode == -signal.SIGKILL
    (left,) = short.iterdir()
    (short / "jt-another").mkdir()  # without our mark
    (short / "jt-link").symlink_to(short / "jt-another")
    with session_folder({"TMPDIR": str(short)}), session_folder({"TMPDIR": str(short)}):
        assert not left.exists()
        assert len(list(short.iterdir())) == 4  # both sessions that live are left alone
    assert sorted(path.name for path in short.iterdir()) == ["jt-another", "jt-link"]


def test_a_session_that_finds_no_place_is_refused_before_ray_starts(short: Path, monkeypatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(long(short)))
    monkeypatch.setattr(cluster, "offer_worker_env", lambda: None)
    with (
        pytest.raises(SessionError, match=r"RAY_TMPDIR must be a writable folder .* 29 bytes at most"),
        ray_session(),
    ):
        pass
