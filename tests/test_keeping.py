"""Which checkpoints stay on disk."""

from __future__ import annotations

from pathlib import Path

from made_runs import SteadyMeter, fateful_space, kept, listed

from search.ledger import Ledger
from search.run import Run
from search.run.in_process import execute_here
from search.run.keeping import Keeper


def test_only_the_best_of_the_ended_trials_keeps_its_checkpoint(tmp_path: Path) -> None:
    points = [{"fate": "fine", "score": score} for score in (0.3, 0.5, 0.1, 0.4, 0.6, 0.2)]
    run = Run(fateful_space(tmp_path), listed(*points), Ledger.create(tmp_path / "run"))
    run.subscribe(Keeper(run).on_event)
    execute_here(run, SteadyMeter())
    assert run.best() is run.history.trials["trial-0004"]
    assert kept(run) == ["trial-0004"]


def test_an_interrupted_trial_keeps_its_checkpoint(tmp_path: Path) -> None:
    space = fateful_space(tmp_path, ["search.limits.kwh=1e-7"])  # 0.36 J: three epochs
    points = [{"fate": "fine", "score": 0.5}, {"fate": "fine", "score": 0.6}]
    run = Run(space, listed(*points), Ledger.create(tmp_path / "run"))
    run.subscribe(Keeper(run).on_event)
    execute_here(run, SteadyMeter())
    assert [trial.status for trial in run.history.trials.values()] == ["finished"]
    assert kept(run) == ["trial-0000"]


def test_the_log_stays(tmp_path: Path) -> None:
    run = Run(fateful_space(tmp_path), listed({"fate": "raise"}), Ledger.create(tmp_path / "run"))
    run.subscribe(Keeper(run).on_event)
    folder = run.ledger.trial_folder("trial-0000")
    folder.mkdir(parents=True)
    (folder / "log.txt").write_text("kept")
    execute_here(run, SteadyMeter())
    assert (folder / "log.txt").read_text() == "kept"


def test_a_paused_trial_that_can_no_longer_be_promoted_is_given_up(tmp_path: Path) -> None:
    points = [{"fate": "fine", "score": 0.9 - 0.05 * number} for number in range(16)]
    changes = ["search.scheduler={mode: promotion, eta: 4, audit: 0}", "search.limits.trials=16"]
    run = Run(fateful_space(tmp_path, changes), listed(*points), Ledger.create(tmp_path / "run"))
    run.subscribe(Keeper(run).on_event)
    execute_here(run, SteadyMeter())
    given_up = [
        trial for trial in run.history.trials.values() if trial.message == "can no longer be promoted"
    ]
    assert given_up
    assert not {trial.trial_id for trial in given_up} & set(kept(run))
    finished = [trial.trial_id for trial in run.history.trials.values() if trial.status == "finished"]
    assert finished == ["trial-0000", "trial-0001", "trial-0002", "trial-0003"]


def test_over_the_disk_limit_the_worst_paused_trials_go(tmp_path: Path) -> None:
    points = [{"fate": "fine", "score": 0.1 + 0.05 * number} for number in range(6)]
    changes = [
        "search.scheduler={mode: promotion, eta: 4, audit: 0}",
        "search.limits={trials: 6, disk_gib: 3.0e-6}",  # 3.2 KB: two checkpoints of 1.5 KB
    ]
    run = Run(fateful_space(tmp_path, changes), listed(*points), Ledger.create(tmp_path / "run"))
    run.subscribe(Keeper(run).on_event)
    execute_here(run, SteadyMeter())
    trials = run.history.trials
    assert trials["trial-0003"].status == "finished"  # in the top quarter of the first four
    given_up = [trial.trial_id for trial in trials.values() if "over 3e-06 GiB" in trial.message]
    assert given_up[:2] == ["trial-0000", "trial-0001"]
    used = sum(path.stat().st_size for path in run.ledger.folder.glob("trials/*/checkpoint.pt"))
    assert 0 < used <= 3.0e-6 * 2**30
    assert "trial-0003" in kept(run)
