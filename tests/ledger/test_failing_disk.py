"""The disk that tests let fail: the operation that is meant fails or is the last one, every other is real."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.failing_disk import Accident, FailingDisk
from tests.support.forked_commands import Ended, forked
from trainables.core.files import replacing

KILLED = -9


def write_twice(folder: Path) -> int:
    """Two files, each replaced as the project's are; what went wrong with each."""
    failed = []
    for name in ("one.csv", "two.csv"):
        try:
            with replacing(folder / name) as scratch:
                scratch.write_text("new\n")
        except OSError as error:
            failed.append(f"{name} {errno.errorcode[error.errno or 0]} {Path(str(error.filename)).suffix}")
    print("; ".join(failed))
    return 0


def done(tmp_path: Path, accident: Accident, act: Callable[[Path], int] = write_twice) -> tuple[Ended, Path]:
    """`act` in a process whose disk fails in the folder."""
    folder = tmp_path / "here"
    folder.mkdir(exist_ok=True)
    for name in ("one.csv", "two.csv"):
        (folder / name).write_text("old\n")

    def acted() -> int:
        FailingDisk(folder, accident, tmp_path / "note").install()
        return act(folder)

    return forked(acted, tmp_path / "log"), folder


def contents(folder: Path) -> list[str]:
    return [(folder / name).read_text() for name in ("one.csv", "two.csv")]


@pytest.mark.parametrize("operation", ["create", "write", "fsync", "replace"])
def test_one_operation_fails_and_the_next_is_real(tmp_path: Path, operation: str) -> None:
    ended, folder = done(tmp_path, Accident(operation=operation, error=errno.EIO))
    assert (ended.status, ended.output) == (0, "one.csv EIO .csv\n")
    assert contents(folder) == ["old\n", "new\n"]
    assert sorted(path.name for path in folder.iterdir()) == ["one.csv", "two.csv"]


def test_a_full_disk_takes_a_part_and_stays_full(tmp_path: Path) -> None:
    ended, folder = done(tmp_path, Accident(operation="write", error=errno.ENOSPC, lasts=True))
    assert ended.output == "one.csv ENOSPC .csv; two.csv ENOSPC .csv\n"
    assert contents(folder) == ["old\n", "old\n"]


@pytest.mark.parametrize(
    ("operation", "moment", "expected"),
    [
        ("write", "before", ["old\n", "old\n"]),
        ("write", "within", ["old\n", "old\n"]),
        ("fsync", "after", ["old\n", "old\n"]),
        ("replace", "before", ["old\n", "old\n"]),
        ("replace", "after", ["new\n", "old\n"]),
        ("unlink", "after", ["new\n", "old\n"]),  # of the scratch file that is gone
    ],
)
def test_a_process_dies_at_an_operation(
    tmp_path: Path, operation: str, moment: str, expected: list[str]
) -> None:
    ended, folder = done(tmp_path, Accident(operation=operation, moment=moment))
    assert ended.status == KILLED
    assert contents(folder) == expected
    assert json.loads((tmp_path / "note").read_text())["operation"] == operation
    left = [path.read_text() for path in folder.glob(".*")]
    assert left == {"before": [""], "within": ["ne"]}[moment] if operation == "write" else len(left) < 2


def test_operations_elsewhere_and_of_other_files_are_none_of_those_that_pass(tmp_path: Path) -> None:
    def write_elsewhere(folder: Path) -> int:
        (folder.parent / "one.csv").write_text("elsewhere")
        return write_twice(folder)

    accident = Accident(operation="create", file="two.csv", error=errno.EROFS)
    ended, folder = done(tmp_path, accident, write_elsewhere)
    assert ended.output == "two.csv EROFS .csv\n"
    assert contents(folder) == ["new\n", "old\n"]


def test_what_is_read_and_what_has_a_number_can_fail_as_well(tmp_path: Path) -> None:
    def read(folder: Path) -> int:
        with (folder / "one.csv").open("rb") as file:
            try:
                file.read()
            except OSError as error:
                print("read", errno.errorcode[error.errno or 0])
        with (folder / "one.csv").open("ab") as file:
            os.truncate(file.fileno(), 1)
            os.write(file.fileno(), b"x")
        return 0

    ended, folder = done(tmp_path, Accident(operation="read", error=errno.EIO), read)
    assert ended.output == "read EIO\n"
    assert contents(folder) == ["ox", "old\n"]
    ended, folder = done(tmp_path, Accident(operation="write", file="one.csv"), read)
    assert ended.status == KILLED
    assert contents(folder) == ["o", "old\n"]
