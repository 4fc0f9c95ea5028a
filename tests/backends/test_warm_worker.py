"""A warm worker is as good as a new one, and nothing that a trial does is endless."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from search.backends import trial_log
from search.backends.ray.children import end_if_forked
from search.backends.ray.executor import Grace
from search.budget import Limits
from search.trial.failure import classify
from tests.support.processes import begun, typed, wait_for

ROOT = Path(__file__).parents[2]


def restored(leak: str, *, imports: str = "") -> list[str]:
    """What a process that was ready says after code that leaves something behind."""
    code = f"""
import json, os, sys
sys.path.insert(0, {str(ROOT)!r})
from search.backends.ray.readiness import Readiness
from trainables.core.load import TrainableRef
{imports}
ready = Readiness(TrainableRef(name="toy"))
{textwrap.dedent(leak)}
lines = ready.restore()
again = ready.restore()
print()
print(json.dumps([line for line in lines if line not in again] + again))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found: list[str] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize(
    ("leak", "name"),
    [
        ("os.environ['LEFT'] = '1'", "environment"),
        ("os.chdir('/')", "working folder"),
        ("os.umask(0o777)", "umask"),
        ("import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)", "signal handlers"),
        ("import signal; signal.alarm(100)", "timers"),
        ("import signal; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])", "blocked signals"),
        ("import warnings; warnings.simplefilter('error')", "warnings filters"),
        ("sys.path.insert(0, '/nowhere')", "sys.path"),
        ("sys.setrecursionlimit(200)", "recursion limit"),
        ("import gc; gc.disable()", "garbage collection"),
        ("import decimal; decimal.getcontext().prec = 3", "decimal context"),
        ("import socket; socket.setdefaulttimeout(1.0)", "socket timeout"),
        ("os.close(1)", "standard files"),
        ("sys.stderr = None", "sys.stderr"),
    ],
)
def test_a_setting_that_a_trial_changes_is_put_back_and_named(leak: str, name: str) -> None:
    assert restored(leak) == [f"restored after this trial: {name}"]


@pytest.mark.parametrize(
    ("leak", "reason"),
    [
        ("import builtins; builtins.len = lambda of: 0", "this trial replaced builtins.len"),
        ("import time; time.monotonic = lambda: 0.0", "this trial replaced time.monotonic"),
        ("import random; random.random = None", "this trial replaced random.random"),
        ("import random; random.Random.gauss = max", "this trial replaced random.Random.gauss"),
        ("kept = [open('/dev/null') for _ in range(200)]", "more files are open than"),
        (
            "import threading, time; threading.Thread(target=time.sleep, args=(20,), daemon=True).start()",
            "of this trial still runs",
        ),
    ],
)
def test_what_cannot_be_put_back_costs_the_worker(leak: str, reason: str) -> None:
    lines = restored(leak)
    assert lines
    assert all(line.startswith("the next trial gets a new worker: ") for line in lines)
    assert reason in lines[-1]


def test_a_trial_that_leaves_nothing_says_nothing() -> None:
    assert (
        restored("import tempfile; tempfile.TemporaryDirectory().cleanup()", imports="import tempfile") == []
    )


def test_what_an_import_changes_stays_for_a_new_worker_would_import_it_too(tmp_path: Path) -> None:
    (tmp_path / "changes.py").write_text("import os; os.environ['BY_IMPORT'] = '1'")
    leak = f"sys.path.append({str(tmp_path)!r}); import changes; os.environ['BY_TRIAL'] = '1'"
    assert restored(f"{leak}; sys.path.pop()") == ["restored after this trial: environment"]


@pytest.mark.parametrize("way", ["os.setsid()", "os.setsid() if os.fork() == 0 else os._exit(0)", "0"])
def test_processes_end_with_their_trial_in_whatever_session_they_are(way: str, tmp_path: Path) -> None:
    leak = f"""
    import time
    if os.fork() == 0:
        {way}
        open({str(tmp_path / "pid")!r}, "w").write(str(os.getpid()))
        time.sleep(300)
        os._exit(0)
    while not os.path.exists({str(tmp_path / "pid")!r}): time.sleep(0.01)
    """
    assert restored(leak) == ["ended with this trial: 1 processes that it started and left running"]
    stat = Path("/proc") / (tmp_path / "pid").read_text() / "stat"
    assert not stat.exists() or ") Z " in stat.read_text()


def test_a_fork_dies_of_sigterm_and_leaves_the_connections_that_it_shares_alone() -> None:
    code = f"""
import os, signal, sys, time
sys.path.insert(0, {str(ROOT)!r})
signal.signal(signal.SIGTERM, lambda number, frame: os._exit(7))  # as Ray's, which leaves Ray
from search.backends.ray.readiness import Readiness
from trainables.core.load import TrainableRef
Readiness(TrainableRef(name="toy"))
pid = os.fork()
if pid == 0:
    time.sleep(60)
    os._exit(9)
os.kill(pid, signal.SIGTERM)  # at once: the fork has not run a line of its own yet
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
os.kill(os.getpid(), signal.SIGTERM)  # the worker itself ends as Ray has it
"""
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=False)
    assert (done.stdout, done.returncode) == ("-15\n", 7)


@pytest.mark.parametrize(
    ("error", "status"),
    [(SystemExit(0), 0), (SystemExit(3), 3), (SystemExit("why"), 1), (SystemExit(), 0), (None, 1)],
)
def test_a_fork_that_comes_back_from_a_training_ends(error: BaseException | None, status: int) -> None:
    owner = os.getpid()
    end_if_forked(owner, error)  # the worker itself continues
    if (pid := os.fork()) == 0:
        end_if_forked(owner, error)
        os._exit(100)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == status


def test_a_long_log_keeps_its_beginning_and_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial_log, "KEPT_BYTES", 1000)
    printed = "".join(f"line {number:5}\n" for number in range(5000))  # 11 bytes each
    for start in range(0, len(printed), 11_000):
        with trial_log.open_log(tmp_path / "log.txt") as log:
            log.write(printed[start : start + 11_000])
    text = (tmp_path / "log.txt").read_text()
    begin, cut, end = text.partition("\n[")
    number, _, end = end.partition(" bytes were cut here]\n")
    assert cut
    assert begin == printed[:1000]
    assert printed.endswith(end)
    assert 1000 <= len(end) <= 4000
    assert int(number) == len(printed) - 1000 - len(end)


def test_what_is_written_past_python_is_in_the_log_too(tmp_path: Path) -> None:
    before = [os.fstat(number).st_ino for number in (1, 2)]
    with trial_log.captured(tmp_path / "log.txt"):
        print("python")
        os.write(1, b"descriptor 1\n")
        os.write(2, b"descriptor 2\n")
        subprocess.run(["sh", "-c", "echo child; echo childs error >&2"], check=True)
        ctypes.CDLL(None).printf(b"C\n")
    assert sorted((tmp_path / "log.txt").read_text().splitlines()) == [
        "C", "child", "childs error", "descriptor 1", "descriptor 2", "python"
    ]  # fmt: skip
    assert [os.fstat(number).st_ino for number in (1, 2)] == before


def test_what_is_written_past_python_is_bounded_while_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial_log, "KEPT_BYTES", 1000)
    monkeypatch.setattr(trial_log, "_BOUND_EVERY_S", 0.01)
    monkeypatch.setattr(trial_log, "_bounding", None)
    log = tmp_path / "log.txt"
    with trial_log.captured(log):
        os.write(1, b"y" * 100_000)
        wait_for(lambda: log.stat().st_size <= 4000)
        os.write(2, b"z" * 100_000)
    assert log.stat().st_size <= 4000
    assert log.read_text().startswith("y" * 1000 + "\n[")
    assert log.read_text().endswith("z" * 1000)


@pytest.mark.parametrize("deed", ["os.close(1)", "os.dup2(0, 1); os.close(2)"])
def test_a_trial_that_closes_its_output_leaves_the_workers_as_it_was(deed: str, tmp_path: Path) -> None:
    before = [os.fstat(number).st_ino for number in (1, 2)]
    with trial_log.captured(tmp_path / "log.txt"):
        exec(deed)
    assert [os.fstat(number).st_ino for number in (1, 2)] == before


class _Odd(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (_Odd(), "_Odd: its text cannot be read: ValueError"),
        (SystemExit(3), "SystemExit: 3"),
        (GeneratorExit(), "GeneratorExit"),
    ],
)
def test_any_error_has_a_message(error: BaseException, message: str) -> None:
    assert classify(error).message == message


def test_the_grace_begins_when_the_run_is_to_end() -> None:
    now, reason = [0.0], [None]
    limits = Limits(grace_minutes=1)
    run: Any = SimpleNamespace(stop_reason=lambda: reason[0], space=SimpleNamespace(limits=limits))
    grace = Grace(run, clock=lambda: now[0])
    found = []
    for at_s, why in [(500.0, None), (1000.0, "SIGTERM received"), (1059.0, "..."), (1060.0, "...")]:
        now[0], reason[0] = at_s, why  # type: ignore[call-overload]
        found.append(grace.is_over())
    assert found == [False, False, False, True]


@pytest.mark.parametrize(
    ("limits", "grace_s"),
    [
        (Limits(), 120),
        (Limits(hours=10), 120),
        (Limits(hours=0.01), 36),
        (Limits(hours=0.001), 10),
        (Limits(hours=1, grace_minutes=0.5), 30),
    ],
)
def test_the_grace_is_two_minutes_or_the_hours_where_those_are_shorter(
    limits: Limits, grace_s: float
) -> None:
    assert limits.grace_s == grace_s


ILL_BEHAVED = """
import os, sys, time
from dataclasses import dataclass
from search.backends.ray import readiness
from trainables.core.contract import Trainable

@dataclass(frozen=True, kw_only=True)
class Hparams:
    fate: str = "none"
    number: int = 0

readiness.MOST_GROWTH_BYTES = 2**26  # a leak that is found need not be of 1 GiB

class Learner:
    def __init__(self, hparams, env):
        import numpy, random, torch
        self.fate, self.epochs_done = hparams.fate, 0
        self.weight = torch.nn.Linear(8, 1)  # of torch's generator, which nothing here seeds
        self.noise = random.random() + numpy.random.rand()
    def run_epoch(self, budget):
        import torch
        self.epochs_done += 1
        values = torch.nn.functional.relu(self.weight(torch.ones(4, 8))).sum()
        score = float(values) + self.noise
        if self.fate == "patch": torch.nn.functional.relu = lambda of: of * 0
        if self.fate == "dtype": torch.set_default_dtype(torch.float64)
        if self.fate == "exit": sys.exit(0)
        if self.fate == "hang" and self.epochs_done == 2:
            open(__file__ + ".hangs", "w").close()
            while not os.path.exists(__file__ + ".fixed"): time.sleep(0.1)
        if self.fate == "leak": torch.__dict__.setdefault("leaked", []).append(b"x" * 100 * 2**20)
        if self.fate == "spin" and self.epochs_done == 2:  # lets no other thread of Python run
            import re; re.match("(a+)+$", "a" * 60 + "b")
        if self.fate == "bomb":
            for _ in range(50):
                if os.fork() == 0:
                    os.setsid(); time.sleep(600); os._exit(0)
        if self.fate == "fork" and os.fork() == 0: sys.exit(0)
        if self.fate == "double" and os.fork() == 0: return {"val_accuracy": 9.0, "num_examples": 4}
        if self.fate == "print":
            for _ in range(250): print("y" * 4_000_000)
        return {"val_accuracy": score, "num_examples": 4}
    def test(self): return {}
    def notes(self): return {}
    def state_dict(self): return {"epochs_done": self.epochs_done}
    def load_state_dict(self, state): self.epochs_done = state["epochs_done"]

TRAINABLE = Trainable(hparams=Hparams, metric="val_accuracy", mode="max", has_test=False,
                      start=lambda hparams, horizon, env: Learner(hparams, env))
"""


WORDS = ("--space", "./space.yaml", "--name", "run", "--skip-preflight", "--no-report")


def write_search(folder: Path, fates: Sequence[str], **limits: float) -> None:
    """A search of trials that end so, one after another on one worker."""
    folder.mkdir(exist_ok=True)
    (folder / "ill.py").write_text(ILL_BEHAVED)
    points = [{"fate": fate, "number": number} for number, fate in enumerate(fates)]
    (folder / "points.json").write_text(json.dumps(points))
    search = {
        "trainable": "./ill.py",
        "data": "none",
        "ladder": {"epochs": [2]},
        "scheduler": {"mode": "none"},
        "resources": {"workers": 1},
        "limits": {"grace_minutes": 0.05, **limits},
        "trials": "points.json",
    }
    (folder / "space.yaml").write_text(json.dumps({"search": search}))


def curves(
    folder: Path, fates: Sequence[str], *flags: str, **limits: float
) -> tuple[dict[int, list[float]], str]:
    """The scores of each well-behaved trial by its number, and what the search printed at its end."""
    write_search(folder, fates, **limits)
    done = typed("search", *WORDS, *flags, folder=folder)
    assert done.returncode in (0, 1), done.stderr
    return scores(folder, [n for n, fate in enumerate(fates) if fate == "none"]), done.stdout + done.stderr


def scores(folder: Path, numbers: Sequence[int]) -> dict[int, list[float]]:
    """By the trial's number, the scores of its epochs; of one that was repeated the last."""
    found: dict[int, dict[int, float]] = {number: {} for number in numbers}
    for event in journal(folder):
        if event["event"] == "epoch" and (number := int(event["trial"][-4:])) in found:
            found[number][event["row"]["epoch"]] = event["row"]["metrics"]["val_accuracy"]
    return {number: list(by_epoch.values()) for number, by_epoch in found.items() if by_epoch}


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[float]]:
    """The scores of a search in which every trial behaves."""
    found, _ = curves(tmp_path_factory.mktemp("ill") / "clean", ["none"] * 12)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["ray", "ray-core"])
def test_ill_behaved_trials_change_no_other_trials_curve(
    backend: str, tmp_path: Path, clean: dict[int, list[float]]
) -> None:
    fates = [
        "none",
        "patch",
        "none",
        "dtype",
        "exit",
        "print",
        "bomb",
        "fork",
        "double",
        "bomb",
        "bomb",
        "none",
    ]
    found, _ = curves(tmp_path / "ill", fates, "--backend", backend)
    assert set(found) == {0, 2, 11}
    assert found == {number: clean[number] for number in found}
    log = tmp_path / "ill/results/run/trials/trial-0005/log.txt"
    assert log.stat().st_size < 20 * 2**20
    assert "100 processes" in (tmp_path / "ill/results/run/trials/trial-0006/log.txt").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["ray", "ray-core"])
def test_trials_that_hang_or_leak_change_no_other_trials_curve(
    backend: str, tmp_path: Path, clean: dict[int, list[float]]
) -> None:
    fates = ["none", "spin", "leak", "leak", "leak", "none"]
    found, output = curves(tmp_path / "ill", fates, "--backend", backend, epoch_minutes=0.05)
    assert found == {number: clean[number] for number in (0, 5)}
    assert "trial-0001  timeout, tried again: an epoch took longer than limits.epoch_minutes (0.05)" in output
    at = next(n for n, line in enumerate(ILL_BEHAVED.splitlines(), 1) if "re.match(" in line)
    assert log_of(tmp_path / "ill", 1).count(f'ill.py", line {at} in run_epoch') == 2  # of each attempt
    grown = [
        number for number in (2, 3, 4) if "its memory at rest has grown" in log_of(tmp_path / "ill", number)
    ]
    assert grown
    ended = [event for event in journal(tmp_path / "ill") if event["event"] == "trial_ended"]
    assert [event["cause"] for event in ended] == ["", "timeout", "", "", "", ""]


@pytest.mark.slow
def test_one_sigterm_ends_a_search_whose_trial_hangs_within_the_grace_and_it_resumes(
    tmp_path: Path, clean: dict[int, list[float]]
) -> None:
    write_search(tmp_path, ["none", "hang", "none"])
    with begun("search", *WORDS, folder=tmp_path) as search:
        wait_for((tmp_path / "ill.py.hangs").exists, most_s=120)
        search.send_signal(signal.SIGTERM)
        signalled_s = time.monotonic()
        output, _ = search.communicate(timeout=120)
        took_s = time.monotonic() - signalled_s
    assert "at the end, running epochs have 3 s to finish and are then interrupted" in output
    assert "ending after the epochs under way, within 3 s at most; a second signal ends at once" in output
    assert "ended: SIGTERM received" in output
    assert took_s > 3
    assert statuses(tmp_path) == {"trial-0000": "finished", "trial-0001": "interrupted"}
    (tmp_path / "ill.py.fixed").touch()
    assert typed("search", *WORDS, folder=tmp_path).returncode == 0
    assert statuses(tmp_path) == {f"trial-000{number}": "finished" for number in range(3)}
    assert scores(tmp_path, range(3)) == {number: clean[number] for number in range(3)}


def statuses(folder: Path) -> dict[str, str]:
    return {e["trial"]: e["status"] for e in journal(folder) if e["event"] == "trial_ended"}


def log_of(folder: Path, number: int) -> str:
    return (folder / f"results/run/trials/trial-{number:04d}/log.txt").read_text()


def journal(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "results/run/journal.jsonl").open()]


@pytest.mark.slow
def test_a_search_with_a_trial_that_hangs_ends_soon_after_its_hours(
    tmp_path: Path, clean: dict[int, list[float]]
) -> None:
    found, output = curves(tmp_path / "hung", ["none", "hang", "none"], "--hours", "0.01")
    assert found[0] == clean[0]
    assert "h limit reached" in output
    assert statuses(tmp_path / "hung")["trial-0001"] == "interrupted"
