"""A run's joules: rows, windows and devices add up to the millijoule."""

from __future__ import annotations

from pathlib import Path

from search.energy.reading import EnergyReading, EnergySensors
from search.ledger import Ledger
from search.report.unmeasured import gap_note
from search.run import Run
from search.tables import device_rows, trial_rows
from search.trial.failure import Failure
from tests.support.energy_scenes import Scene, checked, epoch_row
from tests.support.fake_clock import FakeClock
from tests.support.meters import OneGpu, OneWindow
from tests.support.toy_runs import made_space, replayed, sampler_for


def test_what_a_trial_used_before_its_first_row_and_after_its_last_is_its_own(tmp_path: Path) -> None:
    scene = Scene(tmp_path, "search.scheduler.mode=asha")
    trial_id, window = scene.start()
    scene.use(7)  # loading
    assert scene.epoch(trial_id, window, 10) == "stop"  # pauses
    trial = scene.run.history.trials[trial_id]
    assert (trial.rows[0].energy.gpu_mj, trial.energy.gpu_mj) == (10_000, 17_000)
    assert scene.run.history.energy.gpu_mj == 17_000


def test_a_killed_attempt_keeps_its_joules_in_the_trials_row(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    trial_id, window = scene.start()
    scene.epoch(trial_id, window, 10)
    scene.use(4)  # dies in the second epoch
    assert scene.run.on_failure(trial_id, Failure(cause="lost_worker", message="killed"))
    again = scene.gpu.window(trial_id)
    scene.epoch(trial_id, again, 5, epoch=2)
    scene.run.on_failure(trial_id, Failure(cause="crash", message="a mistake"))
    trial = scene.run.history.trials[trial_id]
    assert trial.status == "failed"
    assert trial.energy.gpu_mj == 19_000
    assert [closed.reading.gpu_mj for closed in trial.joules.closed.values()] == [14_000, 5_000]


def test_a_row_that_was_lost_on_the_way_is_not_counted_beside_its_window(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    trial_id, window = scene.start()
    scene.use(10)  # the first epoch, whose report is lost with the worker
    scene.run.on_failure(trial_id, Failure(cause="lost_worker", message="killed"))
    late = epoch_row(1, EnergyReading(gpu_mj=10_000), window.window, is_replay=True)
    scene.run.on_epoch(trial_id, late)
    assert scene.run.history.trials[trial_id].energy.gpu_mj == 10_000


def test_trials_idle_and_devices_add_up_after_a_restart_too(tmp_path: Path) -> None:
    scene = Scene(tmp_path, "search.limits.trials=2", "search.ladder.epochs=[1]")
    scene.use(3)  # idle
    trial_id, window = scene.start()
    scene.epoch(trial_id, window, 10)
    scene.run.interrupt("for now")
    scene.run.end()
    scene.gpu = OneGpu(scene.clock)
    scene.open()
    trial_id, window = scene.start()
    scene.use(2)
    scene.epoch(trial_id, window, 20)
    scene.use(1)
    scene.run.end()
    rows = device_rows(replayed(scene.run))
    assert [(row["session"], row["energy_device_j"], row["energy_trials_j"]) for row in rows] == [
        (0, 13.0, 10.0),
        (1, 23.0, 22.0),
    ]
    assert [row["energy_idle_j"] for row in rows] == [3.0, 1.0]
    assert scene.run.spent.energy_j == 36.0
    assert checked(scene.run) == ([], [])


def test_a_session_killed_before_its_first_epoch_was_reported_is_known_as_one_that_was_not_closed(
    tmp_path: Path,
) -> None:
    scene = Scene(tmp_path, "search.limits.trials=1", "search.ladder.epochs=[1]")
    trial_id, window = scene.start()
    scene.use(10)  # an epoch whose checkpoint is on disk, and whose row is not reported before the kill
    left = epoch_row(1, window.read(), "killed/1", is_replay=True)
    scene.gpu = OneGpu(scene.clock)
    scene.open()
    trial_id, window = scene.start()
    assert scene.run.on_epoch(trial_id, left) == "stop"
    scene.run.end()
    assert scene.run.history.energy.gpu_mj == 10_000
    rows = device_rows(replayed(scene.run))
    assert [(row["energy_trials_j"], row["is_closed"]) for row in rows] == [(0.0, False), (0.0, True)]
    problems, notes = checked(scene.run)
    assert problems == []
    assert "the session was killed" in notes[0]


def test_joules_that_no_row_reported_yet_count_against_the_limit(tmp_path: Path) -> None:
    scene = Scene(tmp_path, "search.limits.kwh=0.00001")  # 36 J
    trial_id, window = scene.start()
    assert scene.epoch(trial_id, window, 10) == "continue"
    scene.use(27)
    scene.run.next_task()
    assert scene.run.stop_reason() == "1e-05 kWh limit reached (1.03e-05)"


def test_nothing_starts_beside_epochs_that_may_use_up_the_limit(tmp_path: Path) -> None:
    scene = Scene(tmp_path, "search.limits.kwh=0.00001", share="1/2")
    first, window = scene.start()
    scene.epoch(first, window, 20)
    assert scene.run.stop_reason() is None
    assert (
        scene.run.next_task() is None
    )  # 20 J spent and 20 J expected of the one under way are more than 36 J
    assert not scene.run.is_exhausted


def test_a_300_w_device_ends_a_run_within_the_epochs_under_way(tmp_path: Path) -> None:
    # 300 W, 4 trials at a time, epochs of 1 s: the limit of 3,600 J may be passed by 300 J.
    scene = Scene(tmp_path, "search.limits.kwh=0.001", "search.scheduler.mode=none", share="1/4")
    training: dict[str, tuple[OneWindow, int]] = {}
    while True:
        while len(training) < 4 and (task := scene.run.next_task()) is not None:
            training[task.trial_id] = scene.gpu.window(task.trial_id), 1
        if not training:
            break
        before = {trial_id: window.read() for trial_id, (window, _) in training.items()}
        scene.use(300)
        for trial_id, (window, epoch) in list(training.items()):
            row = epoch_row(epoch, window.read() - before[trial_id], window.window)
            training[trial_id] = window, epoch + 1
            if scene.run.on_epoch(trial_id, row) == "stop":
                del training[trial_id]
    assert scene.run.end() == "0.001 kWh limit reached (0.001)"
    assert scene.run.spent.energy_j is not None
    assert 3600 <= scene.run.spent.energy_j <= 3900
    assert checked(scene.run) == ([], [])


def test_figures_that_come_late_are_their_trials_and_not_the_next_ones(tmp_path: Path) -> None:
    scene = Scene(tmp_path, "search.limits.trials=2", "search.ladder.epochs=[1]")
    close, late = scene.gpu.close_windows, []
    scene.gpu.close_windows = lambda trial: late.extend(close(trial)) or []  # type: ignore[method-assign,func-returns-value]
    scene.gpu.late_windows = lambda: late  # type: ignore[method-assign]
    for joules in (10, 20):
        trial_id, window = scene.start()
        scene.use(1)  # before the epoch: in no row
        scene.epoch(trial_id, window, joules)
    scene.run.end()
    energies = {trial_id: trial.energy.gpu_mj for trial_id, trial in scene.run.history.trials.items()}
    assert energies == {"trial-0000": 11_000, "trial-0001": 21_000}
    assert checked(scene.run) == ([], [])


def test_epochs_of_a_session_without_a_sensor_are_counted_and_make_no_mean_too_small(tmp_path: Path) -> None:
    space = made_space(tmp_path, overrides=["search.limits.trials=1", "search.scheduler.mode=none"])
    run = Run(space, sampler_for(space), Ledger.create(tmp_path / "run"))
    assert run.next_task()
    blind = EnergySensors(reason="no sensor").to_dict()
    run.on_epoch("trial-0000", epoch_row(1, EnergyReading(), "", sensors=blind))
    run.interrupt("for now")
    run.end()
    again = Run(space, sampler_for(space), Ledger(tmp_path / "run"))
    assert again.next_task()
    for epoch in range(2, 10):
        sensors = EnergySensors(gpu_sensor="nvml_counter", scope="gpu").to_dict() if epoch == 2 else {}
        again.on_epoch("trial-0000", epoch_row(epoch, EnergyReading(gpu_mj=1000), "", sensors=sensors))
    again.end()
    (row,) = trial_rows(space, again.history)
    assert row["energy_reason"] == "gpu: without 1 epoch in which it was not measured"
    assert (row["energy_j"], row["energy_per_epoch_j"], row["energy_to_best_j"]) == (8.0, None, None)
    note = " (without 1 of 9 epochs, in which nothing was measured)"
    assert gap_note(again.history.trials.values()) == note
    assert gap_note(run.history.trials.values()) == ""  # nothing at all was measured
    assert again.history.epoch_j == 1.0


def test_a_kill_in_a_long_epoch_loses_a_minute_at_most_of_its_time_and_of_its_devices(tmp_path: Path) -> None:
    scene = Scene(tmp_path, "search.limits.trials=1")
    scene.start()
    for second in range(1, 151):
        scene.use(2)
        scene.run.keep_time_and_energy()
        kept = scene.run.history.sessions.all[0]
        assert kept.elapsed_s == second // 60 * 60
        assert kept.devices[0]["energy_trials_j"] == second // 60 * 120
    scene.gpu = OneGpu(scene.clock)
    scene.open()
    assert scene.run.spent.hours == 120 / 3600


def test_time_is_kept_without_a_sensor_too(tmp_path: Path) -> None:
    space, clock = made_space(tmp_path), FakeClock()
    run = Run(space, sampler_for(space), Ledger.create(tmp_path / "run"), clock=clock)
    assert run.next_task()
    clock.now_s += 3600
    run.keep_time_and_energy()
    clock.now_s = 0.0
    again = Run(space, sampler_for(space), Ledger(tmp_path / "run"), clock=clock)
    assert again.spent.hours == 1.0
    assert device_rows(again.history) == []
