"""What schedules span as a trial climbs: the ladder, each rung anew, or nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from search.budget import Ladder
from search.ledger import LedgerError
from search.promotion import full_training
from search.run.resume import check_resumable
from search.space import SpaceError, load_space
from search.space.space import dump_space
from search.tables import trial_rows
from search.trial import Checkpointing, EpochRow, run_trial
from search.trial.task import task_for
from tests.support.space_files import load, write_space
from tests.support.toy_runs import SteadyMeter, executed, made_space
from trainables.core.contract import Budget, Horizon, Trainable, TrainingContext
from trainables.core.load import load_trainable

TOY = load_trainable("toy")
RUNGS = (Budget(epochs=1, subset=0.25), Budget(epochs=2, subset=0.5), Budget(epochs=3, subset=1.0))
ANEW = Ladder(RUNGS, "rung")
TUNED = """
parameters:
  lr: {min: 0.01, max: 0.5}
  optimizer: {values: [sgd, adamw]}
search: {trainable: ./model.py, data: mnist5k, horizon: anytime}
"""


def watched(budgets: list[Budget]) -> Trainable:
    """The toy, which writes down what its trainings are started with."""

    def start(hparams: object, budget: Budget, context: TrainingContext) -> object:
        budgets.append(budget)
        return TOY.start(hparams, budget, context)

    return replace(TOY, start=start)


def rows(
    ladder: Ladder,
    folder: Path,
    *,
    trainable: Trainable = TOY,
    count: int = 99,
    seed: int = 1,
    **options: object,
) -> list[EpochRow]:
    context = TrainingContext(data="none", data_seed=0, seed=seed, cache_dir=folder, horizon=ladder.horizon)
    running = run_trial(trainable, TOY.hparams(), ladder, context, SteadyMeter(), **options)  # type: ignore[arg-type]
    return [row for _, row in zip(range(count), running, strict=False)]


def scores(done: Sequence[EpochRow]) -> list[float]:
    return [row.metrics["val_accuracy"] for row in done]


def test_with_each_rung_anew_epochs_count_over_all_trainings() -> None:
    assert ANEW.ends == [1, 3, 6]
    assert [ANEW.rung_for(done) for done in range(7)] == [0, 1, 1, 2, 2, 2, 2]
    assert [ANEW.rung_completed_at(done) for done in range(1, 7)] == [0, None, 1, None, None, 2]
    assert [done for done in range(6) if ANEW.begins_training_at(done)] == [0, 1, 3]
    assert [ANEW.training_budget(done).epochs for done in range(6)] == [1, 2, 2, 3, 3, 3]


@pytest.mark.parametrize("horizon", ["full", "anytime"])
def test_with_one_training_only_the_first_epoch_starts_it(horizon: Horizon) -> None:
    ladder = Ladder(RUNGS, horizon)
    assert ladder.ends == [1, 2, 3]
    assert [done for done in range(3) if ladder.begins_training_at(done)] == [0]
    assert {ladder.training_budget(done) for done in range(3)} == {ladder.top}


@pytest.mark.parametrize("horizon", ["full", "rung", "anytime"])
def test_another_top_keeps_the_horizon_and_full_training_has_the_full_one(horizon: Horizon) -> None:
    ladder = Ladder(RUNGS, horizon)
    assert ladder.with_top(epochs=6).horizon == horizon
    assert ladder.only_top() == Ladder(RUNGS[-1:], "full")


def test_each_rung_is_a_whole_training_of_its_own_from_the_same_seed(tmp_path: Path) -> None:
    budgets: list[Budget] = []
    done = rows(ANEW, tmp_path, trainable=watched(budgets))
    assert budgets == list(RUNGS)
    assert [(row.epoch, row.rung, row.completes_rung) for row in done] == [
        (1, 0, True),
        (2, 1, False),
        (3, 1, True),
        (4, 2, False),
        (5, 2, False),
        (6, 2, True),
    ]
    assert [row.metrics["num_examples"] for row in done] == [250.0, 500.0, 500.0, 1000.0, 1000.0, 1000.0]
    alone = [score for rung in RUNGS for score in scores(rows(Ladder((rung,)), tmp_path))]
    assert scores(done) == alone


@pytest.mark.parametrize("every_s", [0.0, 60.0])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6])
def test_killed_anywhere_a_trial_resumes_inside_its_rung(tmp_path: Path, count: int, every_s: float) -> None:
    checkpointing = Checkpointing(path=tmp_path / "checkpoint.pt", every_s=every_s)
    whole = rows(ANEW, tmp_path)
    rows(ANEW, tmp_path, count=count, checkpointing=checkpointing)
    budgets: list[Budget] = []
    replay, *rest = rows(ANEW, tmp_path, trainable=watched(budgets), checkpointing=checkpointing)
    saved = count if every_s == 0.0 else {1: 1, 2: 1, 3: 3, 4: 3, 5: 3, 6: 6}[count]
    assert (replay.epoch, replay.is_replay) == (saved, True)
    assert [row.epoch for row in rest] == list(range(saved + 1, 7))
    assert scores([replay, *rest]) == scores(whole[saved - 1 :])
    assert budgets[0] == ANEW.training_budget(saved)


@pytest.mark.parametrize("mode", ["asha_stopping", "asha"])
def test_a_search_with_each_rung_anew_runs_no_epoch_number_twice(tmp_path: Path, mode: str) -> None:
    changes = [f"search.scheduler={{mode: {mode}, eta: 3}}", "search.horizon=rung"]
    run, _ = executed(made_space(tmp_path, overrides=changes), tmp_path)  # rungs of 1, 3 and 9 epochs
    trials = list(run.history.trials.values())
    assert {(trial.rung, trial.epochs) for trial in trials} <= {(0, 1), (1, 4), (2, 13)}
    assert any(trial.rung == 2 for trial in trials)
    assert all([row.epoch for row in trial.rows] == [*range(1, trial.epochs + 1)] for trial in trials)
    assert Counter(row.is_replay for trial in trials for row in trial.rows)[True] == 0


def test_the_table_and_the_space_beside_it_say_the_horizon(tmp_path: Path) -> None:
    space = made_space(tmp_path, overrides=["search.horizon=rung", "search.limits.trials=1"])
    run, _ = executed(space, tmp_path)
    assert [row["horizon"] for row in trial_rows(space, run.history)] == ["rung"]
    dump_space(space, tmp_path / "space.yaml")
    assert load_space(str(tmp_path / "space.yaml"), spaces_dir=tmp_path) == space


def test_a_task_tells_its_trainable(tmp_path: Path) -> None:
    space = made_space(tmp_path, overrides=["search.horizon=anytime"])
    task = task_for(space, trial_id="trial-0000", hparams={}, seed=0, folder=tmp_path)
    assert task.context().horizon == "anytime"


def test_promotion_trains_under_one_schedule_whatever_the_search_did(tmp_path: Path) -> None:
    space = made_space(tmp_path, overrides=["search.horizon=anytime"])
    assert full_training(space).ladder == Ladder((Budget(epochs=9),), "full")


def test_a_run_of_another_horizon_is_not_resumed(tmp_path: Path) -> None:
    before, now = made_space(tmp_path), made_space(tmp_path, overrides=["search.horizon=rung"])
    with pytest.raises(LedgerError) as caught:
        check_resumable(tmp_path / "run", before, now)
    assert str(caught.value).splitlines()[1:-1] == ["  horizon: was full, now rung"]


def test_an_unknown_horizon_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match=r"search.horizon: must be .*full.*rung.*anytime"):
        made_space(tmp_path, overrides=["search.horizon=long"])


def idle_optimizer(folder: Path, *overrides: str, text: str = TUNED) -> list[str]:
    """Problems or notices of a space whose trainable's `optimizer` does nothing at any time."""
    path = write_space(folder, text)
    model = folder / "model.py"
    model.write_text(
        model.read_text().replace("start=start", "start=start, no_effect_anytime=('optimizer',)")
    )
    try:
        return list(load_space(str(path), overrides=overrides, spaces_dir=folder).notices)
    except SpaceError as error:
        return list(error.problems)


def test_a_hyperparameter_that_does_nothing_is_not_searched(tmp_path: Path) -> None:
    (problem,) = idle_optimizer(tmp_path)
    assert problem.strip().startswith("parameters.optimizer: has no effect with search.horizon: anytime")
    assert not any("has no effect" in line for line in idle_optimizer(tmp_path, "search.horizon=rung"))


def test_a_hyperparameter_that_does_nothing_is_neither_listed_nor_ablated(tmp_path: Path) -> None:
    one = "search: {trainable: ./model.py, data: none, horizon: anytime, "
    trials = one + "trials: [{optimizer: sgd}, {optimizer: adamw}]}"
    ablations = one + "ablations: {kind: {optimizer: [sgd, adamw]}}}"
    alike = one + "trials: [{optimizer: sgd, lr: 0.1}, {optimizer: sgd, lr: 0.2}]}"
    assert [line.split(":")[0].strip() for line in idle_optimizer(tmp_path, text=trials)] == ["search.trials"]
    assert [line.split(":")[0].strip() for line in idle_optimizer(tmp_path, text=ablations)] == [
        "search.ablations.kind"
    ]
    assert not any("has no effect" in line for line in idle_optimizer(tmp_path, text=alike))


def test_a_fixed_hyperparameter_that_does_nothing_is_a_notice(tmp_path: Path) -> None:
    notices = idle_optimizer(tmp_path, "parameters.optimizer={value: adamw}")
    assert "parameters.optimizer: ignored by the search with horizon: anytime; promotion uses it" in notices


def test_on_a_ladder_of_one_rung_anew_is_full(tmp_path: Path) -> None:
    text = TUNED.replace("anytime", "rung, ladder: {epochs: [3]}")
    assert (
        "search.horizon: rung means full here, since the ladder has one rung" in load(tmp_path, text).notices
    )
