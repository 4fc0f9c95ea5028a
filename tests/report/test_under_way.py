"""What a long epoch says of itself, in the live view and in lines."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from search.output import Output
from search.report import under_way
from search.report.live import LiveView
from search.report.time_left import TimeLeft
from search.report.under_way import UnderWayLines
from tests.support.energy_scenes import Scene
from tests.support.recorded_console import console, shown
from trainables.core.progress import Progress, ProgressWriter, read_progress


def writer(scene: Scene, trial_id: str) -> ProgressWriter:
    """What writes for a trial, as its context says."""
    return ProgressWriter(scene.run.ledger.trial_folder(trial_id) / ".progress", scene.clock)


def started(tmp_path: Path) -> tuple[Scene, str, ProgressWriter]:
    scene = Scene(tmp_path, "search.limits.trials=2")
    task = scene.run.next_task()
    assert task is not None
    assert task.context().progress_file == task.folder / ".progress"
    task.folder.mkdir(parents=True)
    return scene, task.trial_id, writer(scene, task.trial_id)


def test_a_running_trial_shows_its_time_and_once_its_epoch_is_long_the_batches(tmp_path: Path) -> None:
    scene, trial_id, progress = started(tmp_path)
    view = LiveView(scene.run, clock=scene.clock)

    def row() -> list[str]:
        output = console(is_terminal=True)
        output.print(view)
        (line,) = (line for line in shown(output).splitlines() if line.startswith(trial_id))
        return line.split()

    assert row()[2:5] == ["0", "-", "0"]
    progress.begin("epoch", 219, epoch=1)
    scene.clock.now_s += 19
    progress.step(100)
    assert row()[2:6] == ["0", "-", "19", "s"]
    scene.clock.now_s += 2
    progress.step(117)
    assert row()[2:8] == ["0", "+", "117/219", "-", "21", "s"]
    progress.begin("epoch", 219, epoch=2)  # the first has ended, and the run does not know it yet
    scene.clock.now_s += 21
    progress.step(3)
    assert row()[2:6] == ["0", "-", "42", "s"]


def test_lines_say_what_is_under_way_after_20_s_of_silence_and_then_as_it_gets_on(tmp_path: Path) -> None:
    scene, trial_id, progress = started(tmp_path)
    output = console()
    lines = UnderWayLines(scene.run, output, scene.clock)

    def printed(after_s: float, done: int | None = None) -> list[str]:
        before = len(shown(output).splitlines())
        scene.clock.now_s += after_s
        if done is not None:
            progress.step(done)
        lines.print_if_due()
        return shown(output).splitlines()[before:]

    assert printed(1) == []
    assert printed(20) == [f"under way: {trial_id} epoch 1, 20 s so far"]
    assert printed(20) == []  # nothing says how far it is: twice the time
    assert printed(20) == [f"under way: {trial_id} epoch 1, 1:00 so far"]
    progress.begin("decoding", 5000)
    assert printed(20, 1000) == [f"under way: {trial_id} decoding: 1000 of 5000 images"]
    progress.begin("epoch", 100, epoch=1)
    assert printed(21, 10) == [f"under way: {trial_id} epoch 1: 10 of 100 batches"]
    assert printed(10, 20) == []  # not every 20 s yet
    assert printed(10, 21) == [f"under way: {trial_id} epoch 1: 21 of 100 batches"]
    assert printed(20, 22) == []  # less than a twentieth further
    lines.on_line()
    assert printed(19, 90) == []
    assert printed(1) == [f"under way: {trial_id} epoch 1: 90 of 100 batches"]


def test_quiet_has_no_such_line(tmp_path: Path) -> None:
    scene, _, _ = started(tmp_path)
    terminal = console()
    lines = UnderWayLines(scene.run, Output(is_quiet=True, console=terminal.console), scene.clock)
    scene.clock.now_s += 100
    lines.print_if_due()
    assert shown(terminal) == ""


def test_only_trials_that_are_shown_have_their_files_read_and_none_of_quiet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(tmp_path, "search.limits.trials=6")
    ids = [task.trial_id for _ in range(6) if (task := scene.run.next_task())]
    read: list[str] = []
    monkeypatch.setattr(under_way, "read_progress", lambda file: read.append(file.parent.name))
    output = console()
    lines = UnderWayLines(scene.run, output, scene.clock)
    lines.print_if_due()
    assert read == []  # nothing is printed yet
    scene.clock.now_s += 20
    lines.print_if_due()
    assert read == ids[:4]
    assert shown(output).endswith(f"{ids[3]} epoch 1, 20 s so far; 2 more\n")
    view = console(is_terminal=True, height=8)
    view.print(LiveView(scene.run, clock=scene.clock))
    assert len(read) - 4 == sum(trial_id in shown(view) for trial_id in ids) < 6
    quiet = UnderWayLines(scene.run, Output(is_quiet=True, console=output.console), scene.clock)
    quiet.start()
    assert "under-way" not in {thread.name for thread in threading.enumerate()}
    quiet.stop()


def test_progress_is_written_every_two_seconds_and_gone_at_the_end(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    file = tmp_path / ".progress"
    file.write_text("epoch 7 1 9\n")  # of an attempt that was killed
    progress = ProgressWriter(file, scene.clock)
    progress.begin("epoch", 50, epoch=2)
    assert not file.exists()
    scene.clock.now_s += 20
    progress.step(5)
    scene.clock.now_s += 1
    progress.step(6)
    assert read_progress(file) == Progress("epoch", 2, 5, 50)
    file.write_text("epoch 2")  # as it is while it is being written
    assert read_progress(file) is None
    progress.end()
    assert not file.exists()
    missing = ProgressWriter(tmp_path / "absent" / ".progress", scene.clock)
    missing.begin("decoding", 3)
    scene.clock.now_s += 1
    missing.step(1)  # a disk that takes no file ends no training
    missing.end()


def test_the_time_left_of_a_resumed_run_is_by_the_pace_of_all_its_sessions(tmp_path: Path) -> None:
    scene = Scene(tmp_path, "search.limits.trials=3", "search.ladder.epochs=[1]")
    scene.clock.now_s += 29
    trial_id, window = scene.start()
    assert scene.epoch(trial_id, window, 1) == "stop"  # takes a second
    scene.run.interrupt("SIGTERM received")
    scene.run.end()
    scene.open()
    assert TimeLeft(scene.run, lambda: None, scene.clock).seconds() == pytest.approx(60.0)
