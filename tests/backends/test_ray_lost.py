"""Ray's control service, its raylet or the head node go while a search runs; and a node that is preempted."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, RayActorError

from search.backends.errors import RayLost, SessionError
from search.backends.ray.liveness import RayWatch
from search.energy.processes import ProcessTable
from search.errors import exit_status
from search.ledger import Ledger
from search.ledger.history import History
from search.trial.failure import classify
from tests.support.kill_tests import SLOW
from tests.support.processes import is_alive, ran, script
from tests.support.ray_clusters import cluster_env, end_group, head_node

SPACE = """
parameters: {lr: {distribution: log_uniform_values, min: 1.0e-4, max: 1.0}}
search: {trainable: ./slow.py, data: none, ladder: {epochs: [1, 3, 6]}, limits: {trials: 2000},
  resources: {workers: 2}}
"""


@contextmanager
def listening() -> Iterator[tuple[str, int]]:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        yield server.getsockname()[:2]


def wait_until(is_so: Any, seconds: float = 20.0) -> None:
    deadline_s = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def test_a_port_without_a_listener_is_a_loss_and_one_miss_is_none() -> None:
    with listening() as address:
        watch = RayWatch({"the GCS": address}, every_s=0.02)
        time.sleep(0.2)
        watch.check()
        watch.check_now()
    wait_until(lambda: watch.lost)
    host, port = address
    with pytest.raises(
        RayLost, match=rf"Ray was lost: the GCS at {host}:{port} is gone \(Connection refused\)"
    ):
        watch.check()
    watch.leave()


def test_a_check_sees_the_loss_before_the_thread_does() -> None:
    with listening() as address:
        watch = RayWatch({"the raylet": address}, every_s=60)
    with pytest.raises(RayLost, match="the raylet"):
        watch.check_now()
    watch.leave()


def test_a_main_thread_that_is_stuck_is_not_waited_for_and_one_that_leaves_is_left_alone() -> None:
    ended: list[Any] = []
    with listening() as address:
        stuck, leaving = (
            RayWatch(
                {"the GCS": address},
                end_ray=lambda: ended.append("ray"),
                end_process=lambda *call: ended.append(call),
                every_s=0.02,
                grace_s=grace_s,
            )
            for grace_s in (0.1, 30)
        )
        stuck.remedy = "resume with: this"
    wait_until(lambda: len(ended) == 2)
    wait_until(lambda: leaving.lost)
    leaving.leave()
    assert ended[0] == "ray"
    message, status = ended[1]
    assert message.startswith("Ray was lost: the GCS")
    assert (message.splitlines()[-1], status) == ("resume with: this", 4)


def test_the_exit_status_of_a_lost_ray_is_its_own() -> None:
    assert (exit_status(RayLost("gone")), exit_status(SessionError("not there"))) == (4, 2)


def test_a_preempted_node_costs_no_attempt(tmp_path: Path) -> None:
    preempted = classify(RayActorError(preempted=True))
    assert (preempted.cause, preempted.is_preempted) == ("lost_worker", True)
    assert preempted.may_pass(attempts=100)
    assert not classify(RayActorError()).may_pass(attempts=2)
    assert not classify(ActorDiedError()).is_preempted


def died_with_its_node(why: str) -> ActorDiedError:
    """As Ray words it: of 2.60, by SIGTERM without a drain, and by a lost machine."""
    died = ActorDiedError()
    died.error_msg = f"{ActorDiedError.BASE_ERROR_MSG}\n\tthe actor's node was {why}"
    return died


@pytest.mark.parametrize(
    ("error", "is_preempted"),
    [
        (died_with_its_node("terminated expectedly: received SIGTERM"), True),
        (died_with_its_node("terminated unexpectedly: health check failed"), False),
        (died_with_its_node("terminated: "), False),
        (RuntimeError("the actor's node was terminated expectedly: says a script"), False),
    ],
)
def test_a_node_that_was_told_to_end_is_preempted_and_a_lost_one_is_not(
    error: Exception, is_preempted: bool
) -> None:
    assert classify(error).is_preempted is is_preempted


def attempts(failures: list[dict[str, Any]]) -> tuple[int, int]:
    asked = {
        "event": "trial_asked",
        "time": 0.0,
        "trial": "t",
        "number": 0,
        "proposed_by": "sampled",
        "hparams": {},
        "seed": 0,
    }
    failed = [
        {"event": "attempt_failed", "time": 1.0, "trial": "t", "failure": failure, "will_retry": True}
        for failure in failures
    ]
    trial = History([asked, *failed]).trials["t"]
    return trial.attempts, trial.attempts_here


def test_a_journal_counts_a_preempted_attempt_apart() -> None:
    lost = {"cause": "lost_worker", "message": "gone", "is_preempted": False}
    assert attempts([lost]) == (2, 2)
    assert attempts([{**lost, "is_preempted": True}, {**lost, "is_preempted": True}, lost]) == (4, 2)
    assert attempts([{"cause": "lost_worker", "message": "of an older journal"}]) == (2, 2)


@contextmanager
def searching(
    folder: Path, *flags: str, trainable: str = SLOW, **env: str
) -> Iterator[subprocess.Popen[str]]:
    """A search that has trained a while; ended at the latest with the block."""
    (folder / "slow.py").write_text(trainable)
    (folder / "t.yaml").write_text(SPACE)
    words = ("--space", "./t.yaml", "--name", "s", "--skip-preflight", "--no-report", *flags)
    with (folder / "log").open("w") as log:
        search = subprocess.Popen(
            [*script("search"), *words],
            cwd=folder,
            env={**os.environ, "NO_COLOR": "1", **env},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            text=True,
        )
    try:
        journal = folder / "results/s/journal.jsonl"
        wait_until(lambda: journal.exists() and len(journal.read_bytes().splitlines()) > 12, 120)
        yield search
    finally:
        end_group(search, signal.SIGKILL)
        search.wait(30)


def check_lost(search: subprocess.Popen[str], folder: Path, words: str, kill: Any) -> None:
    """That the search ends within 10 s with status 4, one message and the way on."""
    before = {trial.trial_id: len(trial.rows) for trial in history(folder).trials.values()}
    started_s = time.monotonic()
    kill()
    assert search.wait(60) == 4
    took_s = time.monotonic() - started_s
    log = (folder / "log").read_text()
    assert log.count("Ray was lost") == 1, log
    assert re.search(rf"Ray was lost: {words} at [\d.:]+ is gone", log), log
    assert log.rstrip().splitlines()[-1].strip().startswith("python "), log
    assert "--name s" in log
    assert "Traceback" not in log
    assert took_s < 10 * slowness()
    after = history(folder)
    assert all(len(after.trials[one].rows) >= rows for one, rows in before.items())
    assert not [failure for trial in after.trials.values() for failure in trial.failures]


def slowness() -> float:
    """How much longer than its share of a core a second takes here: tests run beside others."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def history(folder: Path) -> History:
    return History(Ledger(folder / "results/s").events())


def command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def below(search: subprocess.Popen[str], words: str) -> list[int]:
    """The processes under the search whose command has these words."""
    return [pid for pid in ProcessTable().members([search.pid])[search.pid] if words in command(pid)]


def killer(pids: list[int]) -> Callable[[], None]:
    [pid] = pids
    return lambda: os.kill(pid, signal.SIGKILL)


@pytest.fixture
def ray_tmpdir() -> Iterator[str]:
    folder = Path(f"/tmp/rl{os.getpid()}")
    folder.mkdir()
    yield str(folder)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
def test_a_killed_raylet_ends_the_search_with_the_way_on(tmp_path: Path, ray_tmpdir: str) -> None:
    with searching(tmp_path, RAY_TMPDIR=ray_tmpdir) as search:
        check_lost(search, tmp_path, "the raylet of this machine", killer(below(search, "/raylet ")))


@pytest.mark.slow
def test_a_killed_head_ends_the_search_that_joined_it_with_the_way_on(tmp_path: Path) -> None:
    env = cluster_env()
    with (
        head_node(env, "--num-cpus=2") as address,
        searching(tmp_path, "--address", address, **env) as search,
    ):
        port = f"port={address.rpartition(':')[2]} "
        pids = (int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal())
        server = [pid for pid in pids if "/gcs_server " in command(pid) and port in command(pid)]
        check_lost(search, tmp_path, r"its control service \(GCS\)", killer(server))


FORKING = (
    SLOW
    + """
def start(hparams, horizon, env):
    if os.fork() == 0:
        os.setsid()
        time.sleep(600)
        os._exit(0)
    return Slow(hparams, env)

TRAINABLE = Trainable(hparams=Hparams, metric="val_accuracy", mode="max", start=start)
"""
)


@pytest.mark.slow
def test_a_killed_gcs_ends_the_search_and_the_command_that_it_names_brings_it_to_its_end(
    tmp_path: Path, ray_tmpdir: str
) -> None:
    with searching(tmp_path, "--trials", "9", trainable=FORKING, RAY_TMPDIR=ray_tmpdir) as search:
        group = ProcessTable().members([search.pid])[search.pid]
        assert any("ray::" in command(pid) for pid in group)
        gcs = below(search, "/gcs_server ")
        check_lost(search, tmp_path, r"its control service \(GCS\)", killer(gcs))
        wait_until(lambda: not any(map(is_alive, group)))
    before = history(tmp_path)
    assert before.ended is None
    _, *words = shlex.split((tmp_path / "log").read_text().rstrip().splitlines()[-1])
    again = ran(sys.executable, *words, folder=tmp_path, RAY_TMPDIR=ray_tmpdir)
    assert again.returncode == 0, again.stdout + again.stderr
    after = history(tmp_path)
    assert after.ended == "all 9 trials done"
    assert len(after.trials) == 9
    assert {trial.status for trial in after.trials.values()} <= {"finished", "paused", "stopped"}
    assert not [failure for trial in after.trials.values() for failure in trial.failures]
    for trial in after.trials.values():
        assert sorted(trial.curve) == list(range(1, trial.epochs + 1))
    for name, trial in before.trials.items():
        assert after.trials[name].rows[: len(trial.rows)] == trial.rows
