"""The joules of a run by how its trials ended."""

from __future__ import annotations

from pathlib import Path

from search.accounting.spending import outcome_millijoules, outcomes_text
from search.ledger.history import History
from search.report.summary import print_summary
from search.trial.failure import Failure
from tests.support.energy_scenes import Scene
from tests.support.recorded_console import console, shown


def ended_scene(folder: Path) -> tuple[Scene, str]:
    """One trial of each kind on one GPU, an idle stretch between them, and the reason the run ended."""
    scene = Scene(
        folder, "search.limits.trials=4", "search.ladder.epochs=[1, 3, 9]", "search.scheduler.mode=none"
    )
    finished, window = scene.start()
    for epoch in range(1, 10):
        scene.epoch(finished, window, 3, epoch=epoch)
    scene.use(2)  # idle
    failed, _ = scene.start()
    scene.use(4)
    scene.run.on_failure(failed, Failure(cause="crash", message="a mistake"))
    diverged, window = scene.start()
    scene.epoch(diverged, window, 5)
    scene.run.on_failure(diverged, Failure(cause="diverged", message="loss became nan"))
    scene.start()
    scene.use(1.5)
    scene.run.interrupt("SIGTERM received")
    return scene, scene.run.end()


def test_each_outcome_has_its_joules_and_together_they_are_the_counters(tmp_path: Path) -> None:
    scene, _ = ended_scene(tmp_path)
    spent_mj = outcome_millijoules(scene.run.history)
    assert spent_mj == {
        "finished": 27_000,
        "diverged": 5_000,
        "failed": 4_000,
        "interrupted": 1_500,
        "idle": 2_000,
    }
    assert sum(spent_mj.values()) == scene.gpu.counter.metered_mj


def test_what_others_used_is_named_beside_the_runs_own(tmp_path: Path) -> None:
    history = History()
    row = {
        "node": "host/one",
        "kind": "gpu",
        "energy_idle_j": 1.25,
        "energy_external_j": 7.0,
        "energy_unaccounted_j": 0.0,
    }
    history.apply({"event": "session_started", "time": 0.0})
    history.apply({"event": "devices_read", "time": 1.0, "rows": [row], "is_final": True})
    assert outcomes_text(history) == "idle 1.2 J, external 7.0 J"
    assert outcomes_text(History()) == ""


def test_the_last_screen_has_them_in_one_line(tmp_path: Path) -> None:
    scene, _ = ended_scene(tmp_path)
    output = console()
    print_summary(scene.run, output)
    lines = shown(output).splitlines()
    expected = "finished 27.0 J, diverged 5.0 J, failed 4.0 J, interrupted 1.5 J, idle 2.0 J"
    assert lines.count(f"energy by outcome: {expected}") == 1
