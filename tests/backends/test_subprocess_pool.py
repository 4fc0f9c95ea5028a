"""That processes beside this one do not outlive their use."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path

import pytest

from tests.support.processes import ROOT, is_alive, wait_for
from trainables.core.subprocess_pool import LoadedProcess, fresh_processes

WORK = """
import os, time

def work(seconds):
    print(os.getpid(), flush=True)
    time.sleep(seconds)
"""
BUSY = """
import sys, time
sys.path.insert(0, {root!r})
from trainables.core.subprocess_pool import LoadedProcess, fresh_processes
from work_of_test import work

with {pool} as pool:
    pool.submit(work, {seconds}).result()
    time.sleep(600)
"""
FRESH, FORK = "fresh_processes(1)", "LoadedProcess()"
# What a user saves without a __main__ guard, types or pipes.
UNGUARDED = """
import os, sys
sys.path.insert(0, {root!r})
print("the script runs", flush=True)
from trainables.core.subprocess_pool import fresh_processes
with fresh_processes(2) as pool:
    print(*pool.map(os.path.basename, ["a/b", "c/d"]))
print(sys.modules["__main__"].__dict__ is globals())
"""


@pytest.mark.parametrize(
    ("pool", "seconds"),
    [(FRESH, 0), (FRESH, 600), (FORK, 600)],
    ids=["idle", "at work", "at work in a fork"],
)
def test_a_killed_process_leaves_none_behind(tmp_path: Path, pool: str, seconds: int) -> None:
    script = tmp_path / "busy.py"
    script.write_text(BUSY.format(root=str(ROOT), pool=pool, seconds=seconds))
    (tmp_path / "work_of_test.py").write_text(WORK)
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    child = int(parent.stdout.readline())
    if seconds:
        time.sleep(0.2)
        assert is_alive(child)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    wait_for(lambda: not is_alive(child), most_s=20)


def begin_and_sleep(began: str) -> None:
    Path(began).touch()
    time.sleep(600)


@pytest.mark.parametrize("make", [partial(fresh_processes, 1), LoadedProcess], ids=[FRESH, FORK])
def test_an_error_does_not_wait_for_what_is_at_work(
    tmp_path: Path, make: Callable[[], ProcessPoolExecutor | LoadedProcess]
) -> None:
    began = tmp_path / "began"
    work: Future[None] = Future()

    def fail_meanwhile() -> None:
        nonlocal work
        with make() as pool:
            work = pool.submit(begin_and_sleep, str(began))
            wait_for(began.exists)
            raise ValueError("Ray did not start")

    with pytest.raises(ValueError, match="Ray did not start"):
        fail_meanwhile()
    with pytest.raises(BrokenProcessPool):
        work.result()


@pytest.mark.parametrize("how", ["file", "standard input", "argument"])
def test_a_script_without_a_main_guard_is_run_once(tmp_path: Path, how: str) -> None:
    text = UNGUARDED.format(root=str(ROOT))
    (tmp_path / "own.py").write_text(text)
    arguments = {"file": ["own.py"], "standard input": ["-"], "argument": ["-c", text]}[how]
    done = subprocess.run(
        [sys.executable, *arguments], input=text, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout == "the script runs\nb d\nTrue\n", done.stderr


def test_forks_have_what_their_process_has_loaded_and_leave_nothing_in_it() -> None:
    is_loaded = "'colorsys' in __import__('sys').modules"
    with LoadedProcess(["colorsys", "no_such_module"]) as loaded:
        assert loaded.submit(eval, is_loaded).result()
        began_s = loaded.load_s()
        assert 0 < began_s < loaded.load_s(["fractions"])
        parents = loaded.map_at_once(eval, [("__import__('os').getppid()",)] * 2, threads=1)
        assert len(set(parents)) == 1
        assert loaded.submit(os.putenv, "A", "1").result() is None
        assert loaded.submit(eval, "__import__('os').getenv('A')").result() is None


def test_forks_compute_with_their_share_of_the_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torch.py").write_text(
        "def set_num_threads(number):\n    global threads\n    threads = number\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    told = "(__import__('torch').threads, __import__('os').environ['OMP_NUM_THREADS'])"
    with LoadedProcess(["torch"]) as loaded:
        assert loaded.map_at_once(eval, [(told,)] * 2, threads=3) == [(3, "3")] * 2


def test_a_fork_that_dies_is_an_error_and_the_next_one_works() -> None:
    with LoadedProcess() as loaded:
        with pytest.raises(BrokenProcessPool):
            loaded.submit(os._exit, 3).result()
        assert loaded.submit(os.path.basename, "a/b").result() == "b"
