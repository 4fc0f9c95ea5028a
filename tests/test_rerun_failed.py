"""Failed trials of a run tried again, after their cause is mended."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_runs import SteadyMeter, executed, fateful_space, listed, replayed, sampler_for

from search.ledger import Ledger
from search.run import Run
from search.run.in_process import execute_here
from search.sampling.sampler import OptunaSampler

POINTS = [{"fate": "fine", "score": 0.3}, {"fate": "unmended", "score": 0.6}, {"fate": "fine", "score": 0.4}]


def again(run: Run, sampler: OptunaSampler | None = None) -> Run:
    """The same run, opened by a later process."""
    return Run(run.space, sampler or listed(*POINTS), Ledger(run.ledger.folder))


@pytest.mark.parametrize("mode", ["stopping", "promotion"])
def test_a_mended_trial_goes_up_the_ladder_like_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    space = fateful_space(tmp_path, [f"search.scheduler={{mode: {mode}, eta: 3}}", "search.limits.trials=3"])
    first, _ = executed(space, tmp_path, listed(*POINTS))
    assert first.history.trials["trial-0001"].status == "failed"
    monkeypatch.setenv("FATE_MENDED", "yes")
    second = again(first)
    assert second.rerun_failed().startswith("1 failed trials are tried again; estimate: at most")
    execute_here(second, SteadyMeter())
    trial = second.history.trials["trial-0001"]
    assert (trial.status, trial.cause, trial.epochs) == ("finished", "", 3)
    assert len(trial.failures) == 1
    assert replayed(second).trials == second.history.trials
    third = again(second)
    assert third.rungs.counts() == second.rungs.counts()
    assert third.next_task() is None


def test_the_sampler_learns_how_a_mended_trial_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = ["parameters.fate={value: unmended}", "search.limits.trials=2", "search.scheduler.mode=none"]
    space = fateful_space(tmp_path, changes)
    first, _ = executed(space, tmp_path)
    assert [trial.status for trial in first.history.trials.values()] == ["failed", "failed"]
    monkeypatch.setenv("FATE_MENDED", "yes")
    sampler = sampler_for(space)
    second = again(first, sampler)
    second.rerun_failed()
    execute_here(second, SteadyMeter())
    assert sampler.states() == ["FAIL", "FAIL", "COMPLETE", "COMPLETE"]
    restarted = sampler_for(space)
    again(second, restarted)
    assert restarted.states() == sampler.states()
    assert restarted.intermediate_values() == sampler.intermediate_values()


def test_only_failed_trials_are_tried_again(tmp_path: Path) -> None:
    first, _ = executed(fateful_space(tmp_path), tmp_path, listed(*POINTS))
    second = again(first)
    second.rerun_failed()
    task = second.next_task()
    assert task is not None
    assert task.trial_id == "trial-0001"
    assert second.next_task() is None
