"""The files that the processes of a node share."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

from trainables.engine.cache_folder import CacheFolder, CacheFull

KIB = 2**-20  # of a GiB


def filled(value: int):
    def fill(content: np.memmap) -> None:
        content[:] = value

    return fill


def no_fill(content: np.memmap) -> None:
    pytest.fail("filled again")


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def make(cache: CacheFolder, name: str, num_kib: int, *, used_ns: int) -> None:
    cache.file(name, num_kib * 1024, filled(1))
    os.utime(cache.folder / f"{name}.pixels", ns=(used_ns, used_ns))


def test_a_file_is_filled_once(tmp_path):
    CacheFolder(tmp_path).file("a", 10, filled(7))
    assert CacheFolder(tmp_path).file("a", 10, no_fill).content.tolist() == [7] * 10
    assert names(tmp_path) == ["a.pixels"]


def test_changes_to_the_content_stay_with_the_process(tmp_path):
    CacheFolder(tmp_path).file("a", 10, filled(7)).content[:] = 8
    assert CacheFolder(tmp_path).file("a", 10, no_fill).content.tolist() == [7] * 10


def test_a_second_writer_waits_and_uses_what_the_first_wrote(tmp_path):
    is_filling, may_end = threading.Event(), threading.Event()

    def fill(content: np.memmap) -> None:
        is_filling.set()
        may_end.wait()
        content[:] = 7

    first = threading.Thread(target=lambda: CacheFolder(tmp_path).file("a", 10, fill))
    first.start()
    is_filling.wait()
    threading.Timer(0.05, may_end.set).start()  # if the second did not wait, it would fill before
    content = CacheFolder(tmp_path).file("a", 10, no_fill).content
    first.join()
    assert content.tolist() == [7] * 10


def test_a_writer_that_is_killed_leaves_its_part_to_the_next(tmp_path):
    code = (
        "import os, signal, sys, pathlib\n"
        "from trainables.engine.cache_folder import CacheFolder\n"
        "def fill(content):\n"
        "    content[:4] = 7\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "CacheFolder(pathlib.Path(sys.argv[1])).file('a', 10, fill)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert names(tmp_path) == ["a.pixels.lock", "a.pixels.unfinished"]
    left: list[int] = []
    CacheFolder(tmp_path).file("a", 10, lambda content: left.extend(content.tolist()))
    assert left == [7] * 4 + [0] * 6
    assert names(tmp_path) == ["a.pixels"]


def test_a_fill_that_fails_leaves_nothing(tmp_path):
    def fill(content: np.memmap) -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        CacheFolder(tmp_path).file("a", 10, fill)
    assert names(tmp_path) == []


def test_over_the_limit_the_files_unused_for_longest_go(tmp_path):
    cache = CacheFolder(tmp_path, limit_gib=10 * KIB)
    for used_ns, name in enumerate("bac"):
        make(cache, name, 3, used_ns=used_ns)
    make(cache, "d", 5, used_ns=9)
    assert names(tmp_path) == ["c.pixels", "d.pixels"]


def test_a_file_in_use_is_never_evicted(tmp_path):
    cache = CacheFolder(tmp_path, limit_gib=10 * KIB)
    for used_ns, name in enumerate("abc"):
        make(cache, name, 3, used_ns=used_ns)
    used = CacheFolder(tmp_path).file("a", 3 * 1024, no_fill)
    os.utime(tmp_path / "a.pixels", ns=(0, 0))
    make(cache, "d", 3, used_ns=9)
    assert names(tmp_path) == ["a.pixels", "c.pixels", "d.pixels"]
    del used
    make(cache, "e", 3, used_ns=10)
    assert names(tmp_path) == ["c.pixels", "d.pixels", "e.pixels"]


def test_a_file_larger_than_the_limit_is_refused_and_evicts_nothing(tmp_path):
    cache = CacheFolder(tmp_path, limit_gib=10 * KIB)
    make(cache, "a", 3, used_ns=0)
    message = r"1.05e-05 GiB are needed and 6.68e-06 GiB of limits.cache_gib 9.53674e-06 are left"
    with pytest.raises(CacheFull, match=message):
        cache.file("b", 11 * 1024, no_fill)
    assert names(tmp_path) == ["a.pixels"]


def test_a_full_disk_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda folder: Usage(2**30 + 5))
    with pytest.raises(CacheFull, match="of free disk are left"):
        CacheFolder(tmp_path).file("a", 10, no_fill)
    assert CacheFolder(tmp_path).file("b", 5, filled(1)).content.tolist() == [1] * 5


class Usage:
    def __init__(self, free: int) -> None:
        self.free = free
