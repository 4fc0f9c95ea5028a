"""What listens while a search runs is what docs/cluster.md says; secrets are in no file. Starts Ray."""

from __future__ import annotations

import contextlib
import ipaddress
import re
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from tests.support.processes import ROOT
from tests.support.slow_searches import searching, slow_space

pytestmark = pytest.mark.slow

SECRET = "s3kret-of-a-test"
_LISTEN = "0A"  # a socket's state in the kernel's tables
_OPTIONAL = {44217, 44227, 8265}  # metrics of scaling and dashboard, and the dashboard


def listening(search: subprocess.Popen[str]) -> set[tuple[str, int]]:
    """Address and port of all that the search and its children listen on, by the kernel's tables."""
    own = {inode for pid in family(search.pid) for inode in sockets_of(pid)}
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == _LISTEN and words[9] in own:
                address, _, port = words[1].partition(":")
                found.add((readable(address), int(port, 16)))
    return found


def family(pid: int) -> set[int]:
    """A process and all that descend from it."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def sockets_of(pid: int) -> set[str]:
    """The inodes of a process's sockets."""
    found = set()
    with contextlib.suppress(OSError):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                found |= set(re.findall(r"socket:\[(\d+)\]", str(link.readlink())))
    return found


def readable(address: str) -> str:
    """An address of the kernel's table, whose words of four bytes are in the machine's order."""
    words = [bytes.fromhex(address[at : at + 8])[::-1] for at in range(0, len(address), 8)]
    found = ipaddress.ip_address(b"".join(words))
    return str(getattr(found, "ipv4_mapped", None) or found)


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
        output = search.communicate()[0]
        assert search.returncode == 0, output
        assert list(Path(place).glob(sessions)) == []
    ports = {port for _, port in seen}
    assert {address for address, _ in seen} == {"127.0.0.1"}
    assert ports & _OPTIONAL <= documented(has_dashboard=bool(flags))
    assert (8265 in ports) == bool(flags)
    assert 52365 in documented(has_dashboard=False)
    assert 0o700 in modes
    assert leaks | holding(SECRET, tmp_path) == set()
