"""What listens while a search runs is what docs/cluster.md says; secrets are in no file. Starts Ray."""

from __future__ import annotations

import re
import subprocess
import tempfile
import time
from pathlib import Path

import psutil
import pytest
from made_processes import ROOT
from made_searches import searching, slow_space

pytestmark = pytest.mark.slow

SECRET = "s3kret-of-a-test"
_OPTIONAL = {44217, 44227, 8265}  # metrics of scaling and dashboard, and the dashboard


def listening(search: subprocess.Popen[str]) -> set[tuple[str, int]]:
    """Address and port of all that the search and its children listen on, by the kernel's tables."""
    found = set()
    for process in (psutil.Process(search.pid), *psutil.Process(search.pid).children(recursive=True)):
        try:
            sockets = process.net_connections(kind="inet")
        except psutil.Error:
            continue
        found |= {(one.laddr.ip, one.laddr.port) for one in sockets if one.status == psutil.CONN_LISTEN}
    return {(address.removeprefix("::ffff:"), port) for address, port in found}


def documented(*, has_dashboard: bool) -> set[int]:
    """The ports by number in the page's table."""
    page = (ROOT / "docs/cluster.md").read_text()
    rows = re.findall(r"^\| .+ \| (.+) \| 127\.0\.0\.1 \| (yes|off) \|$", page, re.MULTILINE)
    assert len(rows) == 9
    shown = [ports for ports, without in rows if has_dashboard or without == "yes"]
    return {int(number) for ports in shown for number in re.findall(r"\d+", ports)}


def holding(secret: str, folder: Path) -> set[Path]:
    """The files below `folder` with the secret in them."""
    found = set()
    for path in folder.rglob("*"):
        try:
            if path.is_file() and secret.encode() in path.read_bytes():
                found.add(path)
        except OSError:
            continue  # gone meanwhile
    return found


@pytest.mark.parametrize("flags", [(), ("--dashboard",)])
def test_a_search_listens_on_loopback_alone_and_leaves_secrets_in_no_file(
    flags: tuple[str, ...], tmp_path: Path
) -> None:
    slow_space(tmp_path, ladder={"epochs": [3]}, limits={"trials": 6}, resources={"workers": 1})
    sessions = "ray/session_2*" if flags else "jt-*"
    secrets = dict.fromkeys(("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "HF_TOKEN"), SECRET)
    seen: set[tuple[str, int]] = set()
    leaks: set[Path] = set()
    modes: set[int] = set()
    with tempfile.TemporaryDirectory(prefix="p", dir="/tmp", ignore_cleanup_errors=True) as place:
        search = searching(tmp_path, "--skip-preflight", *flags, RAY_TMPDIR=place, **secrets)
        while search.poll() is None:
            seen |= listening(search)
            leaks |= holding(SECRET, Path(place))
            modes |= {path.stat().st_mode & 0o777 for path in Path(place).glob(sessions)}
            time.sleep(0.5)
        said = search.communicate()[0]
        assert search.returncode == 0, said
        assert list(Path(place).glob(sessions)) == []
    ports = {port for _, port in seen}
    assert {address for address, _ in seen} == {"127.0.0.1"}
    assert ports & _OPTIONAL <= documented(has_dashboard=bool(flags))
    assert (8265 in ports) == bool(flags)
    assert 52365 in documented(has_dashboard=False)
    assert 0o700 in modes
    assert leaks | holding(SECRET, tmp_path) == set()
