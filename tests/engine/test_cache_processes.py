"""Processes that share the cache: who waits for whom, for how long, and what a stopped one costs."""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.support.cache_users import NUM_BYTES, cache_users
from trainables.core import progress
from trainables.engine import cache_lock
from trainables.engine.cache_folder import CacheFolder
from trainables.engine.cache_lock import CacheUnavailable, WaitForMaker
from trainables.engine.images.decoded_source import decoded_source
from trainables.engine.images.decoding import ImageReader
from trainables.engine.images.pixels import StreamedPixels

GIVEN = f"given {7 * NUM_BYTES}"
SHORT_S = 0.3  # without progress


def no_fill(content: np.memmap) -> None:
    pytest.fail("filled again")


def test_a_process_that_was_stopped_while_it_waited_does_not_wait_for_the_others_training(tmp_path: Path):
    with cache_users(tmp_path, "a") as (first,):
        assert first.heard() == "found 0"
        with cache_users(tmp_path, "a") as (second,):
            second.send(signal.SIGSTOP)
            assert first.fill_parts(4) == "filled 4"
            assert first.heard() == GIVEN
            second.send(signal.SIGCONT)
            assert second.heard() == GIVEN  # the first still trains


def test_of_three_processes_at_once_one_decodes_and_none_waits_for_anothers_training(tmp_path: Path):
    with cache_users(tmp_path, "a", "a", "a") as users:
        for user in users:
            user.release(4)
        first = [user.heard() for user in users]
        assert sorted(first) == ["found 0", GIVEN, GIVEN]


def test_a_reader_keeps_its_images_while_another_decodes_another_side(tmp_path: Path):
    with cache_users(tmp_path, "a-16px", "a-32px") as (reader, other):
        for user in (reader, other):
            assert user.heard() == "found 0"
            user.release(4)
            assert [user.heard() for _ in range(5)][-1] == GIVEN


def test_what_a_killed_process_decoded_is_not_decoded_again_by_those_who_waited(tmp_path: Path):
    with cache_users(tmp_path, "a") as (first,):
        assert first.heard() == "found 0"
        with cache_users(tmp_path, "a", "a") as waiting:
            first.fill_parts(3)
            first.send(signal.SIGKILL)
            for user in waiting:
                user.release(1)
            assert sorted(user.heard() for user in waiting) == ["found 3", GIVEN]
        assert not list(tmp_path.glob("*.lock"))


def test_a_stopped_process_is_not_waited_for_and_its_part_is_used_when_it_continues(tmp_path: Path):
    with cache_users(tmp_path, "a", stalled_s=SHORT_S) as (first,):
        assert first.heard() == "found 0"
        first.fill_parts(1)
        with cache_users(tmp_path, "a", stalled_s=SHORT_S) as (second,):
            until_shown(tmp_path / "a.pixels.lock", "0.25")
            first.send(signal.SIGSTOP)
            line = second.heard()
            assert line.startswith(f"without a.pixels is held by process {first.pid} on ")
            assert line.endswith(f", 25% done), without progress for {SHORT_S:g} s")
        first.send(signal.SIGCONT)
        assert first.fill_parts(3) == "filled 4"
        assert first.heard() == GIVEN
    assert CacheFolder(tmp_path).file("a", NUM_BYTES, no_fill).content.sum() == 7 * NUM_BYTES


def until_shown(lock: Path, text: str) -> None:
    while not lock.exists() or text not in lock.read_text():
        threading.Event().wait(0.01)


def test_a_stopped_process_that_tells_no_fraction_is_not_waited_for(tmp_path: Path):
    with cache_users(tmp_path, "a", reports_progress=False, stalled_s=SHORT_S) as (first,):
        assert first.heard() == "found 0"
        until_shown(tmp_path / "a.pixels.lock", "pid")
        first.send(signal.SIGSTOP)
        with cache_users(tmp_path, "a", stalled_s=SHORT_S) as (second,):
            assert second.heard().startswith("without a.pixels is held by process")


class FakeTime:
    """A clock that only sleeping moves; at each sleep another process may do something."""

    def __init__(self, at_sleep: Callable[[], None]) -> None:
        self.now_s, self._at_sleep = 0.0, at_sleep

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        self._at_sleep()


@pytest.mark.parametrize("is_telling", [False, True])
def test_one_that_lives_is_waited_for_as_long_as_it_tells_no_fraction(tmp_path, monkeypatch, is_telling):
    lock, beats = tmp_path / "a.pixels.lock", iter(range(100_000))

    def beat() -> None:
        shown = {"pid": 7, "host": "n", "since": "12:00:00", "fraction": 0.5 if is_telling else None}
        lock.write_text(json.dumps({**shown, "beats": next(beats)}))

    monkeypatch.setattr(cache_lock, "time", clock := FakeTime(beat))
    wait = WaitForMaker(lock, stalled_s=60.0)
    if is_telling:
        with pytest.raises(CacheUnavailable, match=r"process 7 on n .since 12:00:00, 50% done., without"):
            turns(wait, 700)
        assert 60.0 < clock.now_s < 60.3  # in turns of 0.1 s
    else:
        turns(wait, 700)
        assert clock.now_s == pytest.approx(70.0)


def turns(wait: WaitForMaker, number: int) -> None:
    for _ in range(number):
        wait.turn()


def test_one_that_tells_its_fraction_and_hangs_is_not_waited_for(tmp_path: Path):
    """As where the images lie on an NFS server that is gone: its threads live, and nothing comes."""
    with cache_users(tmp_path, "a", stalled_s=SHORT_S) as (first,):
        assert first.heard() == "found 0"
        first.fill_parts(2)
        until_shown(tmp_path / "a.pixels.lock", "0.5")
        with cache_users(tmp_path, "a", stalled_s=SHORT_S) as (second,):
            assert "50% done" in second.heard()


def test_what_is_waited_for_is_reported(tmp_path: Path, monkeypatch, caplog):
    monkeypatch.setattr(cache_lock, "_FIRST_REPORT_S", 0.0)
    with cache_users(tmp_path, "a") as (first,), caplog.at_level(logging.WARNING):
        assert first.heard() == "found 0"
        first.fill_parts(3)
        until_shown(tmp_path / "a.pixels.lock", "0.75")
        threading.Timer(0.5, first.release).start()
        CacheFolder(tmp_path).file("a", NUM_BYTES, no_fill)
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith(f"waiting for a.pixels, held by process {first.pid} on ")
    assert caplog.messages[0].endswith(", 75% done)")


@pytest.mark.parametrize("is_stopped", [False, True])
def test_eviction_neither_removes_what_another_process_uses_nor_waits_for_it(
    tmp_path: Path, is_stopped: bool
):
    with cache_users(tmp_path, "used", "unused") as users:
        for user in users:
            user.release(4)
            assert [user.heard() for _ in range(6)][-1] == GIVEN
        users[1].end()
        if is_stopped:
            users[0].send(signal.SIGSTOP)
        os.utime(tmp_path / "used.pixels", ns=(0, 0))  # the longest unused, were it not in use
        small = CacheFolder(tmp_path, limit_gib=2.5 * NUM_BYTES / 2**30)
        small.file("new", NUM_BYTES, lambda content: None)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["new.pixels", "used.pixels"]


def test_eviction_leaves_alone_what_another_process_makes(tmp_path: Path):
    with cache_users(tmp_path, "made") as (user,):
        assert user.heard() == "found 0"
        small = CacheFolder(tmp_path, limit_gib=1.5 * NUM_BYTES / 2**30)
        with pytest.raises(CacheUnavailable, match="are needed"):
            small.file("new", NUM_BYTES, lambda content: None)
        assert user.fill_parts(4) == "filled 4"
        assert user.heard() == GIVEN


def test_what_a_killed_process_left_is_evicted_with_its_lock(tmp_path: Path):
    with cache_users(tmp_path, "left") as (user,):
        assert user.heard() == "found 0"
    small = CacheFolder(tmp_path, limit_gib=1.5 * NUM_BYTES / 2**30)
    small.file("new", NUM_BYTES, lambda content: None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new.pixels"]


def test_one_that_is_stopped_while_it_evicts_is_not_waited_for(tmp_path: Path):
    cache = CacheFolder(tmp_path, stalled_s=SHORT_S)
    cache.file("a", NUM_BYTES, lambda content: None)
    descriptor = os.open(tmp_path / "a.pixels", os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(CacheUnavailable, match=r"a\.pixels is held by .*, without progress for 0.3 s"):
        cache.file("a", NUM_BYTES, no_fill)
    os.close(descriptor)
    cache.file("a", NUM_BYTES, no_fill)


def test_a_file_of_another_size_is_made_again(tmp_path: Path, caplog):
    cache = CacheFolder(tmp_path)
    cache.file("a", 10, lambda content: None)
    os.truncate(tmp_path / "a.pixels", 4)
    assert cache.file("a", 10, lambda content: content.fill(7)).content.tolist() == [7] * 10
    assert "has 4 bytes instead of 10 and is made again" in caplog.text


@pytest.fixture
def reader() -> ImageReader:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (6, 20, 20, 3), dtype=np.uint8)
    return ImageReader(6, lambda index, side: Image.fromarray(pixels[index]))


def source_of(reader: ImageReader, cache: CacheFolder):
    return decoded_source(
        reader,
        torch.zeros(6),
        parts=np.full(6, "train"),
        class_names=["cat"],
        cache=cache,
        name="pets",
        top=8,
        num_threads=1,
    )


def test_decoding_shows_how_many_images_are_done(tmp_path: Path, monkeypatch):
    monkeypatch.setitem(progress.SHOWN_AFTER_S, "decoding", 0.0)
    monkeypatch.setattr(progress, "_WRITE_EVERY_S", 0.0)
    written: list[str] = []
    write_text = Path.write_text

    def noted(path: Path, text: str, **options: str) -> int:
        written.append(text)
        return write_text(path, text, **options)

    pixels = np.zeros((6, 20, 20, 3), dtype=np.uint8)
    reader = ImageReader(6, lambda index, side: Image.fromarray(pixels[index]))
    monkeypatch.setattr(Path, "write_text", noted)
    source_of(reader, CacheFolder(tmp_path, progress_file=tmp_path / ".progress"))
    assert written == [f"decoding 0 {done} 6\n" for done in range(6)]
    assert not (tmp_path / ".progress").exists()


def check_streamed(source, reader: ImageReader, tmp_path: Path) -> None:
    """It decodes what it is asked for, to the pixels that the cache would have."""
    whole = source_of(reader, CacheFolder(tmp_path / "undisturbed"))
    rows = torch.tensor([4, 0])
    assert isinstance(source.pixels(8), StreamedPixels)
    assert torch.equal(source.pixels(8).pick(rows), whole.pixels(8).pick(rows))
    assert source.parts.tolist() == ["train"] * 6


def test_where_a_process_decodes_without_getting_on_images_are_decoded_as_they_are_needed(
    tmp_path: Path, reader: ImageReader
):
    for name in ("pets-8px", "pets-8px-checked"):
        hold(tmp_path / f"{name}.pixels.lock")
    source = source_of(reader, CacheFolder(tmp_path, stalled_s=SHORT_S))
    check_streamed(source, reader, tmp_path)
    assert source.notes["cache"] == (
        "images are decoded again each epoch: pets-8px.pixels is held by another process, without progress "
        "for 0.3 s"
    )


def hold(lock: Path) -> None:
    """Lock it until this process ends, as one does that was stopped before it reported anything."""
    fcntl.flock(os.open(lock, os.O_RDWR | os.O_CREAT), fcntl.LOCK_EX)


@pytest.mark.parametrize("error", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_on_a_file_system_without_locks_images_are_decoded_as_they_are_needed(
    tmp_path: Path, reader: ImageReader, monkeypatch, error: int
):
    locks = fcntl.flock

    def flock(descriptor: int, kind: int) -> None:
        if "lockless" in str(Path(f"/proc/self/fd/{descriptor}").readlink()):
            raise OSError(error, os.strerror(error))
        locks(descriptor, kind)

    monkeypatch.setattr(fcntl, "flock", flock)
    source = source_of(reader, CacheFolder(tmp_path / "lockless"))
    check_streamed(source, reader, tmp_path)
    assert source.notes["cache"] == (
        f"images are decoded again each epoch: files in {tmp_path / 'lockless'} cannot be locked "
        f"({os.strerror(error)}); set JOULETUNE_CACHE to a folder on a local disk"
    )
