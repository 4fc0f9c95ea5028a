"""Scripts that leave processes of every kind behind, and killable workers that train with a script."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.command_spaces import made_command
from tests.support.processes import ROOT, is_alive
from trainables.core.contract import Budget, Training, TrainingContext
from trainables.core.load import TrainableRef

RUN = ["{python}", "script.py"]

# Leaves a child, a process in another session that lost its parents, and a process that ignores SIGTERM.
FAMILY = """
import json, os, pathlib, signal, subprocess, sys, time

def left_alone():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.close(1)
            note()
            time.sleep(600)
        os._exit(0)
    os.wait()

def note():
    with open("pids", "a") as file:
        file.write(f"{os.getpid()}\\n")

note()
pipe = os.pipe()
if os.fork() == 0:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    note()
    os.write(pipe[1], b"x")
    time.sleep(600)
os.read(pipe[0], 1)
left_alone()
child = "import os, time; print(os.getpid(), file=open('pids', 'a')); time.sleep(600)"
subprocess.Popen([sys.executable, "-c", child])
while len(pathlib.Path("pids").read_text().split()) < 4:
    time.sleep(0.01)
print('{"val_acc": 0.5}', flush=True)
time.sleep(600)
"""

# A worker's work, in a process that can be killed.
WORKER = """
import json
import sys
from pathlib import Path
from trainables.core.contract import Budget, TrainingContext
from trainables.core.load import TrainableRef

folder = Path(sys.argv[1])
trainable = TrainableRef.of_command(json.loads(sys.argv[2])).load()
context = TrainingContext(data="none", data_seed=0, seed=0, cache_dir=folder, folder=folder / "trial")
training = trainable.start(trainable.hparams(), Budget(epochs=9), context)
training.run_epoch(Budget(epochs=9))
print("an epoch", flush=True)
{then}
sys.stdin.read()
"""


def started(command: TrainableRef, folder: Path) -> Training:
    trainable = command.load()
    context = TrainingContext(data="none", data_seed=0, seed=0, cache_dir=folder, folder=folder / "trial")
    return trainable.start(trainable.hparams(), Budget(epochs=9), context)


def family(folder: Path, **changes: object) -> TrainableRef:
    return made_command(folder, FAMILY, run=RUN, resume=[], defaults={}, graceful_s=0.2, **changes)


def alive(folder: Path) -> list[int]:
    """Those of the script's recorded processes that still run."""
    pids = [int(pid) for pid in (folder / "pids").read_text().split()]
    assert len(pids) == 4
    return [pid for pid in pids if is_alive(pid)]


def worker(folder: Path, command: TrainableRef, then: str = "") -> subprocess.Popen[str]:
    """Start a worker process and wait until it has trained one epoch."""
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER.replace("{then}", then), str(folder), str(command)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stdout.readline() == "an epoch\n"
    return process
