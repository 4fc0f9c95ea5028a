"""A page that is written while its run continues."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from search.backends.local import execute_here
from search.ledger import Ledger
from search.report.page import watch
from search.report.page.writer import Written
from search.run import Run
from search.run_place import place_to_watch
from search.space import dump_space
from tests.support.toy_runs import SteadyMeter, made_space, sampler_for


class Pages:
    """Counts how it was asked to write; the run is over at the given time, if ever."""

    def __init__(self, over_at: int | None) -> None:
        self._over_at = over_at
        self.asked: list[dict[str, Any]] = []

    def __call__(self, folder: Path, **how: Any) -> Written:
        self.asked.append(how)
        is_over = self._over_at is not None and len(self.asked) >= self._over_at
        return Written(path=folder / "report.html", seconds=0.1, is_over=is_over)


def gone_process() -> int:
    """The number of a process that has ended."""
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    return done.pid


def test_it_is_written_until_the_run_has_ended_and_drawn_once(tmp_path: Path) -> None:
    pages, printed, slept = Pages(over_at=3), [], []
    place = place_to_watch(tmp_path, tmp_path)
    written = watch(
        place.newest,
        place.lost_holder,
        every_s=5.0,
        say=printed.append,
        write=pages,
        sleep=slept.append,
    )
    assert written.is_over
    assert pages.asked == [{"refresh_s": 5.0, "should_draw": False}] * 3 + [{}]
    assert slept == [5.0, 5.0]
    assert printed == [
        f"{tmp_path}/report.html: written every 5 s until the run has ended; "
        "Ctrl-C stops watching, not the run"
    ]


def test_of_a_run_that_was_killed_it_does_not_wait_for_the_end(tmp_path: Path) -> None:
    pid = gone_process()
    (tmp_path / ".lock").write_text(f"process {pid} on {platform.node()}")
    pages, printed = Pages(over_at=None), []
    place = place_to_watch(tmp_path, tmp_path)
    written = watch(
        place.newest, place.lost_holder, every_s=5.0, say=printed.append, write=pages, sleep=pytest.fail
    )
    assert not written.is_over
    assert len(pages.asked) == 2
    assert printed[1] == f"process {pid} was killed before the run ended; run its command again to resume"


@pytest.mark.parametrize(
    "holder",
    [
        f"process {os.getpid()} on {platform.node()}",
        "process 1 on another machine",
        f"process {2**22 + 1} on another machine",
        "",
    ],
    ids=["this process", "the first of another machine", "another machine's", "of no process"],
)
def test_a_run_that_may_be_alive_is_not_given_up(tmp_path: Path, holder: str) -> None:
    (tmp_path / ".lock").write_text(holder)
    assert Ledger(tmp_path).lost_holder == ""


def test_the_page_of_a_real_run_loads_itself_again_until_it_is_over(tmp_path: Path) -> None:
    space, ledger = made_space(tmp_path), Ledger.create(tmp_path / "run")
    ledger.lock()
    dump_space(space, ledger.space_file)
    run = Run(space, sampler_for(space), ledger)
    texts: list[str] = []

    def sleep(seconds: float) -> None:
        texts.append((ledger.folder / "report.html").read_text(encoding="utf-8"))
        execute_here(run, SteadyMeter())

    place = place_to_watch(ledger.folder, tmp_path)
    written = watch(place.newest, place.lost_holder, every_s=7.0, say=lambda text: None, sleep=sleep)
    assert written.is_over
    assert len(texts) == 1
    assert 'http-equiv="refresh" content="7' in texts[0]
    assert 'http-equiv="refresh"' not in written.path.read_text(encoding="utf-8")
