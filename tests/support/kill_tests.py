"""Searches with the real command, and ways of killing them: at a moment, or in the middle of a write."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from tests.support.processes import script

_TICK_S = 0.02
_WORKER = re.compile(rb"ray::((Tune)?TrialWorker|trial-\d)")  # named after its trial while it trains

# An epoch takes a tenth of a second, so that kills hit trials in training and between trials. A process that
# imports this dies in the middle of a write when the file `order` says so: "journal.jsonl 3" lets three
# writes of the journal pass and leaves part of the fourth.
SLOW = """
import gc, os, random, signal, time
from pathlib import Path
from trainables.core.contract import Trainable
from trainables.toy import Hparams, ToyTraining

ORDER = Path(__file__).with_name("order")

def order():
    try:
        return ORDER.read_text()
    except FileNotFoundError:  # another worker has taken it
        return ""

def take_order():
    try:
        ORDER.unlink()
    except FileNotFoundError:
        return False
    return True

def fatal(fsync, passed=[0]):
    def fsync_or_die(file):
        path = Path(os.readlink(f"/proc/self/fd/{file}"))
        name, _, num_passing = order().partition(" ")
        if name and path.name.endswith(name):
            passed[0] += 1
            if passed[0] > int(num_passing) and take_order():
                content = path.read_bytes()
                start = content[:-1].rfind(b"\\n") + 1 if name == "journal.jsonl" else 0
                os.truncate(path, random.randint(start, len(content)))
                os.kill(os.getpid(), signal.SIGKILL)
        fsync(file)
    return fsync_or_die

if os.fsync.__name__ == "fsync":  # the file is run again for each trial
    os.fsync = fatal(os.fsync)

class Slow(ToyTraining):
    def run_epoch(self, budget):
        time.sleep(0.1)
        return super().run_epoch(budget)

def collect_or_die(collect=gc.collect):
    how = order()
    if how.startswith("reset") and take_order():
        if how == "reset fails":
            raise RuntimeError("left in a state that cannot be cleaned up")
        os.kill(os.getpid(), signal.SIGKILL)
    return collect()

def start(hparams, horizon, env):
    if order().startswith("reset"):
        gc.collect = collect_or_die  # a worker's first act between two trials
    return Slow(hparams, env)

TRAINABLE = Trainable(hparams=Hparams, metric="val_accuracy", mode="max", start=start)
"""


class Command:
    """`search.py --name killed` on slow.yaml in a folder, restarted after each kill."""

    def __init__(self, folder: Path, *flags: str) -> None:
        self._folder = folder
        self._words = ["--space", "./slow.yaml", "--name", "killed", "--no-report", *flags]
        self.journal = folder / "results/killed/journal.jsonl"
        self.log = folder / "killed.log"
        self.order = folder / "order"

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*script("search"), *self._words],
                cwd=self._folder,
                env={**os.environ, "NO_COLOR": "1"},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._num_before = self.num_events()

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    @property
    def was_killed(self) -> bool:
        return self._process.poll() == -signal.SIGKILL

    def num_events(self) -> int:
        return self.journal.read_bytes().count(b"\n") if self.journal.exists() else 0

    def wait_for(self, condition: Callable[[], bool], *, most_s: float = 180.0) -> None:
        """Wait until `condition` holds or the command has ended."""
        end_s = time.monotonic() + most_s
        while not condition() and not self.has_ended:
            assert time.monotonic() < end_s, self.log.read_text()[-3000:]
            time.sleep(_TICK_S)

    def wait_for_events(self, count: int) -> None:
        """Wait until this process has written `count` events."""
        self.wait_for(lambda: self.num_events() >= self._num_before + count)

    def wait_for_failed_attempt(self) -> None:
        """Wait until this process has recorded a failed attempt and a few events after it."""
        self.wait_for(lambda: self._num_since_failure() > 2)

    def _num_since_failure(self) -> int:
        lines = self.journal.read_bytes().splitlines()[self._num_before :]
        return next((n for n, line in enumerate(reversed(lines)) if b'"attempt_failed"' in line), 0)

    def wait_for_end(self) -> int:
        return self._process.wait(300)

    def kill_all(self) -> None:
        """Kill driver, workers and Ray's own processes at once."""
        _kill([self._process.pid, *_descendants(self._process.pid)])
        self._process.wait(30)

    def kill_driver(self) -> None:
        """Kill the driver alone: the processes it started live on for a moment."""
        _kill([self._process.pid])
        self._process.wait(30)

    def kill_workers(self) -> None:
        """Kill the workers as soon as there are any: the first trials start before their processes."""
        self.wait_for(lambda: bool(self._workers()))
        _kill(self._workers())

    def _workers(self) -> list[int]:
        return [pid for pid in _descendants(self._process.pid) if _WORKER.search(_name(pid))]


def at_start_up(command: Command, draw: random.Random) -> None:
    """Kill everything between the first import and the first epochs."""
    time.sleep(draw.uniform(0.5, 8))
    command.kill_all()


def in_training(command: Command, draw: random.Random) -> None:
    command.wait_for_events(draw.randint(2, 5))
    time.sleep(draw.uniform(0, 0.15))
    command.kill_all()


def in_a_journal_write(command: Command, draw: random.Random) -> None:
    """The journal's last line is cut anywhere, and was not acted on."""
    _die_in("journal.jsonl", draw.randint(0, 5), command)


def in_a_table_write(command: Command, draw: random.Random) -> None:
    _die_in("trials.csv", draw.randint(0, 1), command)


def in_a_checkpoint_write(command: Command, draw: random.Random) -> None:
    """The worker dies in the write, everything else a moment later."""
    _die_in("checkpoint.pt", draw.randint(0, 2), command)


def between_two_trials(command: Command, draw: random.Random) -> None:
    """The worker dies while preparing for its next trial; the driver continues, and is killed next."""
    command.order.write_text("reset")
    command.wait_for(lambda: not command.order.exists())
    num_before = command.num_events()
    command.wait_for(lambda: command.num_events() >= num_before + 2)  # the loss itself is no event
    command.kill_all()


def worker_first(command: Command, draw: random.Random) -> None:
    """The driver continues with another worker, and is killed next."""
    command.wait_for_events(draw.randint(2, 4))
    command.kill_workers()
    command.wait_for_failed_attempt()
    command.kill_all()


def driver_alone(command: Command, draw: random.Random) -> None:
    """The processes that the driver started may outlive it and overlap with the next driver."""
    command.wait_for_events(draw.randint(2, 5))
    command.kill_driver()


Moment = Callable[[Command, random.Random], None]
MOMENTS: tuple[Moment, ...] = (
    in_a_journal_write,
    in_training,
    in_a_checkpoint_write,
    at_start_up,
    worker_first,
    driver_alone,
    between_two_trials,
    in_a_table_write,
)


def _die_in(name: str, num_passing: int, command: Command) -> None:
    command.order.write_text(f"{name} {num_passing}")
    command.wait_for(lambda: not command.order.exists())
    command.order.unlink(missing_ok=True)
    command.kill_all()


def _descendants(pid: int) -> list[int]:
    """All processes below `pid`, workers and Ray's own among them."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # the process has ended meanwhile
            continue
        children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found, frontier = [], [pid]
    while frontier:
        below = children.get(frontier.pop(), [])
        found += below
        frontier += below
    return found


def _name(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _kill(pids: Iterable[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
