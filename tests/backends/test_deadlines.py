"""An epoch has a deadline, and one that takes strangely long is noted while it runs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from search.backends.ray.children import descendants, end_orphans, end_with_children
from search.backends.ray.deadlines import Deadlines
from search.budget import Ladder, Limits
from search.energy.reading import EnergyReading
from search.trial import EpochRow
from search.trial.epoch_time import EpochWatch, overdue
from search.trial.trial_folder import TrialFolder
from tests.support.processes import is_alive, wait_for
from tests.support.toy_runs import executed, fateful_space, listed, replayed
from trainables.core.contract import Budget

LADDER = Ladder(
    (
        Budget(epochs=1, subset=0.1, resolution=8),
        Budget(epochs=3, subset=0.1, resolution=8),
        Budget(epochs=9, subset=1.0, resolution=8),
    )
)


def row(seconds: float, *, rung: int = 0, start_s: float | None = None, is_replay: bool = False) -> EpochRow:
    return EpochRow(
        epoch=1,
        rung=rung,
        completes_rung=False,
        metrics={},
        seconds=seconds,
        start_s=start_s,
        energy=EnergyReading(),
        is_replay=is_replay,
    )


def times(seconds: Sequence[float], *, rung: int = 0, start_s: float | None = None) -> EpochWatch:
    of = EpochWatch(LADDER)
    for each in seconds:
        of.add(row(each, rung=rung, start_s=start_s))
    return of


def test_an_epoch_is_long_beyond_twenty_times_the_median_of_ten() -> None:
    assert not times([1.0] * 9).is_long(1e6, 0)
    of_ten = times([0.5, 0.5, 0.5, 0.5, 1.0, 1.0, 9.0, 9.0, 9.0, 9.0])
    assert [of_ten.is_long(seconds, 0) for seconds in (20.0, 20.1)] == [False, True]


def test_only_epochs_of_one_subset_and_resolution_are_compared() -> None:
    of = times([1.0] * 10, rung=0)
    assert of.is_long(21.0, 1)  # rung 1 is longer in epochs alone
    assert not of.is_long(21.0, 2)


def test_on_a_short_epoch_a_busy_machine_makes_no_warning() -> None:
    of = times([0.01] * 10)
    assert [of.is_long(seconds, 0) for seconds in (5.0, 5.1)] == [False, True]


def test_a_start_is_given_its_own_time() -> None:
    of = times([1.0] * 10, start_s=2.0)
    assert [of.is_long(seconds, 0, has_start=True) for seconds in (60.0, 60.1)] == [False, True]


class Watched:
    """Deadlines over a clock that the test moves, with what the run was given."""

    def __init__(self, *, has_exclusive_slots: bool = False, **limits: float) -> None:
        self.now, self.checks = 0.0, []  # type: ignore[var-annotated]
        space = SimpleNamespace(
            limits=Limits(**limits),  # type: ignore[arg-type]
            resources=SimpleNamespace(workers=2),
            metering=SimpleNamespace(exclusive_slots=has_exclusive_slots),
        )
        run: Any = SimpleNamespace(
            space=space,
            check_epoch_time=lambda *seen, **how: self.checks.append(seen),
            ledger=SimpleNamespace(trial=lambda trial_id: TrialFolder(Path(trial_id))),
        )
        self.printed: list[str] = []
        self.deadlines: Deadlines[str] = Deadlines(
            run, say=self.printed.append, places=lambda: "9 CPUs", clock=lambda: self.now
        )

    def overdue_at(self, now: float) -> dict[Any, str | None]:
        self.now = now
        return {key: found and found.message for key, found in self.deadlines.overdue().items()}


def test_an_overdue_epoch_is_named_once_and_an_answered_one_never() -> None:
    watched = Watched(epoch_minutes=1)
    for stretch in ("a", "b"):
        watched.deadlines.ask(stretch, f"trial-{stretch}", "epoch")
    watched.deadlines.answer("b")
    assert watched.overdue_at(61.9) == {}
    assert watched.overdue_at(63.0) == {"a": "an epoch took longer than limits.epoch_minutes (1)"}
    assert watched.overdue_at(1e6) == {}


@pytest.mark.parametrize(
    ("call", "limits", "limit_s"),
    [
        ("epoch", {"epoch_minutes": 2}, 122),
        ("start", {"epoch_minutes": 2}, 3602),
        ("start", {"epoch_minutes": 90}, 5402),
        ("reset", {}, 600),
        ("reset", {"epoch_minutes": 2}, 600),
        ("epoch", {}, None),
        ("start", {}, None),
    ],
)
def test_starts_and_the_time_between_trials_have_limits_of_their_own(
    call: Any, limits: dict[str, float], limit_s: float | None
) -> None:
    watched = Watched(**limits)
    watched.deadlines.ask("a", "trial-0000", call)
    assert not watched.overdue_at(limit_s or 1e9)
    assert set(watched.overdue_at((limit_s or 1e9) + 2)) == (set() if limit_s is None else {"a"})


def test_a_trial_without_a_place_is_named_after_half_a_minute_and_every_ten() -> None:
    watched = Watched(epoch_minutes=1)
    watched.deadlines.ask("a", "trial-0000", "place")
    for now in (29.0, 31.0, 60.0, 630.0, 632.0):
        assert not watched.overdue_at(now)
    assert watched.printed == [
        "trial-0000  has waited 31 s for 9 CPUs",
        "trial-0000  has waited 632 s for 9 CPUs",
    ]
    watched.deadlines.answer("a")
    assert not watched.overdue_at(1e6)
    assert len(watched.printed) == 2


def test_a_long_start_is_named_with_the_log_that_may_say_what_it_waits_for() -> None:
    watched = Watched()
    watched.deadlines.ask("a", "trial-0000", "start")
    assert not watched.overdue_at(61)
    log = "trial-0000/log.txt"
    assert watched.printed == [f"trial-0000  has been starting for 61 s; what it waits for may be in {log}"]


def test_what_a_trial_holds_for_others_that_work_alone_is_none_of_its_epoch() -> None:
    watched = Watched(has_exclusive_slots=True, epoch_minutes=1)
    watched.deadlines.ask("a", "trial-0000", "epoch")
    assert not watched.overdue_at(60 + 2 * 65)
    assert set(watched.overdue_at(64 + 2 * 65)) == {"a"}


def test_an_epoch_that_came_to_its_end_too_late_is_a_timeout_unless_it_was_reported_before() -> None:
    assert overdue(row(60.0), 60.0) is None
    assert overdue(row(61.0), None) is None
    assert overdue(row(61.0, is_replay=True), 60.0) is None
    late = overdue(row(61.0), 60.0)
    assert late
    assert (late.cause, late.may_pass(attempts=1), late.may_pass(attempts=2)) == ("timeout", True, False)


def test_without_ray_a_late_epoch_costs_its_attempt_at_its_end(tmp_path: Path) -> None:
    space = fateful_space(tmp_path, ["search.limits={epoch_minutes: 1.0e-9}", "search.ladder.epochs=[3]"])
    run, _ = executed(space, tmp_path, listed({"fate": "fine"}))
    [trial] = run.history.trials.values()
    assert (trial.status, trial.cause, trial.attempts) == ("failed", "timeout", 2)
    assert trial.message == "an epoch took longer than limits.epoch_minutes (1e-09)"


def test_a_strange_epoch_is_noted_once_in_the_journal_and_in_the_trials_notes(tmp_path: Path) -> None:
    space = fateful_space(tmp_path)
    run, _ = executed(space, tmp_path, listed(*[{"fate": "fine", "score": n / 20} for n in range(12)]))
    run.check_epoch_time("trial-0000", 4.0)
    run.check_epoch_time("trial-0000", 1e6)
    run.check_epoch_time("trial-0000", 2e6)
    noted = [event for event in run.ledger.events() if event["event"] == "epoch_overdue"]
    assert [(event["trial"], event["seconds"]) for event in noted] == [("trial-0000", 1e6)]
    assert (
        replayed(run).trials["trial-0000"].notes["epoch"].startswith("one took over 1000000 s; the median ")
    )


@pytest.mark.parametrize(
    "child", ["time.sleep(600)", "os.setsid(); time.sleep(600)", "os.fork(); time.sleep(600)"]
)
def test_a_process_is_ended_with_all_that_it_started(child: str, tmp_path: Path) -> None:
    code = f"""
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for _ in range(5):
    if os.fork() == 0:
        {child}
        os._exit(0)
open({str(tmp_path / "ready")!r}, "w").close()
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        wait_for((tmp_path / "ready").exists)
        group = list(descendants(process.pid))
        assert len(group) >= 5
        end_with_children(process.pid)
    wait_for(lambda: not any(map(is_alive, group)))
    assert process.returncode == -9


@pytest.mark.parametrize("child", ["0", "os.setsid()", "os.execvp('sleep', ['sleep', '600'])"])
def test_what_a_dead_worker_has_left_is_ended_and_what_a_living_one_runs_is_not(
    child: str, tmp_path: Path
) -> None:
    worker = f"""
import os, sys, time
if os.fork() == 0:
    open(sys.argv[1], "w").write(str(os.getpid()))
    {child}
    time.sleep(600)
    os._exit(0)
time.sleep(600)
"""
    raylet = f"""
import os, subprocess, sys, time
env = {{**os.environ, "RAY_RAYLET_PID": str(os.getpid())}}
dead, alive = (subprocess.Popen([sys.executable, "-c", {worker!r}, name], env=env) for name in sys.argv[1:])
while not all(os.path.exists(name) and open(name).read() for name in sys.argv[1:]): time.sleep(0.01)
dead.kill()
dead.wait()
open(sys.argv[1] + ".dead", "w").close()
time.sleep(600)
"""
    names = [str(tmp_path / "dead"), str(tmp_path / "alive")]
    with subprocess.Popen([sys.executable, "-c", raylet, *names]) as process:
        wait_for((tmp_path / "dead.dead").exists)
        orphan, kept = (int(Path(name).read_text()) for name in names)
        assert end_orphans(process.pid) == [orphan]
        wait_for(lambda: not is_alive(orphan))
        assert is_alive(kept)
        end_with_children(process.pid)
