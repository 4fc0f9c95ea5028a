"""That processes beside this one do not outlive their use."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from made_processes import ROOT, is_alive, wait_for

BUSY = """
import os, sys, time
sys.path.insert(0, {root!r})
from search.fresh_processes import fresh_processes

def work(seconds):
    print(os.getpid(), flush=True)
    time.sleep(seconds)

if __name__ == "__main__":
    with fresh_processes(1) as pool:
        pool.submit(work, {seconds}).result()
        time.sleep(600)
"""


@pytest.mark.parametrize("seconds", [0, 600], ids=["idle", "at work"])
def test_a_killed_process_leaves_none_behind(tmp_path: Path, seconds: int) -> None:
    script = tmp_path / "busy.py"
    script.write_text(BUSY.format(root=str(ROOT), seconds=seconds))
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    child = int(parent.stdout.readline())
    if seconds:
        time.sleep(0.2)
        assert is_alive(child)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    wait_for(lambda: not is_alive(child), most_s=20)
