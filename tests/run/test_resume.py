"""A run that is killed at any moment resumes with nothing lost or doubled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from search.backends.local import execute_here
from search.ledger import Ledger, LedgerError
from search.ledger.history import History, TrialRecord
from search.run import Run
from search.run.resume import Pending, check_resumable
from search.run.scheduler import Decision, Ending
from search.trial import EpochRow
from tests.support.ray_sessions import FATES, cut, outcome, session, whole, whole_with_cuts
from tests.support.toy_runs import Calling, SteadyMeter, fateful_space, listed, made_space, sampler_for


@pytest.mark.parametrize("horizon", ["full", "rung"])
def test_killed_before_and_after_every_event_a_run_ends_as_if_undisturbed(
    tmp_path: Path, horizon: str
) -> None:
    space = fateful_space(tmp_path, overrides=[f"search.horizon={horizon}"])
    undisturbed = whole_with_cuts(space, tmp_path / "whole", listed(*FATES))
    for number in range(1, len(undisturbed.ledger.events()) - 1):
        for cut_at in (f"cut-before-{number}", f"cut-{number}"):
            again = whole(space, tmp_path / cut_at, listed(*FATES))
            assert outcome(again) == outcome(undisturbed)
            assert again.rungs.counts() == undisturbed.rungs.counts()


def test_killed_after_each_few_events_a_run_still_comes_to_its_end(tmp_path: Path) -> None:
    space = fateful_space(tmp_path)
    undisturbed = whole(space, tmp_path / "whole", listed(*FATES))
    folder = tmp_path / "run"
    num_sessions = 1
    while (run := session(space, folder, listed(*FATES), events_left=5)) is None:
        num_sessions += 1
        assert num_sessions < 50
    assert outcome(run) == outcome(undisturbed)


def test_with_one_worker_the_sampler_continues_as_if_undisturbed(tmp_path: Path) -> None:
    space = made_space(tmp_path)
    undisturbed = whole(space, tmp_path / "whole", sampler_for(space))
    for events_left in (7, 20, 33, 41):
        again = cut(space, tmp_path / f"cut-{events_left}", lambda: sampler_for(space), events_left)
        assert outcome(again) == outcome(undisturbed)


def test_a_finished_run_that_is_asked_for_more_trials_continues(tmp_path: Path) -> None:
    few = made_space(tmp_path, overrides=["search.limits.trials=4"])
    many = made_space(tmp_path, overrides=["search.limits.trials=9"])
    first = whole(few, tmp_path / "run", sampler_for(few))
    second = whole(many, tmp_path / "run", sampler_for(many))
    assert outcome(second)[:4] == outcome(first)
    assert len(second.history.trials) == 9


def test_an_interrupted_trial_resumes_from_its_checkpoint(tmp_path: Path) -> None:
    space = made_space(tmp_path, overrides=["search.limits.kwh=1e-7", "search.limits.trials=1"])
    first = whole(space, tmp_path / "run", sampler_for(space))  # 0.36 J: three epochs of 0.12 J
    assert [trial.status for trial in first.history.trials.values()] == ["interrupted"]
    assert first.history.trials["trial-0000"].epochs == 3
    more = made_space(tmp_path, overrides=["search.limits.trials=1"])
    second = whole(more, tmp_path / "run", sampler_for(more))
    trial = second.history.trials["trial-0000"]
    assert (trial.status, trial.epochs, len(trial.rows)) == ("finished", 9, 9)


def test_energy_and_hours_of_earlier_sessions_count(tmp_path: Path) -> None:
    space = made_space(tmp_path, overrides=["search.limits.trials=2"])
    now_s = [500.0]
    run = Run(space, sampler_for(space), Ledger.create(tmp_path / "run"), clock=lambda: now_s[0])
    now_s[0] += 1800.0
    execute_here(run, SteadyMeter())
    now_s[0] = 3.0  # of another process: its monotonic clock starts over
    again = Run(space, sampler_for(space), Ledger(tmp_path / "run"), clock=lambda: now_s[0])
    assert again.spent.hours == 0.5
    assert again.spent.energy_j == run.spent.energy_j


def test_hours_of_a_session_that_interrupted_trials_count_too(tmp_path: Path) -> None:
    space = made_space(tmp_path, overrides=["search.limits.hours=2"])
    ledger, now_s = Ledger.create(tmp_path / "run"), [0.0]
    for hours in (0.0, 0.5, 1.0):  # each resumed session begins by resuming the trial
        now_s[0] = 0.0
        run = Run(space, sampler_for(space), ledger, clock=lambda: now_s[0])
        assert run.spent.hours == hours
        assert run.next_task() is not None
        now_s[0] = 1800.0
        run.interrupt("SIGTERM received")
        run.end()
    assert [each.elapsed_s for each in run.history.sessions.all] == [1800.0] * 3


def test_the_hours_of_a_run_end_with_its_journal_not_with_its_tables(tmp_path: Path) -> None:
    now_s = [0.0]
    run = Run(
        made_space(tmp_path),
        sampler_for(made_space(tmp_path)),
        Ledger.create(tmp_path / "run"),
        clock=lambda: now_s[0],
    )

    def write_tables(event: dict[str, Any]) -> None:
        now_s[0] += 360.0 * (event["event"] == "run_ended")

    run.observe(Calling(write_tables))
    now_s[0] = 1800.0
    run.end()
    assert run.spent.hours == 0.5
    assert [each.elapsed_s for each in run.history.sessions.all] == [1800.0]


@pytest.mark.parametrize("jump_s", [86_400.0, -86_400.0, -1e9, 3e7])
def test_a_wall_clock_that_jumps_changes_no_hours(tmp_path: Path, jump_s: float) -> None:
    space = made_space(tmp_path, overrides=["search.limits.trials=2", "search.limits.hours=1"])
    wall = iter([*[1e9] * 5, *[1e9 + jump_s] * 10**6])
    ledger = Ledger.create(tmp_path / "run", clock=lambda: next(wall))
    now_s = [0.0]
    run = Run(space, sampler_for(space), ledger, clock=lambda: now_s[0])
    now_s[0] = 36.0
    execute_here(run, SteadyMeter())
    assert run.history.ended == "all 2 trials done"
    again = Run(space, sampler_for(space), Ledger(tmp_path / "run"), clock=lambda: 0.0)
    assert again.spent.hours == 0.01


def test_other_settings_are_refused_with_every_difference(tmp_path: Path) -> None:
    before = made_space(tmp_path)
    now = made_space(
        tmp_path, overrides=["search.data=other", "search.seed=7", "parameters.noise={min: 0.0, max: 0.1}"]
    )
    with pytest.raises(LedgerError) as caught:
        check_resumable(tmp_path / "run", before, now)
    assert str(caught.value).splitlines()[1:] == [
        "  data: was none, now other",
        "  seed: was 0, now 7",
        "  parameters: were lr, batch_size, now lr, batch_size, noise",
        "give another --name, or --fresh for a new run",
    ]


def test_limits_ranges_and_eta_may_change(tmp_path: Path) -> None:
    now = made_space(
        tmp_path,
        overrides=["search.limits.trials=99", "parameters.lr.max=0.5", "search.scheduler.eta=2"],
    )
    check_resumable(tmp_path / "run", made_space(tmp_path), now)


@pytest.mark.parametrize("objective", ["val_accuracy", "[val_accuracy, energy]"])
@pytest.mark.parametrize("horizon", ["full", pytest.param("rung", marks=pytest.mark.slow)])
def test_with_promotion_paused_trials_stay_promotable(tmp_path: Path, horizon: str, objective: str) -> None:
    changes = ["search.scheduler={mode: asha, eta: 3}", f"search.horizon={horizon}"]
    space = made_space(tmp_path, overrides=[*changes, f"search.objective={objective}"])
    undisturbed = whole_with_cuts(space, tmp_path / "whole", sampler_for(space))
    num_events = len(undisturbed.ledger.events())
    for number in range(3, num_events - 1, 4):
        again = whole(space, tmp_path / f"cut-{number}", sampler_for(space))
        assert outcome(again) == outcome(undisturbed)


def test_a_trial_that_waits_to_be_resumed_takes_no_slot(tmp_path: Path) -> None:
    space = made_space(tmp_path)
    assert session(space, tmp_path / "run", sampler_for(space), events_left=2) is None
    run = Run(space, sampler_for(space), Ledger(tmp_path / "run"))
    assert (len(run.history.running()), run.num_training) == (1, 0)
    assert run.next_task() is not None
    assert run.num_training == 1


@pytest.mark.parametrize("mode", ["asha_stopping", pytest.param("asha", marks=pytest.mark.slow)])
def test_killed_at_every_event_control_trials_are_neither_lost_nor_doubled(tmp_path: Path, mode: str) -> None:
    changes = [f"search.scheduler={{mode: {mode}, eta: 2, control_fraction: 1}}", "search.limits.trials=8"]
    space = made_space(tmp_path, overrides=changes)
    undisturbed = whole_with_cuts(space, tmp_path / "whole", sampler_for(space))
    assert controls(undisturbed)
    for number in range(1, len(undisturbed.ledger.events()) - 1):
        again = whole(space, tmp_path / f"cut-{number}", sampler_for(space))
        assert (outcome(again), controls(again)) == (outcome(undisturbed), controls(undisturbed))
        for trial_id, trial in undisturbed.history.trials.items():
            assert again.history.trials[trial_id].control_rungs == trial.control_rungs


def test_a_control_trial_that_jumped_a_rung_is_resumed_above_the_rung_that_it_ended() -> None:
    """An epoch of many joules may complete two rungs at once; the journal has the higher one."""
    row = EpochRow(
        epoch=1, rung=0, completes_rung=True, rungs_skipped=1, metrics={"val_accuracy": 0.5}, seconds=1
    )
    trial = TrialRecord("trial-0000", 0, "random", {}, seed=1, asked_at=0, rows=[row])
    pending = Pending()
    pending.take(trial, Decision(is_control=True))
    assert pending.controls == {"trial-0000": 1}


def controls(run: Run) -> list[tuple[str, int]]:
    """Every control trial the journal knows of."""
    events = [event for event in run.ledger.events() if event["event"] == "trial_continued_as_control"]
    return [(event["trial"], event["rung"]) for event in events]


def test_a_session_that_was_killed_before_its_first_event_has_not_ended_like_the_one_before(
    tmp_path: Path,
) -> None:
    space, ledger = made_space(tmp_path), Ledger.create(tmp_path / "run")
    run = Run(space, sampler_for(space), ledger)
    assert run.next_task() is not None
    run.interrupt("SIGTERM received")
    run.end()
    events = Run(space, sampler_for(space), ledger).ledger.events()
    at = [event["event"] for event in events].index("trial_resumed")
    assert events[at + 1]["event"] == "session_started"
    assert History(events[:at]).ended == "SIGTERM received"
    assert History(events[: at + 1]).ended is None


def test_another_eta_ends_no_trial_that_continued_past_its_rung(tmp_path: Path) -> None:
    def opened(ledger: Ledger, eta: int) -> Run:
        scheduler = f"search.scheduler={{mode: asha_stopping, eta: {eta}, control_fraction: 0}}"
        space = made_space(tmp_path, overrides=[scheduler])
        return Run(space, sampler_for(space), ledger)

    def row(epoch: int, value: float) -> EpochRow:
        metrics = {"val_accuracy": value}
        return EpochRow(epoch=epoch, rung=epoch - 1, completes_rung=epoch == 1, metrics=metrics, seconds=1.0)

    ledger = Ledger.create(tmp_path / "run")
    run = opened(ledger, 2)
    tasks = [run.next_task() for _ in range(4)]
    answers = [
        run.on_epoch(task.trial_id, row(1, value))
        for task, value in zip(tasks, (0.9, 0.5, 0.4, 0.8), strict=True)
        if task
    ]
    assert answers == ["continue", "stop", "stop", "continue"]
    assert run.on_epoch("trial-0003", row(2, 0.8)) == "continue"
    again = opened(ledger, 4)  # of four trials only the best continues
    statuses = [trial.status for trial in again.history.trials.values()]
    assert statuses == ["running", "stopped", "stopped", "running"]


def test_what_a_later_line_contradicts_does_not_follow() -> None:
    pending = Pending(endings={"trial-0000": Ending("stopped")}, controls={"trial-0000": 0, "trial-0001": 1})
    pending.drop("trial-0000")
    assert pending == Pending(controls={"trial-0001": 1})
