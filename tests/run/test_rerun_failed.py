"""Failed trials of a run are tried again after their cause is fixed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from search import cli
from search.backends.local import execute_here
from search.energy.reading import EnergyReading
from search.ledger import Ledger
from search.ledger.history import History, TrialRecord
from search.report.formatting import rerun_text
from search.run import Run
from search.run.rerun import RerunEstimate, rerun_estimate
from search.sampling.sampler import OptunaSampler
from search.space import Space, dump_space
from search.trial import EpochRow
from search.trial.failure import Failure
from tests.support.run_without_ray import search_without_ray
from tests.support.toy_runs import SteadyMeter, executed, fateful_space, listed, replayed, sampler_for

POINTS = [{"fate": "fine", "score": 0.3}, {"fate": "unfixed", "score": 0.6}, {"fate": "fine", "score": 0.4}]


def again(run: Run, sampler: OptunaSampler | None = None) -> Run:
    """The same run, opened by a later process."""
    return Run(run.space, sampler or listed(*POINTS), Ledger(run.ledger.folder))


@pytest.mark.parametrize("mode", ["asha_stopping", "asha"])
def test_a_fixed_trial_climbs_the_ladder_like_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    space = fateful_space(tmp_path, [f"search.scheduler={{mode: {mode}, eta: 3}}", "search.limits.trials=3"])
    first, _ = executed(space, tmp_path, listed(*POINTS))
    assert first.history.trials["trial-0001"].status == "failed"
    monkeypatch.setenv("FATE_FIXED", "yes")
    second = again(first)
    second.rerun_failed()
    execute_here(second, SteadyMeter())
    trial = second.history.trials["trial-0001"]
    assert (trial.status, trial.cause, trial.epochs) == ("finished", "", 3)
    assert len(trial.failures) == 1
    assert replayed(second).trials == second.history.trials
    third = again(second)
    assert third.rungs.counts() == second.rungs.counts()
    assert third.next_task() is None


def test_the_sampler_learns_how_a_fixed_trial_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = ["parameters.fate={value: unfixed}", "search.limits.trials=2", "search.scheduler.mode=none"]
    space = fateful_space(tmp_path, changes)
    first, _ = executed(space, tmp_path)
    assert [trial.status for trial in first.history.trials.values()] == ["failed", "failed"]
    monkeypatch.setenv("FATE_FIXED", "yes")
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


def test_a_failed_trial_that_runs_again_has_all_its_attempts(tmp_path: Path) -> None:
    lost = Failure(cause="lost_worker", message="its process was killed")
    first = Run(fateful_space(tmp_path), listed(*POINTS), Ledger.create(tmp_path / "run"))
    task = first.next_task()
    assert task is not None
    assert [first.on_failure(task.trial_id, lost) for _ in range(2)] == [True, False]
    first.end()
    second = again(first)
    second.rerun_failed()
    assert [second.on_failure(task.trial_id, lost) for _ in range(2)] == [True, False]
    trial = second.history.trials[task.trial_id]
    assert [failure["attempt"] for failure in trial.failures] == [1, 2, 3, 4]


def record(number: int, *rungs: int, status: str = "finished", mj: int | None = 1500) -> TrialRecord:
    """A trial with an epoch at each of `rungs`; one at rung k takes 2 s more than one at rung k - 1."""
    trial = TrialRecord(
        trial_id=f"trial-{number:04d}", number=number, proposed_by="sampler", hparams={}, seed=0, asked_at=0.0
    )
    trial.status, trial.cause = status, "crash" if status == "failed" else ""  # type: ignore[assignment]
    for epoch, rung in enumerate(rungs, start=1):
        trial.rows.append(
            EpochRow(
                epoch=epoch,
                rung=rung,
                completes_rung=epoch in {1, 3},
                metrics={"val_accuracy": 0.5},
                seconds=2.0 * rung + 1,
                energy=EnergyReading(gpu_mj=mj),
            )
        )
    return trial


def estimated(space: Space, *trials: TrialRecord, has_state: bool = False) -> RerunEstimate:
    history = History()
    history.trials = {trial.trial_id: trial for trial in trials}
    return rerun_estimate(history, space, lambda _: has_state)


def test_the_estimate_goes_from_the_next_rung_to_the_top_by_the_runs_own_epochs(tmp_path: Path) -> None:
    space = fateful_space(tmp_path)  # rungs of 1 and 3 epochs
    trials = (record(0, 0, 1, 1), record(1, status="failed"), record(2, 0, 1, status="failed"))
    estimate = estimated(space, *trials)
    assert (estimate.num_trials, estimate.epochs) == (2, (1 + 3, 3 + 3))
    assert estimate.seconds == (1 + 7, 7 + 7)
    assert estimate.joules == (1.5 * 4, 1.5 * 6)
    assert rerun_text(estimate) == (
        "2 failed trials will be run again (2 crash): 4 to 6 epochs, "
        "8.00 s to 14 s of training, 6.0 J to 9.0 J"
    )


def test_a_trial_whose_state_is_there_resumes_from_it(tmp_path: Path) -> None:
    trials = (record(0, 0, 1, 1), record(1, 0, 1, status="failed"))
    estimate = estimated(fateful_space(tmp_path), *trials, has_state=True)
    assert (estimate.epochs, estimate.seconds) == ((1, 1), (3.0, 3.0))


def test_without_rungs_that_stop_every_trial_goes_to_the_top(tmp_path: Path) -> None:
    space = fateful_space(tmp_path, ["search.scheduler.mode=none"])
    assert estimated(space, record(0, 0, 1, 1), record(1, status="failed")).epochs == (3, 3)


def test_a_rung_without_trained_trials_is_scaled_and_reported(tmp_path: Path) -> None:
    space = fateful_space(tmp_path, ["search.ladder={epochs: [1, 3], subset: [0.5, 1.0]}"])
    estimate = estimated(space, record(0, 0), record(1, status="failed"))
    assert estimate.seconds == (1.0, 1.0 + 2 * 2.0)
    assert rerun_text(estimate).endswith(
        "; rung 1, where no trial has trained yet, scaled by examples and pixels"
    )


def test_what_is_unknown_is_reported_to_be(tmp_path: Path) -> None:
    space = fateful_space(tmp_path)
    assert rerun_text(estimated(space, record(0, status="failed"))) == (
        "1 failed trial will be run again (1 crash): 1 to 3 epochs, time unknown, energy unknown; "
        "this run has not completed an epoch"
    )
    unmeasured = estimated(space, record(0, 0, mj=None), record(1, status="failed"))
    assert ", energy unknown" in rerun_text(unmeasured)
    assert rerun_text(estimated(space, record(0, 0))) == "no trial of the run has failed"


def kept_run(tmp_path: Path) -> Run:
    """A run in results/mine with one trial that failed, as search.py leaves it."""
    space = fateful_space(tmp_path, ["search.limits.trials=3"])
    ledger = Ledger.create(tmp_path / "results" / "mine")
    run = Run(space, listed(*POINTS), ledger)
    execute_here(run, SteadyMeter())
    dump_space(space, ledger.space_file)
    return run


def test_a_dry_run_prints_the_estimate_of_the_runs_own_space_and_starts_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = kept_run(tmp_path)
    before = run.ledger.journal_file.read_bytes()
    monkeypatch.chdir(tmp_path)
    assert cli.run("search", ["--rerun-failed", "mine", "--dry-run"]) == 0
    output = capsys.readouterr().out
    assert output.startswith("1 failed trial will be run again (1 crash): 1 to 3 epochs, ")
    assert len(output.splitlines()) == 1
    assert cli.run("search", ["--rerun-failed", "mine", "--dry-run", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["rerun"]["causes"], answer["rerun"]["epochs"]) == ({"crash": 1}, [1, 3])
    assert run.ledger.journal_file.read_bytes() == before


def test_the_failed_trials_of_a_named_run_are_tried_again_by_its_own_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = kept_run(tmp_path)
    monkeypatch.setenv("FATE_FIXED", "yes")
    search = search_without_ray(monkeypatch)
    assert search("--rerun-failed", run.ledger.folder) == 0
    assert {trial.status for trial in replayed(run).trials.values()} == {"finished"}
    output = capsys.readouterr().out
    assert output.index("1 failed trial will be run again") < output.index("training in this process")


@pytest.mark.parametrize(
    ("words", "mistake"),
    [
        ([], "the following arguments are required: --space"),
        (["--rerun-failed"], "--rerun-failed needs a run: write --rerun-failed RUN, or add --name"),
        (
            ["--rerun-failed", "--name", "mine"],
            "give --space, or write --rerun-failed mine to take the run's own",
        ),
        (
            ["--rerun-failed", "mine", "--name", "yours"],
            "--rerun-failed mine and --name yours name two runs: give one",
        ),
        (
            ["--rerun-failed", "mine", "--fresh"],
            "--fresh starts a new run, which has no failed trials: leave out --fresh or --rerun-failed",
        ),
    ],
)
def test_flags_that_do_not_go_together_are_refused(
    words: list[str], mistake: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        cli.run("search", words)
    assert refused.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"search.py: error: {mistake}"


def test_a_run_that_is_not_there_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.run("search", ["--rerun-failed", "nothing"]) == 2
    assert capsys.readouterr().err == f"{tmp_path}/results/nothing holds no run (no journal.jsonl in it)\n"
