"""What a lost, damaged or left-over checkpoint costs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from search.backends.local import execute_here
from search.backends.ray.worker import TrialWorker
from search.backends.trial_log import open_log
from search.ledger import Ledger
from search.ledger.history import History
from search.run import Run
from search.run.checkpoint_retention import CheckpointRetention
from search.trial import EpochRow
from search.trial.checkpoints import SavedState, save_state
from search.trial.failure import Failure
from search.trial.task import task_for
from tests.support.toy_runs import Calling, SteadyMeter, fateful_space, kept, listed, made_space


def test_a_disk_error_is_a_note_and_any_other_one_is_raised(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    state = SavedState(training={"epochs_done": 1}, epochs_done=1, row=row(1, 0, 0.5))
    assert list(save_state(tmp_path / "file" / "checkpoint.pt", state)) == ["checkpoint"]
    with pytest.raises((AttributeError, TypeError, RuntimeError)):
        save_state(tmp_path / "checkpoint.pt", replace(state, training={"load": lambda: None}))


def test_a_trial_that_starts_over_keeps_its_score_until_it_has_caught_up() -> None:
    rows = [row(1, 0, 0.5), row(2, 1, 0.6), row(3, 1, 0.7), row(1, 0, 0.5)]
    trial = recorded(rows)
    assert (trial.rung, trial.epochs, trial.value("val_accuracy")) == (1, 3, 0.7)


def row(epoch: int, rung: int, value: float) -> EpochRow:
    ends = epoch in (1, 3)
    return EpochRow(epoch=epoch, rung=rung, completes_rung=ends, metrics={"val_accuracy": value}, seconds=1.0)


def recorded(rows: list[EpochRow]) -> Any:
    asked = {"event": "trial_asked", "time": 0.0, "trial": "trial-0000", "number": 0, "seed": 0}
    epochs = [{"event": "epoch", "time": 1.0, "trial": "trial-0000", "row": row.to_dict()} for row in rows]
    history = History([{**asked, "proposed_by": "default", "hparams": {}, "parent_trial": ""}, *epochs])
    return history.trials["trial-0000"]


def test_after_a_restart_the_checkpoints_that_a_kill_left_go_too(tmp_path: Path) -> None:
    points = [{"fate": "fine", "score": score} for score in (0.6, 0.3, 0.7)]
    space = fateful_space(tmp_path, ["search.scheduler={mode: none}"])
    first = Run(space, listed(*points[:2]), Ledger.create(tmp_path / "run"))
    execute_here(first, SteadyMeter())  # killed before any checkpoint was deleted
    assert kept(first) == ["trial-0000", "trial-0001"]
    second = Run(space, listed(*points), Ledger(tmp_path / "run"))
    second.observe(CheckpointRetention(second))
    assert kept(second) == ["trial-0000"]
    execute_here(second, SteadyMeter())
    assert kept(second) == ["trial-0002"]


def test_over_the_disk_limit_a_paused_trial_without_a_checkpoint_is_no_error(tmp_path: Path) -> None:
    points = [{"fate": "fine", "score": 0.1 + 0.05 * number} for number in range(6)]
    space = fateful_space(
        tmp_path,
        ["search.scheduler={mode: asha, eta: 4}", "search.limits={trials: 6, disk_gib: 3.0e-6}"],
    )
    run = Run(space, listed(*points), Ledger.create(tmp_path / "run"))
    run.observe(Calling(lambda event: lose_the_first(run)))
    run.observe(CheckpointRetention(run))
    execute_here(run, SteadyMeter())
    assert len(run.history.trials) == 6
    assert not run.history.running()


def lose_the_first(run: Run) -> None:
    (run.ledger.trial_folder("trial-0000") / "checkpoint.pt").unlink(missing_ok=True)


def test_what_killed_writers_left_goes_and_nothing_else(tmp_path: Path) -> None:
    ledger = Ledger.create(tmp_path / "run")
    trial = ledger.trial_folder("trial-0000")
    trial.mkdir()
    scratch = "0123456789abcdef0123456789abcdef"
    for path in (trial / f".{scratch}.checkpoint.pt", ledger.folder / f".{scratch}.trials.csv"):
        path.write_text("half")
    for path in (trial / "checkpoint.pt", trial / ".hidden", ledger.folder / ".lock"):
        path.write_text("whole")
    ledger.tidy()
    left = sorted(path.name for path in ledger.folder.rglob("*") if path.is_file())
    assert left == [".hidden", ".lock", "checkpoint.pt", "journal.jsonl"]


def test_a_log_that_the_disk_does_not_take_costs_lines_only(tmp_path: Path) -> None:
    with open_log(tmp_path / "trial" / "log.txt") as log:
        print("epoch 1", file=log)
    assert (tmp_path / "trial" / "log.txt").read_text() == "epoch 1\n"
    (tmp_path / "trial" / "full.txt").symlink_to("/dev/full")
    for path in (tmp_path / "trial" / "full.txt", tmp_path / "gone" / "trial" / "log.txt"):
        with open_log(path) as log:
            assert log.write("dropped\n") == 8


def test_a_trials_log_has_a_line_for_each_epoch_it_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker resumes a paused trial from its checkpoint, and is given the row it was saved after."""
    monkeypatch.setattr("search.backends.ray.worker._node_meter", lambda: None)
    space = made_space(tmp_path)
    task = task_for(space, trial_id="trial-0000", hparams={}, seed=1, folder=tmp_path / "trial-0000")

    def train(num_steps: int) -> list[EpochRow]:
        worker = TrialWorker()
        worker.take(task)
        return [worker.step()["row"] for _ in range(num_steps)]

    def logged() -> list[str]:
        return [line.split("  ")[0] for line in task.log.read_text().splitlines()]

    assert [row.is_replay for row in train(1)] == [False]
    assert [row.is_replay for row in train(3)] == [True, False, False]
    assert logged() == ["epoch 1", "epoch 2", "epoch 3"]
    task.log.write_text("epoch 1  rung 0\nepoch 2  rung 1\n")  # the worker was lost before it wrote the third
    train(2)
    assert logged() == ["epoch 1", "epoch 2", "epoch 3", "epoch 4"]
    assert "  (start " in task.log.read_text().splitlines()[-1]


def test_a_trial_that_loses_a_worker_again_is_tried_again_if_it_got_further(tmp_path: Path) -> None:
    run = Run(made_space(tmp_path), listed({"lr": 0.1}), Ledger.create(tmp_path / "run"))
    task = run.next_task()
    assert task is not None
    lost = Failure(cause="lost_worker", message="killed")
    run.on_epoch(task.trial_id, row(1, 0, 0.5))
    assert run.on_failure(task.trial_id, lost)
    run.on_epoch(task.trial_id, row(2, 1, 0.6))  # further than ever
    assert run.on_failure(task.trial_id, lost)
    run.on_epoch(task.trial_id, row(2, 1, 0.6))  # repeated: no further
    assert not run.on_failure(task.trial_id, lost)
    trial = run.history.trials[task.trial_id]
    assert (trial.status, trial.attempts, len(trial.failures)) == ("failed", 3, 3)


def test_a_worker_lost_before_a_restart_is_not_held_against_the_trial_after_it(tmp_path: Path) -> None:
    space = made_space(tmp_path)
    first = Run(space, listed({"lr": 0.1}), Ledger.create(tmp_path / "run"))
    lost = Failure(cause="lost_worker", message="killed")
    assert first.next_task() is not None
    assert first.on_failure("trial-0000", lost)  # and the driver is killed
    second = Run(space, listed({"lr": 0.1}), Ledger(tmp_path / "run"))
    assert second.next_task() is not None
    assert second.on_failure("trial-0000", lost)
    assert not second.on_failure("trial-0000", lost)
    assert second.history.trials["trial-0000"].attempts == 3
