"""Which checkpoints stay on disk."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from search.backends.local import execute_here
from search.ledger import Ledger
from search.ledger.journal import StorageError
from search.run import Run
from search.run.checkpoint_retention import CheckpointRetention
from search.space import Space
from tests.support.ray_sessions import CopyingLedger, outcome
from tests.support.toy_runs import Calling, SteadyMeter, fateful_space, kept, listed
from trainables.core.checkpoint import previous_of

Points = Sequence[dict[str, Any]]


def whole(space: Space, folder: Path, points: Points, ledger: type[Ledger] = Ledger) -> Run:
    """The run in `folder` come to its end."""
    run = Run(space, listed(*points), ledger(folder) if Ledger(folder).has_run else ledger.create(folder))
    run.observe(CheckpointRetention(run))
    execute_here(run, SteadyMeter())
    return run


def test_only_the_best_of_the_ended_trials_keeps_its_checkpoint(tmp_path: Path) -> None:
    points = [{"fate": "fine", "score": score} for score in (0.3, 0.5, 0.1, 0.4, 0.6, 0.2)]
    run = Run(fateful_space(tmp_path), listed(*points), Ledger.create(tmp_path / "run"))
    run.observe(CheckpointRetention(run))
    execute_here(run, SteadyMeter())
    assert run.ranking.best() is run.history.trials["trial-0004"]
    assert kept(run) == ["trial-0004"]


def test_an_interrupted_trial_keeps_its_checkpoint(tmp_path: Path) -> None:
    space = fateful_space(tmp_path, ["search.limits.kwh=1e-7"])  # 0.36 J: three epochs
    points = [{"fate": "fine", "score": 0.5}, {"fate": "fine", "score": 0.6}]
    run = Run(space, listed(*points), Ledger.create(tmp_path / "run"))
    run.observe(CheckpointRetention(run))
    execute_here(run, SteadyMeter())
    assert [trial.status for trial in run.history.trials.values()] == ["finished"]
    assert kept(run) == ["trial-0000"]


def test_the_log_stays(tmp_path: Path) -> None:
    run = Run(fateful_space(tmp_path), listed({"fate": "raise"}), Ledger.create(tmp_path / "run"))
    run.observe(CheckpointRetention(run))
    folder = run.ledger.trial_folder("trial-0000")
    folder.mkdir(parents=True)
    (folder / "log.txt").write_text("kept")
    execute_here(run, SteadyMeter())
    assert (folder / "log.txt").read_text().startswith("kept")


def test_a_paused_trial_that_can_no_longer_continue_is_given_up(tmp_path: Path) -> None:
    points = [{"fate": "fine", "score": 0.9 - 0.05 * number} for number in range(16)]
    changes = ["search.scheduler={mode: asha, eta: 4, control_fraction: 0}", "search.limits.trials=16"]
    run = Run(fateful_space(tmp_path, changes), listed(*points), Ledger.create(tmp_path / "run"))
    run.observe(CheckpointRetention(run))
    execute_here(run, SteadyMeter())
    given_up = [trial for trial in run.history.trials.values() if trial.message == "can no longer continue"]
    assert given_up
    assert not {trial.trial_id for trial in given_up} & set(kept(run))
    finished = [trial.trial_id for trial in run.history.trials.values() if trial.status == "finished"]
    assert finished == ["trial-0000", "trial-0001", "trial-0002", "trial-0003"]


def on_a_small_disk(folder: Path, *, trials: int, disk_gib: float) -> Run:
    """A run of trials that each score better than the one before."""
    points = [{"fate": "fine", "score": 0.1 + 0.05 * number} for number in range(trials)]
    limits = f"search.limits={{trials: {trials}, disk_gib: {disk_gib:.1e}}}"
    changes = ["search.scheduler={mode: asha, eta: 4, control_fraction: 0}", limits]
    return Run(fateful_space(folder, changes), listed(*points), Ledger.create(folder / "run"))


def test_over_the_disk_limit_the_worst_paused_trials_go(tmp_path: Path) -> None:
    run = on_a_small_disk(tmp_path, trials=6, disk_gib=3.0e-6)  # 3.2 KB: two checkpoints of 1.5 KB
    run.observe(CheckpointRetention(run))
    execute_here(run, SteadyMeter())
    trials = run.history.trials
    assert trials["trial-0003"].status == "finished"  # in the top quarter of the first four
    given_up = [trial.trial_id for trial in trials.values() if "over 3e-06 GiB" in trial.message]
    assert given_up[:2] == ["trial-0000", "trial-0001"]
    used = sum(path.stat().st_size for path in run.ledger.folder.glob("trials/*/checkpoint.pt"))
    assert 0 < used <= 3.0e-6 * 2**30
    assert "trial-0003" in kept(run)


@pytest.mark.parametrize(
    ("limits", "fates"),
    [
        ("{trials: 16}", ["fine"]),
        ("{trials: 16}", ["fine", "raise", "fine", "fine", "nan"]),
        ("{}", ["fine"]),  # as many as the list has
        ("{trials: 16, disk_gib: 5.5e-6}", ["fine"]),  # 5.9 KB: two checkpoints of 2.4 KB
    ],
)
def test_killed_anywhere_a_run_gives_up_what_an_undisturbed_one_gives_up(
    tmp_path: Path, limits: str, fates: list[str]
) -> None:
    scores = (0.5, 0.3, 0.7, 0.1, 0.8, 0.2, 0.6, 0.4, 0.75, 0.15, 0.25, 0.35, 0.45, 0.55, 0.65, 0.05)
    points = [{"fate": fates[n % len(fates)], "score": score} for n, score in enumerate(scores)]
    changes = ["search.scheduler={mode: asha, eta: 4, control_fraction: 0}", "search.ladder.epochs=[1, 2, 3]"]
    space = fateful_space(tmp_path, [*changes, f"search.limits={limits}"])
    undisturbed = whole(space, tmp_path / "whole", points, CopyingLedger)
    given_up = [trial for trial in undisturbed.history.trials.values() if trial.status == "stopped"]
    assert given_up
    events = undisturbed.ledger.events()
    ends = [number for number, event in enumerate(events) if event["event"] == "trial_ended"]
    for number in (end + after for end in ends[8::3] for after in (0, 1)):  # before and after it is given up
        again = whole(space, tmp_path / f"cut-{number}", points)
        assert outcome(again) == outcome(undisturbed), number


def test_a_paused_trial_counts_with_the_one_checkpoint_that_it_will_have(tmp_path: Path) -> None:
    run = on_a_small_disk(tmp_path, trials=5, disk_gib=1.2e-5)  # 12.9 KB: five checkpoints of 2.4 KB

    def leave_one_more(event: Any) -> None:  # as a worker does that has not left its trial yet
        checkpoint = run.ledger.trial_folder(event.get("trial", "")) / "checkpoint.pt"
        if event["event"] == "trial_ended" and checkpoint.exists():
            shutil.copy(checkpoint, previous_of(checkpoint))

    run.observe(Calling(leave_one_more))
    run.observe(CheckpointRetention(run))
    execute_here(run, SteadyMeter())
    assert [trial.message for trial in run.history.trials.values() if "GiB" in trial.message] == []


def test_what_a_killed_worker_left_beside_a_paused_trial_s_checkpoint_goes_at_the_next_start(
    tmp_path: Path,
) -> None:
    points = [{"fate": "fine", "score": score} for score in (0.5, 0.3, 0.7)]
    space = fateful_space(tmp_path, ["search.scheduler={mode: asha, eta: 4, control_fraction: 0}"])
    whole(space, tmp_path / "run", points)
    checkpoint = tmp_path / "run/trials/trial-0001/checkpoint.pt"
    shutil.copy(checkpoint, previous_of(checkpoint))
    whole(space, tmp_path / "run", points)
    assert checkpoint.exists()
    assert not previous_of(checkpoint).exists()


def test_a_checkpoint_that_cannot_be_deleted_is_a_message_of_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = [{"fate": "fine", "score": score} for score in (0.5, 0.3)]
    space = fateful_space(tmp_path)
    run = whole(space, tmp_path / "run", points)
    checkpoint = run.ledger.trial_folder("trial-0001") / "checkpoint.pt"
    shutil.copy(run.ledger.trial_folder("trial-0000") / "checkpoint.pt", checkpoint)

    def refuse(path: Path, **_: Any) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    monkeypatch.setattr(os, "unlink", refuse)
    with pytest.raises(StorageError, match=r"checkpoint\.pt cannot be deleted: Input/output error"):
        CheckpointRetention(run)


def test_what_cannot_be_deleted_changes_nothing_of_what_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = [{"fate": "fine", "score": 0.9 - 0.05 * number} for number in range(16)]
    changes = ["search.scheduler={mode: asha, eta: 4, control_fraction: 0}", "search.limits.trials=16"]
    space = fateful_space(tmp_path, changes)
    undisturbed = whole(space, tmp_path / "whole", points)
    run = Run(space, listed(*points), Ledger.create(tmp_path / "run"))
    keeper, undeleted = CheckpointRetention(run), []

    def follow(event: Any) -> None:
        try:
            keeper.on_event(event)
        except StorageError as error:
            undeleted.append(error)

    def refuse(ledger: Ledger, path: Path) -> None:
        raise StorageError(f"{path} cannot be deleted: Input/output error")

    monkeypatch.setattr(Ledger, "delete", refuse)
    run.observe(Calling(follow))
    execute_here(run, SteadyMeter())
    assert outcome(run) == outcome(undisturbed)
    given_up = [trial for trial in run.history.trials.values() if trial.status == "stopped"]
    assert len(given_up) > 1
    assert len(undeleted) > len(given_up)
