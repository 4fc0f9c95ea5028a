"""Numbers of the trainable's own as objectives and constraints: runs of a small file, with exact numbers."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from search.accounting.spending import infeasible_text, outcome_millijoules
from search.backends.local import execute_here
from search.ledger import Ledger, csv_text
from search.ledger.history import History, Status
from search.ledger.journal import LedgerError
from search.promotion import chosen, full_training
from search.report.summary import print_summary, print_winner
from search.run import Run
from search.run.objective import pareto_front
from search.run.resume import check_resumable
from search.space import Space, SpaceError
from search.space.record import RECORD
from search.tables import live_tables
from search.training import TrainingRequest, prepare_training, train
from search.trial.failure import Failure
from tests.support.recorded_console import console, shown
from tests.support.toy_runs import SteadyMeter, as_searched, executed, listed, made_space, sampler_for

# Accuracy, size and speed stand in its hparams. The size is known before the first epoch, the speed after it.
SIZED = """
from dataclasses import dataclass
from pathlib import Path
from trainables.core.contract import BadResult, Measure, Trainable

@dataclass(frozen=True, kw_only=True)
class Hparams:
    score: float = 0.5
    size: float = 1.0
    speed: float = 10.0

class Sized:
    def __init__(self, hparams):
        self.hparams, self.epochs_done = hparams, 0
    def measure(self, names, budget):
        with Path(__file__).with_name("asked.txt").open("a") as file:
            file.write(f"{' '.join(sorted(names))} at {budget.epochs}\\n")
        if self.hparams.size == 99:
            raise BadResult("params_m cannot be counted here")
        size = {97: float("nan"), 98: float("inf")}.get(self.hparams.size, self.hparams.size)
        return {"params_m": size} if "params_m" in names else {}
    def run_epoch(self, budget):
        self.epochs_done += 1
        slower = self.hparams.speed + self.epochs_done
        if self.hparams.speed == 7 and self.epochs_done == 2:
            return {"num_examples": 100}  # an epoch without a score
        return {"val_accuracy": self.hparams.score, "latency_ms": slower, "num_examples": 100}
    def state_dict(self):
        return {"epochs_done": self.epochs_done}
    def load_state_dict(self, state):
        self.epochs_done = state["epochs_done"]

TRAINABLE = Trainable(
    hparams=Hparams, metric="val_accuracy", mode="max", has_test=False,
    start=lambda hparams, horizon, env: Sized(hparams),
    measures={"params_m": Measure(mode="min", unit="millions"), "latency_ms": Measure(mode="min", unit="ms"),
              "recall": Measure(mode="max")},
)
"""
SPACE = """
parameters:
  score: {min: 0.0, max: 1.0}
  size: {min: 0.0, max: 100.0}
  speed: {min: 0.0, max: 100.0}
search:
  trainable: ./sized.py
  data: none
  ladder: {epochs: [1, 3]}
  scheduler: {mode: asha_stopping, eta: 2, control_fraction: 0.0}
"""
TWO = "search.objective=[val_accuracy, latency_ms]"
THREE = "search.objective=[val_accuracy, latency_ms, params_m]"
SMALL = "search.constraints={params_m: {max: 5}}"
FAST = "search.constraints={latency_ms: {max: 12}}"


def sized(folder: Path, *overrides: str) -> Space:
    (folder / "sized.py").write_text(SIZED)
    return made_space(folder, SPACE, overrides)


def point(score: float, speed: float = 10.0, size: float = 1.0) -> dict[str, Any]:
    return {"score": score, "size": size, "speed": speed}


def table(run: Run, name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(csv_text(*live_tables(run.space, run.history)[name]).splitlines()))


def statuses(run: Run) -> list[str]:
    return [trial.status for trial in run.history.trials.values()]


def asked(folder: Path) -> list[str]:
    file = folder / "asked.txt"
    return file.read_text().splitlines() if file.exists() else []


def test_a_rung_lets_the_front_pass(tmp_path: Path) -> None:
    points = [point(0.9, 50), point(0.8, 60), point(0.7, 70), point(0.5, 10), point(0.7, 20)]
    run, _ = executed(sized(tmp_path, TWO), tmp_path, listed(*points))
    # The fourth is the least accurate and the fastest, one of the best two of four. The fifth is on the front
    # too, between the two ends of it, and so the third of five.
    assert statuses(run) == ["finished", "stopped", "stopped", "finished", "stopped"]
    front = [(row["trial_id"], row["val_accuracy"], row["latency_ms"]) for row in table(run, "pareto.csv")]
    assert front == [("trial-0000", "0.9", "53.0"), ("trial-0003", "0.5", "13.0")]
    assert [row["rank"] for row in table(run, "trials.csv")] == ["1", "2", "3", "4", "5"]
    best = run.ranking.best()
    assert best is not None
    assert best.trial_id == "trial-0000"  # by the metric alone


def test_with_the_metric_alone_the_fast_trial_is_stopped_and_nothing_is_measured(tmp_path: Path) -> None:
    points = [point(0.9, 50), point(0.8, 60), point(0.5, 10)]
    run, _ = executed(sized(tmp_path), tmp_path, listed(*points))
    assert statuses(run) == ["finished", "stopped", "stopped"]
    assert asked(tmp_path) == []
    assert "params_m" not in table(run, "trials.csv")[0]
    assert "pareto.csv" not in live_tables(run.space, run.history)


def test_three_objectives_have_a_front_of_three_axes(tmp_path: Path) -> None:
    points = [point(0.9, 50, 9), point(0.8, 60, 1), point(0.5, 10, 9), point(0.4, 60, 9)]
    run, _ = executed(sized(tmp_path, THREE, "search.scheduler={mode: none}"), tmp_path, listed(*points))
    front = [[row[name] for name in ("trial_id", *run.space.objective)] for row in table(run, "pareto.csv")]
    assert front == [
        ["trial-0000", "0.9", "53.0", "9.0"],
        ["trial-0001", "0.8", "63.0", "1.0"],
        ["trial-0002", "0.5", "13.0", "9.0"],
    ]


def test_joules_stand_last_wherever_they_are_named(tmp_path: Path) -> None:
    energy = "search.objective=[val_accuracy, energy, params_m]"
    space = sized(tmp_path, energy, "search.scheduler={mode: none}")
    assert space.objective == ("val_accuracy", "params_m", "energy")
    assert space.modes == ("max", "min", "min")
    run, _ = executed(space, tmp_path, listed(point(0.9, size=2), point(0.8, size=1), point(0.7, size=3)))
    found = pareto_front(space, run.history.trials.values())
    front = [(trial.number, values.numbers) for trial, values in found]
    assert front == [(0, (0.9, 2.0, 0.36)), (1, (0.8, 1.0, 0.36))]
    row = table(run, "pareto.csv")[0]
    assert (row["energy"], row["energy_scope"], row["energy_uncertainty_j"]) == ("0.36", "gpu+cpu", "0.0")


def test_a_model_that_is_too_large_ends_before_its_first_epoch(tmp_path: Path) -> None:
    points = [point(0.5), point(0.9, size=11.2), point(0.6, size=5)]
    run, reason = executed(sized(tmp_path, SMALL), tmp_path, listed(*points))
    large = run.history.trials["trial-0001"]
    assert (large.status, large.cause, large.epochs) == ("infeasible", "constraint", 0)
    assert large.message == "params_m is 11.2, must be at most 5"
    assert (large.failures, large.attempts) == ([], 1)
    rows = {row["trial_id"]: row for row in table(run, "trials.csv")}
    assert [rows[f"trial-000{n}"]["params_m"] for n in range(3)] == ["1.0", "11.2", "5.0"]
    assert (rows["trial-0001"]["rank"], rows["trial-0001"]["val_accuracy"]) == ("", "")
    assert reason == "the whole list was tried, after 3 trials"
    assert asked(tmp_path) == ["params_m at 3"] * 3  # at the budget of the top rung, once for each trial
    best = run.ranking.best()
    assert best is not None
    assert best.trial_id == "trial-0002"


def test_a_number_that_an_epoch_brings_ends_its_trial_there(tmp_path: Path) -> None:
    run, _ = executed(
        sized(tmp_path, FAST), tmp_path, listed(point(0.5, 1), point(0.9, 10.5), point(0.8, 30))
    )
    first, second, third = run.history.trials.values()
    assert (first.status, first.epochs) == ("finished", 3)
    assert (second.status, second.epochs, second.message) == (
        "infeasible",
        2,
        "latency_ms is 12.5, must be at most 12",
    )
    assert (third.status, third.epochs) == ("infeasible", 1)
    assert run.rungs.counts() == [2, 1]  # the third was compared nowhere


def test_both_ends_of_a_bound_hold_and_what_is_no_number_is_outside(tmp_path: Path) -> None:
    space = sized(tmp_path, "search.constraints={params_m: {min: 1, max: 5}, latency_ms: {max: 90}}")
    sizes = [0.5, 1.0, 5.0, 5.5, 97, 98]  # the last two are reported as NaN and infinity
    run, _ = executed(space, tmp_path, listed(*(point(0.5, size=size) for size in sizes)))
    assert [trial.message for trial in run.history.trials.values() if trial.status == "infeasible"] == [
        "params_m is 0.5, must be at least 1 and at most 5",
        "params_m is 5.5, must be at least 1 and at most 5",
        "params_m is nan, must be at least 1 and at most 5",
        "params_m is inf, must be at least 1 and at most 5",
    ]
    assert len(History(Ledger.open(run.ledger.folder).events()).trials) == 6  # the journal holds NaN as text


def test_what_infeasible_trials_used_is_said(tmp_path: Path) -> None:
    space = sized(tmp_path, "search.constraints={params_m: {max: 5}, latency_ms: {max: 12}}")
    points = [point(0.5, 1), point(0.9, size=6), point(0.8, 30), point(0.7, 10.5)]
    run, reason = executed(space, tmp_path, listed(*points))
    text = infeasible_text(run.history, space.constraints)
    assert text.startswith(
        "3 of 4 trials are infeasible and rank nowhere (params_m at most 5: 1, latency_ms at most 12: 2); "
        "they took 3 of 6 epochs and "
    )
    assert outcome_millijoules(run.history)["infeasible"] == 3 * 120
    output = console()
    print_summary(run, output)
    print_winner(run, reason, output)
    assert "3 of 4 trials are infeasible" in shown(output)
    assert "remedy" not in shown(output)  # no failure
    assert infeasible_text(run.history, {}) != ""
    assert infeasible_text(History(), space.constraints) == ""


def test_a_run_whose_first_trials_are_all_infeasible_continues(tmp_path: Path) -> None:
    points = [*(point(0.9, size=6 + n) for n in range(4)), point(0.5)]
    run, reason = executed(sized(tmp_path, SMALL), tmp_path, listed(*points))
    assert statuses(run) == [*["infeasible"] * 4, "finished"]
    assert reason == "the whole list was tried, after 5 trials"


def test_a_number_that_cannot_be_measured_fails_and_says_why(tmp_path: Path) -> None:
    run, reason = executed(sized(tmp_path, SMALL), tmp_path, listed(*[point(0.5, size=99)] * 4))
    assert reason.startswith(
        "the first 3 trials all failed alike: bad_result: BadResult: params_m cannot be counted here"
    )
    assert {trial.cause for trial in run.history.trials.values()} == {"bad_result"}


def test_a_number_that_no_epoch_reports_is_a_bad_result(tmp_path: Path) -> None:
    space = sized(tmp_path, "search.objective=[val_accuracy, recall]")
    run, _ = executed(space, tmp_path, listed(point(0.5)))
    (trial,) = run.history.trials.values()
    assert trial.cause == "bad_result"
    assert "run_epoch must return 'recall'" in trial.message


@pytest.mark.parametrize(
    "overrides", [[TWO], [THREE, SMALL], ["search.objective=[val_accuracy, energy, params_m]"]]
)
def test_a_run_reads_its_space_again_without_its_trainable(tmp_path: Path, overrides: list[str]) -> None:
    space = sized(tmp_path, *overrides)
    ledger = Ledger.create(tmp_path / "run")
    as_searched(space, ledger)
    (tmp_path / "sized.py").unlink()
    again = ledger.read_space()
    assert again == space
    assert [each.unit for each in again.beside] == [each.unit for each in space.beside]
    (ledger.folder / RECORD).unlink()  # as a run that was copied without it
    assert ledger.read_space().objective == space.objective


@pytest.mark.parametrize(
    ("overrides", "problems"),
    [
        (
            ["objective=[val_accuracy, latency]"],
            (
                "search.objective: latency is not declared by this trainable (there are params_m, "
                "latency_ms, recall, energy, energy_per_example); did you mean latency_ms?",
            ),
        ),
        (
            ["objective=[val_accuracy, {params_m: max}]"],
            ("search.objective: must be min for params_m, got max",),
        ),
        (
            ["objective=[{val_accuracy: min}, params_m]"],
            ("search.objective: must be max for val_accuracy, got min",),
        ),
        (["objective=[val_accuracy, params_m, params_m]"], ("search.objective: names params_m twice",)),
        (
            ["objective=[val_accuracy, energy, energy_per_example]"],
            ("search.objective: takes only one of energy, energy_per_example",),
        ),
        (
            ["objective=[val_accuracy, {params_m: low}]"],
            (
                "search.objective: must be names, or names with min or max such as {latency_ms: min}, got "
                "{'params_m': 'low'}",
            ),
        ),
        (
            [
                "constraints={params: {max: 5}, val_accuracy: {min: 1}, energy: {max: 1}, latency_ms: {}, "
                "params_m: {min: 3, max: 2}, recall: {most: 1}}"
            ],
            (
                "search.constraints.params: params is not declared by this trainable (there are "
                "params_m, latency_ms, recall); did you mean params_m?",
                "search.constraints.val_accuracy: is the metric, which is worst in the first epochs; use "
                "search.early_stop_threshold",
                "search.constraints.energy: joules cannot be constrained; use them as an objective, or a "
                "ladder of joules",
                "search.constraints.latency_ms: must have min or max, such as {max: 5}",
                "search.constraints.params_m.min: is above max, 2, got 3",
                "search.constraints.recall.most: there is no such key (there are min, max)",
            ),
        ),
    ],
)
def test_what_a_space_cannot_ask_for_is_refused(
    tmp_path: Path, overrides: list[str], problems: tuple[str, ...]
) -> None:
    with pytest.raises(SpaceError) as caught:
        sized(tmp_path, *(f"search.{change}" for change in overrides))
    assert caught.value.problems == problems


def test_a_trainable_that_declares_nothing_has_each_number_named_with_its_direction(tmp_path: Path) -> None:
    space = made_space(tmp_path, overrides=["search.objective=[val_accuracy, {num_examples: max}]"])
    assert (space.objective, space.modes) == (("val_accuracy", "num_examples"), ("max", "max"))
    run, _ = executed(space, tmp_path)
    assert {row["num_examples"] for row in table(run, "pareto.csv")} == {"1000.0"}


def test_other_constraints_or_directions_are_another_run(tmp_path: Path) -> None:
    spaces = [
        made_space(tmp_path, overrides=[f"search.objective=[val_accuracy, {{num_examples: {mode}}}]"])
        for mode in ("min", "max")
    ]
    with pytest.raises(LedgerError, match=r"objective: was val_accuracy, num_examples min, now .* max"):
        check_resumable(tmp_path / "run", *spaces)
    tight, wide = (
        made_space(tmp_path, overrides=[f"search.constraints={{num_examples: {{max: {most}}}}}"])
        for most in (5, 5000)
    )
    with pytest.raises(LedgerError, match="was num_examples at most 5, now num_examples at most 5000"):
        check_resumable(tmp_path / "run", tight, wide)


@pytest.mark.parametrize("kept", [4, 9, 14])
def test_a_run_that_was_killed_ends_as_the_undisturbed_one(tmp_path: Path, kept: int) -> None:
    overrides = [THREE, SMALL, "search.scheduler={mode: asha, eta: 2}", "search.sampler=random"]
    space = sized(tmp_path, *overrides, "parameters.size={min: 0.0, max: 10.0}", "search.limits.trials=6")
    run, _ = executed(space, tmp_path)
    before = [repr((one.status, one.message, one.hparams, one.epochs)) for one in run.history.trials.values()]
    assert {"infeasible", "finished"} <= set(statuses(run))
    lines = run.ledger.journal_file.read_text().splitlines(keepends=True)
    run.ledger.journal_file.write_text("".join(lines[:kept]))
    again = Run(space, sampler_for(space), Ledger.open(run.ledger.folder))
    execute_here(again, SteadyMeter())
    after = [
        repr((one.status, one.message, one.hparams, one.epochs)) for one in again.history.trials.values()
    ]
    assert after == before


def test_a_trial_that_resumes_keeps_what_was_measured(tmp_path: Path) -> None:
    space = sized(tmp_path, THREE, "search.scheduler={mode: asha, eta: 2}")
    points = [point(0.5, size=1), point(0.6, size=2), point(0.7, size=3), point(0.8, size=4)]
    run, _ = executed(space, tmp_path, listed(*points))
    promoted = [trial for trial in run.history.trials.values() if trial.status == "finished"]
    assert promoted
    assert len(asked(tmp_path)) == 4  # once for each trial, although some were resumed
    assert all(row.metrics["params_m"] == trial.hparams["size"] for trial in promoted for row in trial.rows)


def test_an_epoch_without_a_score_has_no_number_of_an_earlier_one(tmp_path: Path) -> None:
    space = sized(tmp_path, THREE, "search.scheduler={mode: asha, eta: 2}")
    run, _ = executed(space, tmp_path, listed(point(0.5, 7), point(0.4, 9)))
    first = run.history.trials["trial-0000"]
    assert (first.status, first.attempts) == ("finished", 1)  # it was resumed for its second epoch
    assert [row.metrics.get("latency_ms") for row in first.rows] == [8.0, None, 10.0]
    assert [row.metrics.get("params_m") for row in first.rows] == [1.0, 1.0, 1.0]


def test_a_sampler_learns_of_broken_constraints_as_of_memory_that_ran_out(tmp_path: Path) -> None:
    space = sized(tmp_path, "search.limits.trials=9")

    def proposed(status: Status, cause: str) -> list[float]:
        sampler, sizes = sampler_for(space), []
        for number in range(9):
            proposal = sampler.ask(f"t{number}")
            assert proposal is not None
            sizes.append(proposal.hparams["size"])
            if sizes[-1] > 50:
                sampler.finish(f"t{number}", status, cause=cause)
            else:
                sampler.report(f"t{number}", 1, proposal.hparams["score"])
                sampler.finish(f"t{number}", "finished")
        return sizes

    by_constraint = proposed("infeasible", "constraint")
    assert by_constraint == proposed("failed", "out_of_memory") != proposed("failed", "crash")


def test_promotion_takes_the_front_first(tmp_path: Path) -> None:
    space = sized(tmp_path, TWO, "search.scheduler={mode: none}")
    points = [point(0.9, 50), point(0.8, 60), point(0.7, 20), point(0.6, 30)]
    run, _ = executed(space, tmp_path, listed(*points))
    assert [trial.number for trial in chosen(run.history, space, top=2)] == [0, 2]
    assert [trial.number for trial in chosen(run.history, space, top=3)] == [0, 2, 1]
    assert [trial.number for trial in chosen(run.history, sized(tmp_path), top=2)] == [0, 1]


def test_promotion_asks_for_nothing_but_the_metric(tmp_path: Path) -> None:
    space = sized(tmp_path, THREE, SMALL)
    run, _ = executed(space, tmp_path, listed(point(0.9, size=6), point(0.5), point(0.6)))
    full = full_training(space)
    assert (full.beside, full.constraints, full.asked_measures) == ((), {}, ())
    assert [trial.trial_id for trial in chosen(run.history, space, top=3)] == ["trial-0002", "trial-0001"]


def test_a_single_training_reports_its_numbers_and_no_constraint_ends_it(tmp_path: Path) -> None:
    sized(tmp_path, TWO, SMALL)
    request = TrainingRequest(
        space=str(tmp_path / "made.yaml"), overrides=[TWO, SMALL], hparams={"size": 50.0}
    )
    rows = train(prepare_training(request), request, console())
    assert [row.metrics["params_m"] for row in rows] == [50.0] * 3


def test_a_broken_bound_is_no_failure_to_classify_as_a_crash() -> None:
    failure = Failure(cause="constraint", message="a is 2, must be at most 1", measures={"a": float("nan")})
    assert failure.to_dict()["measures"] == {"a": "nan"}
    assert not failure.may_pass(1)
    assert "measures" not in Failure(cause="crash", message="x").to_dict()
