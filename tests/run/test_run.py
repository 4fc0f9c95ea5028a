"""A search from first task to last line of the journal, in this process."""

from __future__ import annotations

from pathlib import Path

import pytest

from search.backends.local import execute_here
from search.energy.reading import EnergyReading
from search.ledger import Ledger
from search.run import Run
from search.trial import EpochRow
from search.trial.failure import Failure
from tests.support.toy_runs import (
    SteadyMeter,
    executed,
    fateful_space,
    listed,
    made_space,
    replayed,
    sampler_for,
)


def row(
    epoch: int,
    rung: int,
    value: float,
    *,
    completes_rung: bool = False,
    done_reason: str = "",
    is_replay: bool = False,
) -> EpochRow:
    return EpochRow(
        epoch=epoch,
        rung=rung,
        completes_rung=completes_rung,
        done_reason=done_reason,
        metrics={"val_accuracy": value},
        seconds=1.0,
        energy=EnergyReading(cpu_mj=500),
        is_replay=is_replay,
    )


def new_run(folder: Path, **changes: object) -> Run:
    space = made_space(folder, overrides=[f"{key}={value}" for key, value in changes.items()])
    return Run(space, sampler_for(space), Ledger.create(folder / "run"), clock=lambda: 0.0)


def test_every_trial_ends_and_the_reason_is_given(tmp_path: Path) -> None:
    run, reason = executed(made_space(tmp_path), tmp_path)
    assert reason == "all 12 trials done"
    assert len(run.history.trials) == 12
    assert {trial.status for trial in run.history.trials.values()} == {"finished", "stopped"}
    assert run.ended_count == 12


def test_the_journal_rebuilds_what_the_run_holds(tmp_path: Path) -> None:
    run, reason = executed(made_space(tmp_path), tmp_path)
    again = replayed(run)
    assert again.trials == run.history.trials
    assert again.ended == reason
    assert again.energy == run.history.energy


def test_trial_0_is_the_default_configuration(tmp_path: Path) -> None:
    run, _ = executed(made_space(tmp_path), tmp_path)
    first = run.history.trials["trial-0000"]
    assert (first.proposed_by, first.hparams) == ("default", {"lr": 0.01, "batch_size": 64, "noise": 0.005})


def test_the_same_seed_gives_the_same_run(tmp_path: Path) -> None:
    runs = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        runs.append(executed(made_space(tmp_path / name), tmp_path / name)[0])
    first, second = ([(t.hparams, t.status, t.epochs) for t in run.history.trials.values()] for run in runs)
    assert first == second


def test_each_fate_leaves_one_labelled_trial_and_the_run_completes(tmp_path: Path) -> None:
    fates = ["fine", "raise", "nan", "diverge", "text", "silent"]
    sampler = listed(*({"fate": fate} for fate in fates))
    run, reason = executed(fateful_space(tmp_path), tmp_path, sampler)
    assert reason == "the whole list was tried, after 6 trials"
    assert [(trial.status, trial.cause) for trial in run.history.trials.values()] == [
        ("finished", ""),
        ("failed", "crash"),
        ("diverged", "diverged"),
        ("diverged", "diverged"),
        ("failed", "bad_result"),
        ("failed", "bad_result"),
    ]
    messages = [trial.message for trial in run.history.trials.values()]
    assert messages[1] == "KeyError: 'a mistake in the training code'"
    assert messages[2] == "val_accuracy is nan"
    assert "got {'val_accuracy': 'str'}" in messages[4]
    assert "must return 'val_accuracy', got only ['val_loss']" in messages[5]


def test_a_run_whose_first_three_trials_fail_alike_gives_up(tmp_path: Path) -> None:
    run, reason = executed(fateful_space(tmp_path), tmp_path, listed(*[{"fate": "raise"}] * 9))
    assert reason == "the first 3 trials all failed alike: crash: KeyError: 'a mistake in the training code'"
    assert len(run.history.trials) == 3


def test_energy_of_every_trial_adds_up_to_the_runs(tmp_path: Path) -> None:
    run, _ = executed(made_space(tmp_path), tmp_path)
    epochs = sum(len(trial.rows) for trial in run.history.trials.values())
    assert run.history.energy == EnergyReading(gpu_mj=100 * epochs, cpu_mj=20 * epochs)
    assert run.spent.energy_j == 0.12 * epochs


def test_what_comes_after_the_end_takes_none_of_the_runs_time(tmp_path: Path) -> None:
    space, now_s = made_space(tmp_path), [50.0]
    run = Run(space, sampler_for(space), Ledger.create(tmp_path / "run"), clock=lambda: now_s[0])
    execute_here(run, SteadyMeter())
    now_s[0] = 3600.0 + 50.0  # Ray shuts down, the report is written
    assert run.spent.hours == 0.0


def test_a_kwh_limit_ends_the_run_at_the_next_epoch(tmp_path: Path) -> None:
    # 0.12 J an epoch: the limit of 1e-6 kWh is 3.6 J, the thirtieth epoch reaches it.
    space = made_space(tmp_path, overrides=["search.limits.kwh=1e-6", "search.scheduler.mode=none"])
    run, reason = executed(space, tmp_path)
    assert sum(len(trial.rows) for trial in run.history.trials.values()) == 30
    assert reason == "1e-06 kWh limit reached (1e-06)"
    assert run.history.trials["trial-0003"].status == "interrupted"


def test_an_interruption_lets_no_further_epoch_start(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    task = run.next_task()
    assert task is not None
    run.interrupt("SIGINT received")
    assert run.on_epoch(task.trial_id, row(1, 0, 0.5, completes_rung=True)) == "stop"
    assert run.next_task() is None
    assert run.end() == "SIGINT received"
    assert run.history.trials[task.trial_id].status == "interrupted"


def test_a_lost_worker_is_tried_again_once_and_its_joules_stay(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    task = run.next_task()
    assert task is not None
    lost = Failure(cause="lost_worker", message="killed")
    run.on_epoch(task.trial_id, row(1, 0, 0.5, completes_rung=True))
    run.on_epoch(task.trial_id, row(2, 1, 0.6))
    assert run.on_failure(task.trial_id, lost)
    # The second attempt resumes from the checkpoint of epoch 1.
    assert run.on_epoch(task.trial_id, row(1, 0, 0.5, completes_rung=True, is_replay=True)) == "continue"
    assert run.on_epoch(task.trial_id, row(2, 1, 0.6)) == "continue"
    trial = run.history.trials[task.trial_id]
    assert (trial.attempts, trial.epochs, len(trial.rows)) == (2, 2, 3)
    assert trial.energy == EnergyReading(cpu_mj=1500)
    assert run.rungs.counts() == [1, 0, 0]
    assert not run.on_failure(task.trial_id, lost)
    assert (trial.status, trial.cause) == ("failed", "lost_worker")


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (Failure(cause="lost_worker", message="its node is gone"), "interrupted"),
        (Failure(cause="network", message="no way"), "interrupted"),
        (Failure(cause="lost_worker", message="preempted", is_preempted=True), "interrupted"),
        (Failure(cause="crash", message="a mistake"), "failed"),
        (Failure(cause="out_of_memory", message="too large"), "failed"),
    ],
)
def test_what_would_be_tried_again_is_interrupted_where_the_run_is_to_end(
    failure: Failure, status: str, tmp_path: Path
) -> None:
    run = new_run(tmp_path)
    task = run.next_task()
    assert task is not None
    run.interrupt("SIGTERM received")  # as the head node is preempted, with the workers on it
    assert not run.on_failure(task.trial_id, failure)
    trial = run.history.trials[task.trial_id]
    assert (trial.status, trial.attempts) == (status, 1)
    assert failure.message in trial.message
    run.end()
    again = Run(run.space, sampler_for(run.space), Ledger(tmp_path / "run")).next_task()
    assert again is not None
    assert (again.trial_id == task.trial_id) == (status == "interrupted")


def test_a_replayed_row_that_was_lost_on_the_way_is_taken_in(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    task = run.next_task()
    assert task is not None
    run.on_failure(task.trial_id, Failure(cause="lost_worker", message="killed"))
    assert run.on_epoch(task.trial_id, row(1, 0, 0.5, completes_rung=True, is_replay=True)) == "continue"
    assert run.rungs.counts() == [1, 0, 0]


def test_results_of_an_ended_trial_are_ignored(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    task = run.next_task()
    assert task is not None
    run.on_failure(task.trial_id, Failure(cause="crash", message="no"))
    num_events = len(run.ledger.events())
    assert run.on_epoch(task.trial_id, row(1, 0, 0.5)) == "stop"
    assert len(run.ledger.events()) == num_events


def test_patience_ends_a_trial_that_no_longer_gains(tmp_path: Path) -> None:
    run = new_run(tmp_path, **{"search.patience": 2, "search.ladder.epochs": "[9]"})
    task = run.next_task()
    assert task is not None
    decisions = [
        run.on_epoch(task.trial_id, row(epoch + 1, 0, value)) for epoch, value in enumerate([0.5, 0.4, 0.4])
    ]
    assert decisions == ["continue", "continue", "stop"]
    assert run.history.trials[task.trial_id].message == "no gain in 2 epochs"


def test_a_trial_below_the_threshold_is_eliminated_and_the_others_continue_at_once(tmp_path: Path) -> None:
    settings = {"search.early_stop_threshold": 0.3, "search.scheduler.mode": "none"}
    run = new_run(tmp_path, **settings)
    answers = []
    for value in (0.29, 0.3):
        task = run.next_task()
        assert task is not None
        answers.append(run.on_epoch(task.trial_id, row(1, 0, value, completes_rung=True)))
    assert answers == ["stop", "continue"]
    eliminated = run.history.trials["trial-0000"]
    assert eliminated.status == "stopped"
    assert eliminated.message == "val_accuracy 0.29 is worse than early_stop_threshold 0.3"
    assert run.rungs.counts()[0] == 2
    assert replayed(run).trials == run.history.trials


def test_an_epoch_without_evaluation_lets_a_trial_continue_at_once(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    task = run.next_task()
    assert task is not None
    unscored = EpochRow(epoch=1, rung=0, metrics={"num_examples": 10.0}, seconds=1.0)
    assert run.on_epoch(task.trial_id, unscored) == "continue"
    assert run.history.trials[task.trial_id].value("val_accuracy") is None


@pytest.mark.parametrize(("rung", "status"), [(1, "stopped"), (2, "finished")])
def test_a_training_that_is_done_early_ends_its_trial(tmp_path: Path, rung: int, status: str) -> None:
    run = new_run(tmp_path, **{"search.scheduler.mode": "asha"})
    task = run.next_task()
    assert task is not None
    last = row(2, rung, 0.5, completes_rung=True, done_reason="max_steps: 9 steps are taken")
    assert run.on_epoch(task.trial_id, last) == "stop"
    trial = run.history.trials[task.trial_id]
    assert (trial.status, trial.message, trial.rung) == (status, "max_steps: 9 steps are taken", rung)
    assert run.rungs.choose_paused(is_last_call=True) is None
    assert replayed(run).trials == run.history.trials


def test_with_promotion_a_trial_pauses_at_each_rung_and_the_best_continue_at_once(tmp_path: Path) -> None:
    space = made_space(
        tmp_path, overrides=["search.scheduler={mode: asha, eta: 3}", "search.limits.trials=27"]
    )
    run, reason = executed(space, tmp_path)
    assert reason == "all 27 trials done"
    counts = run.rungs.counts()
    assert (counts[0], counts[1] >= 9, counts[2] >= 3) == (27, True, True)
    assert {trial.status for trial in run.history.trials.values()} == {"paused", "finished"}
    assert [trial.epochs for trial in run.history.trials.values() if trial.status == "finished"] == [
        9
    ] * counts[2]
    assert sum(len(trial.rows) for trial in run.history.trials.values()) == sum(
        trial.epochs for trial in run.history.trials.values()
    )
    assert replayed(run).trials == run.history.trials


def test_a_promotion_search_of_two_trials_still_ends_with_a_fully_trained_one(tmp_path: Path) -> None:
    space = made_space(
        tmp_path, overrides=["search.scheduler={mode: asha, eta: 3}", "search.limits.trials=2"]
    )
    run, _ = executed(space, tmp_path)
    assert sorted(trial.status for trial in run.history.trials.values()) == ["finished", "paused"]
