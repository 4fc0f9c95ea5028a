"""That processes beside this one do not outlive their use."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.processes import ROOT, is_alive, wait_for

WORK = """
import os, time

def work(seconds):
    print(os.getpid(), flush=True)
    time.sleep(seconds)
"""
BUSY = """
import sys, time
sys.path.insert(0, {root!r})
from trainables.core.subprocess_pool import fresh_processes
from work_of_test import work

with fresh_processes(1) as pool:
    pool.submit(work, {seconds}).result()
    time.sleep(600)
"""
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


@pytest.mark.parametrize("seconds", [0, 600], ids=["idle", "at work"])
def test_a_killed_process_leaves_none_behind(tmp_path: Path, seconds: int) -> None:
    script = tmp_path / "busy.py"
    script.write_text(BUSY.format(root=str(ROOT), seconds=seconds))
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


@pytest.mark.parametrize("how", ["file", "standard input", "argument"])
def test_a_script_without_a_main_guard_is_run_once(tmp_path: Path, how: str) -> None:
    text = UNGUARDED.format(root=str(ROOT))
    (tmp_path / "own.py").write_text(text)
    arguments = {"file": ["own.py"], "standard input": ["-"], "argument": ["-c", text]}[how]
    done = subprocess.run(
        [sys.executable, *arguments], input=text, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout == "the script runs\nb d\nTrue\n", done.stderr
