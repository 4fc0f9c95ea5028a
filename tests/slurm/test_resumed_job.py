"""A search over two jobs of the stand-in for Slurm: real Ray on two nodes, a time limit, and nothing lost."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from search.ledger import Ledger
from search.ledger.history import History
from tests.support.processes import ROOT, ran, wait_for
from tests.support.slow_searches import events_in, run_in, slow_space
from tests.support.slurm_stand_in import slurm_stand_in


def command_lines() -> list[bytes]:
    """Of every process of this machine."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes())
        except OSError:
            continue
    return found


def variable_of(pid: int, name: str) -> str:
    variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    [value] = [one.partition(b"=")[2] for one in variables if one.startswith(name.encode() + b"=")]
    return value.decode()


def search_pid(batch_pid: int) -> int:
    """The search that the batch script runs."""
    children = Path(f"/proc/{batch_pid}/task/{batch_pid}/children").read_text().split()
    [pid] = [pid for pid in children if b"search.py" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    return int(pid)


@pytest.mark.slow
def test_a_search_that_outlasts_its_job_is_resumed_by_the_next_and_loses_nothing(tmp_path: Path) -> None:
    slow_space(
        tmp_path,
        limits={"trials": 9, "grace_minutes": 1},
        ladder={"epochs": [1, 3]},
        resources={"workers": 2},
    )
    with slurm_stand_in(tmp_path / "slurm") as slurm:
        words = ("--space", "./space.yaml", "--name", "run", "--skip-preflight", "--no-report")
        size = ("--nodes", 2, "--cpus-per-node", 1, "--time", 10)
        done = ran(
            *(sys.executable, ROOT / "jouletune.py", "slurm", "submit", *words, *size),
            folder=tmp_path,
            **slurm.env,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.splitlines() == [
            "job 7 was submitted: squeue --job=7 shows its state, scancel 7 ends it",
            f"it prints to {run_in(tmp_path)}/slurm-7.log",
        ]
        wait_for(lambda: sum(event["event"] == "epoch" for event in events_in(tmp_path)) >= 4, most_s=300)
        token = variable_of(search_pid(slurm.batch_pid), "RAY_AUTH_TOKEN")
        assert len(token) == 64
        assert not [line for line in command_lines() if token.encode() in line]
        slurm.signal_time_limit()
        assert slurm.wait(most_s=600) == 0, (run_in(tmp_path) / "slurm-7.log").read_text()
    log = (run_in(tmp_path) / "slurm-7.log").read_text()
    assert log.count("Ray runs on 2 nodes\n") == 2
    assert log.count("resuming the run in") == 1
    files = [path for path in run_in(tmp_path).rglob("*") if path.is_file()]
    assert not [path for path in files if token.encode() in path.read_bytes()]
    events = Ledger(run_in(tmp_path)).events()
    assert [event["reason"] for event in events if event["event"] == "run_ended"] == [
        "SIGTERM received",
        "all 9 trials done",
    ]
    history = History(events)
    assert [trial.number for trial in history.trials.values()] == list(range(9))
    assert {trial.status for trial in history.trials.values()} <= {"finished", "paused", "stopped"}
    assert {trial.attempts for trial in history.trials.values()} == {1}
    epochs = [(event["trial"], event["row"]["epoch"]) for event in events if event["event"] == "epoch"]
    interrupted = {event["trial"] for event in events if event.get("status") == "interrupted"}
    trained_twice = [one for one in set(epochs) if epochs.count(one) > 1]
    # Epochs since the last checkpoint, which each end of a rung and each minute of training has.
    assert {trial for trial, _ in trained_twice} <= interrupted
    assert {epoch for _, epoch in trained_twice} <= {2}
    assert all(list(trial.curve) == list(range(1, trial.epochs + 1)) for trial in history.trials.values())
