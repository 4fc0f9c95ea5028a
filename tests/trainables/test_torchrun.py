"""Scripts of several processes: started by torchrun, scored by rank 0 alone, held, killed and ended whole."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from search.backends.ray.children import descendants
from search.trial.failure import classify
from tests.support.command_spaces import made_command
from tests.support.processes import ROOT, is_alive, wait_for
from tests.support.script_families import alive, family, started, worker
from trainables.command.launcher import (
    launch_problem,
    launched,
    threads_of_rank,
    without_launchers_lines,
)
from trainables.core.contract import Budget, ScriptFailed, Training, TrainingContext

NINE = Budget(epochs=9)
TORCHRUN = ["python", "-m", "torch.distributed.run", "--standalone", "--local-addr=127.0.0.1"]

# All ranks print what they know; rank 1 would spoil each score. Each notes its id.
RANKS = """
import json, os, sys, time
import torch
import torch.distributed as dist

dist.init_process_group("gloo")
rank = dist.get_rank()
print(os.getpid(), file=open("pids", "a"))
for epoch in range(1, 10):
    total = torch.ones(1) * (rank + 1)
    dist.all_reduce(total)
    if "fail" in sys.argv and rank == 1 and epoch == 2:
        raise MemoryError("no room in rank 1")
    print(json.dumps({"epoch": epoch, "val_acc": float(total) - rank, "threads": torch.get_num_threads()}))
    time.sleep(0.05)
"""


@pytest.mark.parametrize(
    "run",
    [
        ["python", "train.py", "--lr", "1"],
        ["python", "-u", "train.py", "--lr", "1"],
        ["/usr/bin/env", "python", "train.py", "--lr", "1"],
    ],
)
def test_torchrun_gets_the_script_and_its_arguments(tmp_path: Path, run: list[str]) -> None:
    assert launch_problem(run) == ""
    assert launched(run, num_processes=3, log_folder=tmp_path) == [
        *TORCHRUN,
        "--nproc-per-node=3",
        "--redirects=1:1,2:1",
        f"--log-dir={tmp_path}",
        "train.py",
        "--lr",
        "1",
    ]


def test_a_module_and_a_single_process_are_started_too(tmp_path: Path) -> None:
    line = launched(["/opt/py/bin/python3.12", "-m", "pkg.train"], num_processes=1, log_folder=tmp_path)
    assert line == ["/opt/py/bin/python3.12", *TORCHRUN[1:], "--nproc-per-node=1", "-m", "pkg.train"]


@pytest.mark.parametrize(
    ("run", "text"),
    [
        (["./train.sh"], "torchrun starts Python: write run: {python} train.py, got './train.sh'"),
        (["torchrun", "train.py"], "got 'torchrun' as its program"),
        (["{python}"], "torchrun needs a script"),
        (["python", "-X", "dev", "train.py"], "torchrun takes a script or -m MODULE after Python, got '-X'"),
        (["python", "-m"], "got '-m'"),
    ],
)
def test_a_command_that_torchrun_cannot_start_is_refused(run: list[str], text: str) -> None:
    assert text in launch_problem(run)


def test_ranks_share_the_cores_of_their_trial() -> None:
    assert threads_of_rank({}, 2, 8) == {"OMP_NUM_THREADS": "4"}
    assert threads_of_rank({}, 4, 2) == {"OMP_NUM_THREADS": "1"}
    assert threads_of_rank({"OMP_NUM_THREADS": "3"}, 2, 8) == {}


def test_what_torchrun_says_of_itself_is_not_what_the_script_failed_of() -> None:
    own = ["[rank1]: MemoryError: no room"]
    torchruns = ["W1129 19:38:05.46 2 /x/torch/distributed/elastic/multiprocessing/api.py:1028] Sending", "x"]
    assert without_launchers_lines([*own, *torchruns]) == own
    assert without_launchers_lines(torchruns) == torchruns


def test_of_several_ranks_the_first_alone_logs_with_wandb(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = tmp_path / "history"
    monkeypatch.setenv("JOULETUNE_WANDB_HISTORY", str(history))
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "trainables/command/stand_ins"))
    for rank in ("1", "0", "2"):
        code = f"import wandb; wandb.init().log({{'val_acc': {rank}}})"
        subprocess.run([sys.executable, "-c", code], env={**os.environ, "RANK": rank}, check=True)
    assert history.read_text() == '{"val_acc": 0}\n'


def test_between_epochs_processes_of_other_sessions_stand_still_too(tmp_path: Path) -> None:
    training = started(family(tmp_path), tmp_path)
    training.run_epoch(NINE)
    wait_for(lambda: states(alive(tmp_path)) == {"T"})
    del training
    assert alive(tmp_path) == []


def states(pids: list[int]) -> set[str]:
    return {Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] for pid in pids}


def ranks(folder: Path, number: int = 2, *arguments: str) -> Training:
    """A training by so many ranks."""
    run = ["{python}", "script.py", *arguments]
    command = made_command(
        folder, RANKS, run=run, launcher="torchrun", resume=[], test=[], defaults={}, graceful_s=5.0
    )
    trainable = command.load()
    context = TrainingContext(
        data="none", data_seed=0, seed=0, cache_dir=folder, folder=folder / "trial", num_processes=number
    )
    return trainable.start(trainable.hparams(), NINE, context)


def pids_in(folder: Path) -> list[int]:
    """The ranks, and whatever else is below this process because of them."""
    return [int(pid) for pid in (folder / "pids").read_text().split()]


@pytest.mark.slow
def test_a_script_of_two_ranks_is_scored_by_rank_0_held_and_stopped_early_without_a_trace(
    tmp_path: Path,
) -> None:
    training = ranks(tmp_path)
    before = set(descendants(os.getpid()))
    rows = [training.run_epoch(NINE) for _ in range(3)]
    assert [row["val_acc"] for row in rows] == [3.0, 3.0, 3.0]
    assert {row["threads"] for row in rows} == {1.0}
    started_here = set(descendants(os.getpid())) - before
    assert len(pids_in(tmp_path)) == 2
    assert set(pids_in(tmp_path)) < started_here
    assert training.notes()["launcher"] == "torchrun: 2 processes"
    wait_for(lambda: states(pids_in(tmp_path)) == {"T"})
    assert training.run_epoch(NINE)["val_acc"] == 3.0
    del training
    assert [pid for pid in started_here if is_alive(pid)] == []
    others = list((tmp_path / "trial/other-ranks").rglob("1/stdout.log"))
    assert '"val_acc": 2.0' in others[0].read_text()


@pytest.mark.slow
def test_an_error_of_any_rank_fails_the_script_with_its_words(tmp_path: Path) -> None:
    training = ranks(tmp_path, 2, "fail")
    # The first rank may score its second epoch before the other fails in it.
    with pytest.raises(ScriptFailed, match="no room in rank 1") as caught:
        [training.run_epoch(NINE) for _ in range(3)]
    failure = classify(caught.value)
    assert failure.cause == "out_of_memory"
    assert failure.message.endswith("[rank1]: MemoryError: no room in rank 1")
    assert [pid for pid in pids_in(tmp_path) if is_alive(pid)] == []


@pytest.mark.slow
def test_a_rank_that_is_killed_ends_all_of_them(tmp_path: Path) -> None:
    training = ranks(tmp_path)
    training.run_epoch(NINE)
    os.kill(pids_in(tmp_path)[-1], signal.SIGKILL)
    with pytest.raises(ScriptFailed):
        training.run_epoch(NINE)
    assert [pid for pid in pids_in(tmp_path) if is_alive(pid)] == []


@pytest.mark.slow
def test_a_worker_that_is_killed_leaves_no_rank(tmp_path: Path) -> None:
    command = made_command(
        tmp_path, RANKS, run=["{python}", "script.py"], launcher="torchrun", resume=[], test=[], defaults={}
    )
    process = worker(tmp_path, command)
    assert len(pids_in(tmp_path)) == 1  # a context without more is of one process
    process.kill()
    process.communicate()
    wait_for(lambda: not any(map(is_alive, pids_in(tmp_path))))
