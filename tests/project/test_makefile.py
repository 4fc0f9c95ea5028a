"""Which Python `make` takes in a fresh clone, with stand-ins for all that there are."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Fits or not, says its version, and makes an environment that only notes who made it.
_PYTHON = """#!/bin/sh
case "$1" in
-c) exit {unfit} ;;
--version) echo "Python {version}" ;;
*) mkdir -p .venv/bin && echo "{name} $*" >made
    printf '#!/bin/sh\\n' >.venv/bin/python && chmod +x .venv/bin/python ;;
esac
"""
_UV = """#!/bin/sh
[ "$1" = pip ] || { mkdir -p .venv/bin && echo "uv $*" >made && touch .venv/bin/python; }
"""


def fresh_clone(folder: Path, versions: dict[str, str], *, has_uv: bool) -> Path:
    """A clone with a PATH on which are these Pythons, uv perhaps, and what make needs."""
    tools = folder / "bin"
    tools.mkdir(parents=True)
    for name in ("make", "sh", "touch", "mkdir", "chmod"):
        found = shutil.which(name)
        assert found, name
        (tools / name).symlink_to(found)
    for name, version in versions.items():
        unfit = int(not (3, 11) <= tuple(map(int, version.split(".")[:2])) <= (3, 13))
        (tools / name).write_text(_PYTHON.format(name=name, version=version, unfit=unfit))
    if has_uv:
        (tools / "uv").write_text(_UV)
    for tool in tools.iterdir():
        if not tool.is_symlink():
            tool.chmod(0o755)
    for name in ("Makefile", "requirements.lock"):
        shutil.copy(ROOT / name, folder)
    return folder


def made(clone: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": str(clone / "bin"), "HOME": os.environ.get("HOME", "/")}
    return subprocess.run(
        [str(clone / "bin" / "make"), "setup", *words],
        cwd=clone,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("versions", "maker", "said"),
    [
        ({"python3": "3.12.1", "python3.13": "3.13.0"}, "python3 -m venv .venv", ""),
        (
            {"python3": "3.14.0", "python3.12": "3.12.1"},
            "python3.12 -m venv .venv",
            "making the environment with python3.12: python3 is Python 3.14.0, python3.13 is ",
        ),
        (
            {"python3": "3.9.18", "python3.11": "3.11.7"},
            "python3.11 -m venv .venv",
            "making the environment with python3.11: python3 is Python 3.9.18, python3.13 is ",
        ),
        (
            {"python3.13": "3.13.0"},
            "python3.13 -m venv .venv",
            "making the environment with python3.13: python3 is ",
        ),
        (
            {"python3": "3.14.0"},
            "uv venv --quiet --python 3.13 .venv",
            "making the environment with Python 3.13, which uv finds or fetches",
        ),
    ],
)
def test_make_takes_a_python_that_fits_and_says_so_where_it_is_not_the_first(
    versions: dict[str, str], maker: str, said: str, tmp_path: Path
) -> None:
    clone = fresh_clone(tmp_path / "clone", versions, has_uv=True)
    done = made(clone)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (clone / "made").read_text() == f"{maker}\n"
    assert said in done.stdout
    assert ("making the environment" in done.stdout) == bool(said)
    assert (clone / ".venv" / ".ready").exists()


def test_without_a_python_that_fits_make_says_what_to_do(tmp_path: Path) -> None:
    clone = fresh_clone(tmp_path / "clone", {"python3": "3.14.0"}, has_uv=False)
    done = made(clone)
    assert done.returncode == 2
    assert "jouletune needs Python 3.11 to 3.13, and python3 is Python 3.14.0, python3.13 is " in done.stdout
    assert "install one of them, or uv, which fetches one" in done.stdout
    assert not (clone / ".venv").exists()


def test_a_python_that_is_named_is_the_one_or_none(tmp_path: Path) -> None:
    clone = fresh_clone(tmp_path / "clone", {"python3": "3.12.1", "python3.14": "3.14.0"}, has_uv=True)
    done = made(clone, "PYTHON3=python3.14")
    assert done.returncode == 2
    assert "and python3.14 is Python 3.14.0\n" in done.stdout
    assert not (clone / "made").exists()
    assert made(clone, "PYTHON3=python3").returncode == 0
    assert (clone / "made").read_text() == "python3 -m venv .venv\n"
