"""One choice of precision for all trials of a run: recorded, kept on resume, handed on to its promotion."""

from __future__ import annotations

from pathlib import Path

import pytest

from search import cli, launch
from search.backends.local import LocalBackend, execute_here
from search.launch import Launch
from search.ledger import Ledger
from search.preflight import Report
from search.preflight.node_checks import examine
from search.preflight.request import auto_precision_of, request_for
from search.run import Run
from search.space import Space, dump_space
from search.trial.task import config_text, task_for
from tests.support.toy_runs import SteadyMeter, made_space, sampler_for

DIGITS = """
parameters: {lr: {min: 0.01, max: 0.1}}
search: {trainable: classification, data: digits, ladder: {epochs: [1]}, limits: {trials: 2}}
"""
FAST, SLOW = "bf16: 2.1 times as fast", "fp32: no instructions for bf16"


def reports(*choices: str) -> list[Report]:
    return [Report(node=f"node-{number}", auto_precision=choice) for number, choice in enumerate(choices)]


@pytest.mark.parametrize(
    ("choices", "expected"),
    [
        ([FAST], FAST),
        ([FAST, FAST], FAST),
        ([FAST, SLOW], f"{SLOW} (on node-1)"),
        ([SLOW, FAST, SLOW], f"{SLOW} (on node-0)"),
        ([SLOW, SLOW], SLOW),
        ([""], ""),
        ([], ""),
    ],
)
def test_bf16_is_for_all_nodes_or_for_none(choices: list[str], expected: str) -> None:
    assert auto_precision_of(reports(*choices)) == expected


@pytest.mark.parametrize(
    ("override", "how", "expected"),
    [
        ("precision=auto", {}, FAST),
        ("precision=bf16", {}, ""),
        ("precision=fp32", {}, ""),
        ("resources.gpus_per_trial=1", {}, ""),
        ("trainable=toy", {}, ""),
        ("precision=auto", {"auto_precision": SLOW}, SLOW),
        (
            "precision=auto",
            {"should_preflight": False},
            "fp32: the CPUs were not checked, as preflight was skipped",
        ),
    ],
)
def test_there_is_a_choice_where_auto_meets_a_cpu_and_formats(tmp_path, override, how, expected) -> None:
    space = made_space(tmp_path, DIGITS, overrides=[f"search.{override}"])
    plan = Launch(folder=tmp_path, command=[], backend=LocalBackend(), **how)
    assert launch._auto_precision(space, plan, reports(FAST)) == expected


def test_preflight_reports_what_auto_means_here(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("JOULETUNE_CPU_PRECISION", "bf16")

    def found(space: Space) -> str:
        report = examine(request_for(space, source="space.yaml", folder=tmp_path / "results" / "run"))
        notes = [note for note in report.notes if note.startswith("precision: ")]
        assert notes == ([f"precision: {report.auto_precision}"] if report.auto_precision else [])
        return report.auto_precision

    space = made_space(tmp_path, DIGITS, overrides=["search.resources.gpus_per_trial=0"])
    assert found(space) == "bf16: set by JOULETUNE_CPU_PRECISION"
    assert found(space.with_training(precision="fp32")) == ""
    monkeypatch.setenv("JOULETUNE_CPU_PRECISION", "fp64")
    order = request_for(space, source="space.yaml", folder=tmp_path / "results" / "run")
    (problem,) = examine(order).problems
    assert str(problem) == (
        "cpu: ValueError: JOULETUNE_CPU_PRECISION must be fp32 or bf16, got 'fp64'; name a search.precision"
    )


def notes_of(run: Run) -> set[str]:
    return {trial.rows[0].notes["precision"] for trial in run.history.trials.values()}


def test_every_trial_trains_in_what_the_run_chose_also_when_the_machine_chooses_otherwise_later(
    tmp_path: Path,
) -> None:
    space = made_space(tmp_path, DIGITS)
    run = Run(space, sampler_for(space), Ledger.create(tmp_path / "run"), auto_precision=FAST)
    assert run.next_task().context().auto_precision == FAST
    resumed = Run(space, sampler_for(space), run.ledger, auto_precision=SLOW)
    execute_here(resumed, SteadyMeter())
    assert notes_of(resumed) == {FAST}
    assert resumed.history.sessions.auto_precision == FAST


def test_a_run_without_a_choice_takes_the_one_of_a_later_session_and_none_after_it(tmp_path: Path) -> None:
    space = made_space(tmp_path, DIGITS)
    ledger = Ledger.create(tmp_path / "run")
    chosen = ["", FAST, SLOW, ""]
    runs = [Run(space, sampler_for(space), ledger, auto_precision=choice) for choice in chosen]
    assert [run.history.sessions.auto_precision for run in runs] == ["", FAST, FAST, FAST]
    written = [event for event in ledger.events() if event["event"] == "session_started"]
    assert [event.get("auto_precision") for event in written] == [None, FAST, FAST, FAST]
    assert "batch_sizes" not in written[0]
    assert "portfolio" not in written[0]


def test_a_promotion_trains_in_what_the_search_chose(tmp_path: Path, monkeypatch) -> None:
    space = made_space(tmp_path, DIGITS)
    run = Run(space, sampler_for(space), Ledger.create(tmp_path / "run"), auto_precision=FAST)
    execute_here(run, SteadyMeter())
    dump_space(space, run.ledger.space_file)
    plans: list[Launch] = []

    def launched(space: Space, how: Launch, **_: object) -> None:
        plans.append(how)
        raise KeyboardInterrupt

    monkeypatch.setattr("search.full_training.launch", launched)
    assert cli.run("promote", [str(run.ledger.folder)]) == 130
    assert [plan.auto_precision for plan in plans] == [FAST]


@pytest.mark.parametrize(
    ("precision", "chosen", "written"), [("auto", FAST, "bf16"), ("auto", "", "auto"), ("fp32", "", "fp32")]
)
def test_the_settings_of_a_training_name_the_format_it_was_trained_in(
    tmp_path, precision, chosen, written
) -> None:
    space = made_space(tmp_path, DIGITS, overrides=[f"search.precision={precision}"])
    task = task_for(space, trial_id="a", hparams={}, seed=0, folder=tmp_path, auto_precision=chosen)
    assert f"\nprecision: {written}\n" in config_text(task, {}, command="again")
