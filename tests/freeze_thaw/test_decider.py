"""What a freeze-thaw search decides: where trials start, which goes on, which are given up."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from search.freeze_thaw.curve_model import CurveModel
from search.freeze_thaw.decider import FreezeThaw, _last_fit
from search.freeze_thaw.guard import Guard
from search.freeze_thaw.kernel import Numbers, Rows
from search.freeze_thaw.sampler import FreezeThawSampler
from search.space import Space
from tests.support.toy_runs import defaults_of, made_space

THAW = ["search.scheduler.mode=freeze_thaw", "search.ladder.epochs=[1, 3, 9]"]
CONDITIONAL = """
parameters:
  optimizer: {values: [sgd, adam]}
  lr: {distribution: log_uniform_values, min: 1e-4, max: 1.0}
  momentum: {min: 0.0, max: 0.9}
search:
  trainable: ./conditional.py
  data: none
  when: {momentum: {optimizer: [sgd]}}
  ladder: {epochs: [1, 3, 9]}
  scheduler: {mode: freeze_thaw}
  limits: {trials: 12}
"""
TRAINABLE = """
from dataclasses import dataclass
from trainables.core.contract import Trainable

@dataclass(frozen=True, kw_only=True)
class Hparams:
    optimizer: str = "adam"
    lr: float = 0.01
    momentum: float = 0.5
    kind: str = "a"

TRAINABLE = Trainable(hparams=Hparams, metric="val_accuracy", mode="max",
                      start=lambda hparams, horizon, env: None)
"""


def space_of(folder: Path, text: str, overrides: Sequence[str] = ()) -> Space:
    (folder / "conditional.py").write_text(TRAINABLE)
    return made_space(folder, text, overrides)


def searching(space: Space, ends: Sequence[int] = (1, 3, 9)) -> FreezeThaw:
    return FreezeThaw(space, defaults_of(space), ends)


def train(search: FreezeThaw, trial_id: str, values: Mapping[int, float]) -> None:
    for epoch, value in values.items():
        search.on_epoch(trial_id, epoch, value)
    search.on_paused(trial_id)


def started(search: FreezeThaw, num: int, *, epochs: int = 1) -> list[str]:
    """So many trials at points of the search's own, each better the larger its lr, paused after `epochs`."""
    names = [f"t{number}" for number in range(num)]
    for name in names:
        choice = search.choose()
        assert choice is not None
        point = search.new_point(choice.hparams)
        assert point is not None
        search.on_asked(name, point)
        train(search, name, {epoch: point["lr"] + 0.01 * epoch for epoch in (1, 2, 3, 4)[:epochs]})
    return names


def test_the_first_eight_points_are_spread_over_the_space(tmp_path: Path) -> None:
    search = searching(made_space(tmp_path, overrides=THAW))
    points = []
    for number in range(8):
        choice = search.choose()
        assert choice is not None
        assert (choice.trial_id, choice.decided_by, choice.score) == (None, "random", None)
        assert choice.hparams is not None
        search.on_asked(f"t{number}", choice.hparams)
        points.append(choice.hparams)
    quarters = [int(math.log10(point["lr"]) + 4) for point in points]
    assert sorted(quarters) == [0, 0, 1, 1, 2, 2, 3, 3]
    assert sorted(point["batch_size"] for point in points) == [16, 16, 32, 32, 64, 64, 128, 128]


def test_the_same_is_chosen_as_often_as_it_is_asked(tmp_path: Path) -> None:
    search = searching(made_space(tmp_path, overrides=THAW))
    started(search, 12)
    assert len({repr(search.choose()) for _ in range(3)}) == 1


def test_what_switches_a_parameter_off_takes_its_default_and_a_feature_of_its_own(tmp_path: Path) -> None:
    search = searching(space_of(tmp_path, CONDITIONAL))
    points = search._points
    assert points.num_features == 2 + 1 + 2  # two names, lr, momentum with its switch
    adam = {"optimizer": "adam", "lr": 0.01, "momentum": 0.5, "kind": "a"}
    assert points.features(adam).tolist() == pytest.approx([0.0, 0.5**0.5, 0.5, 0.5, 1.0])
    sgd = {**adam, "optimizer": "sgd", "momentum": 0.9}
    assert points.features(sgd).tolist() == pytest.approx([0.5**0.5, 0.0, 0.5, 1.0, 0.0])
    assert points.hparams(points.shares(sgd)) == sgd
    assert points.hparams(points.shares({**adam, "momentum": 0.5})) == adam
    assert points.codes(adam) == {"optimizer": 1, "lr": 0.01}


def test_a_default_outside_of_the_ranges_is_seen_at_the_nearest_end(tmp_path: Path) -> None:
    search = searching(space_of(tmp_path, CONDITIONAL))
    outside = {"optimizer": "lion", "lr": 50.0, "momentum": 0.5, "kind": "a"}
    assert search._points.features(outside).tolist() == pytest.approx([0.0, 0.0, 1.0, 0.5, 1.0])
    search.on_asked("t0", outside)
    train(search, "t0", {1: 0.1})
    search.learn_feasibility(outside, fits=False)  # not a point of the space: it says nothing of others


@pytest.mark.parametrize("values", ["[a]", "[a, b]", "[a, b, c, d, e]"])
def test_a_single_categorical_is_tried_value_by_value_and_then_exhausted(tmp_path: Path, values: str) -> None:
    text = CONDITIONAL.replace("  when: {momentum: {optimizer: [sgd]}}\n", "")
    text = (
        text[: text.index("  optimizer")] + f"  kind: {{values: {values}}}\n" + text[text.index("search:") :]
    )
    space = space_of(tmp_path, text)
    sampler = FreezeThawSampler(space, defaults_of(space))
    kinds = []
    for number in range(9):
        name = f"t{number}"
        assert sampler.choose(lowest_rung=0, may_start=True) is None
        if (proposal := sampler.ask(name)) is None:
            break
        kinds.append(proposal.hparams["kind"])
        sampler.on_epoch(name, 1, number / 10, ended_rung=0)
        sampler.finish(name, "finished")
    assert sorted(kinds) == values[1:-1].split(", ")
    assert sampler.exhausted_reason == "the space is exhausted: 20 draws repeated earlier points"


def test_points_near_one_that_ran_out_of_memory_are_avoided(tmp_path: Path) -> None:
    space = made_space(tmp_path, overrides=THAW)
    sampler = FreezeThawSampler(space, defaults_of(space))
    asked = []
    for number in range(40):
        name = f"t{number}"
        sampler.choose(lowest_rung=0, may_start=True)
        proposal = sampler.ask(name)
        assert proposal is not None
        asked.append(proposal.hparams["batch_size"])
        if proposal.hparams["batch_size"] == 128:
            sampler.finish(name, "failed", cause="out_of_memory")
        else:
            sampler.on_epoch(name, 1, 0.5, ended_rung=0)
            sampler.finish(name, "finished")
    assert asked[:10].count(128) >= 1
    assert asked[20:].count(128) <= 1  # of twenty by chance five would be


def test_due_by_ranks_is_the_best_third_of_the_highest_rung_part_way_ones_too(tmp_path: Path) -> None:
    search = searching(made_space(tmp_path, overrides=THAW))
    names = started(search, 9)
    values = search._curves.value_at(1)
    best = sorted(names, key=lambda name: -values[name])
    assert search._due_by_rungs(0) == best[0]
    search.on_resumed(best[0])
    assert search._due_by_rungs(0) == best[1]
    train(search, best[0], {2: 0.9})  # half of the way to the next rung
    assert search._due_by_rungs(0) == best[0]
    assert search._due_by_rungs(1) is None
    for name in best[:3]:
        search.withdraw(name)
    assert search._due_by_rungs(0) is None


def test_where_no_trial_may_start_only_ranks_choose(tmp_path: Path) -> None:
    search = searching(made_space(tmp_path, overrides=THAW))
    started(search, 12)
    for _ in range(4):
        choice = search.choose(may_start=False)
        assert choice is not None
        assert choice.decided_by == "rung"
        assert choice.trial_id is not None
        search.on_resumed(choice.trial_id)
    assert search.choose(may_start=False) is None


def test_what_will_hardly_be_the_best_is_given_up_but_20_and_those_that_ranks_may_choose_stay(
    tmp_path: Path,
) -> None:
    search = searching(made_space(tmp_path, overrides=THAW))
    names = started(search, 20)
    assert search.hopeless() == []
    for number in range(20, 60):
        search.on_asked(f"t{number}", {"lr": 1.1e-4 * (1 + number / 1000), "batch_size": 16})
        train(search, f"t{number}", {1: 0.01, 2: 0.01, 3: 0.01})
    given_up = search.hopeless()
    assert 10 <= len(given_up) <= 40
    ranked = sorted(names, key=lambda name: -search._curves.value_at(1)[name])
    assert not set(ranked[:6]) & set(given_up)
    assert search.furthest() not in given_up
    for name in given_up:
        search.withdraw(name)
    assert not set(search.hopeless()) & set(given_up)


def test_a_ladder_of_a_single_epoch_leaves_nothing_to_go_on(tmp_path: Path) -> None:
    search = searching(made_space(tmp_path, overrides=[THAW[0], "search.ladder.epochs=[1]"]), [1])
    started(search, 15)
    choice = search.choose()
    assert choice is not None
    assert choice.trial_id is None
    assert (search.hopeless(), search.choose(may_start=False)) == ([], None)


def grown(search: FreezeThaw, num: int) -> None:
    """So many paused trials with an epoch each, every one better than the one before."""
    for number in range(len(search._curves.trials), num):
        search.on_asked(f"t{number}", {"lr": 1e-4 * 1.009**number, "batch_size": 16})
        search._curves.add(f"t{number}", 1, number / 1000)
        search.on_paused(f"t{number}")


def rows_of_a_decision(search: FreezeThaw, monkeypatch: pytest.MonkeyPatch) -> int:
    """The most rows that the model gets to see in four decisions, with what they are fitted to."""
    seen = [0]
    for name in ("fit", "extend", "beliefs"):
        method = getattr(CurveModel, name)

        def counted(model: CurveModel, rows: Rows, *rest: Any, method: Any = method, **named: Any) -> Any:
            seen.append(len(rows))
            return method(model, rows, *rest, **named)

        monkeypatch.setattr(CurveModel, name, counted)
    search.guard.share = 0.0  # the model or chance
    for _ in range(4):
        choice = search.choose()
        assert choice is not None
        search.on_asked(f"t{len(search._curves.trials)}", {"lr": 0.5, "batch_size": 16})
    search.hopeless()
    monkeypatch.undo()
    return max(seen)


def test_a_decision_at_1000_rows_is_made_from_no_more_rows_than_one_at_600(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CurveModel, "fit", unfitted)
    search = searching(made_space(tmp_path, overrides=THAW))
    grown(search, 600)
    at_600 = rows_of_a_decision(search, monkeypatch)
    monkeypatch.setattr(CurveModel, "fit", unfitted)
    grown(search, 1000)
    assert rows_of_a_decision(search, monkeypatch) <= at_600 <= 600 + 4  # those that run have one each


def unfitted(model: CurveModel, rows: Rows, values: Numbers) -> None:
    """Take the parameters as they are: of 600 rows, a fit takes half a second."""
    model._factor = np.linalg.cholesky(model.kernel.matrix(rows) + 1e-6 * np.eye(len(rows)))


def test_what_the_model_has_no_rows_of_any_more_it_neither_chooses_nor_keeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CurveModel, "fit", unfitted)
    search = searching(made_space(tmp_path, overrides=THAW))
    search.guard.share = 0.0  # the model or chance
    grown(search, 721)
    choices = []
    for number in range(8):
        choice = search.choose()
        assert choice is not None
        choices.append(choice)
        search.on_asked(f"more-{number}", {"lr": 0.5, "batch_size": 16})
    forgotten = search._curves.without_rows(search._rows)
    assert len(forgotten) == 241
    assert {choice.decided_by for choice in choices} == {"model", "random"}
    assert not forgotten & {choice.trial_id for choice in choices}
    assert forgotten <= set(search.hopeless())


@pytest.mark.parametrize(
    ("num_rows", "fitted_at"),
    [(8, 8), (519, 400), (600, 520), (601, 601), (720, 601), (721, 721), (1500, 1441)],
)
def test_fits_come_at_numbers_of_rows(num_rows: int, fitted_at: int) -> None:
    assert _last_fit(num_rows) == fitted_at


def arrivals(guard: Guard, *, ranks_are_right: bool, num: int = 20) -> None:
    """Trials that reach an epoch where five others were, each foreseen by one of the two deciders."""
    others = [0.1, 0.3, 0.5, 0.7, 0.9]
    for number in range(num):
        value, wrong = (number * 7 % 10) / 10, 1 - (number * 7 % 10) / 10
        before, expected = (value, wrong) if ranks_are_right else (wrong, value)
        guard.on_arrival(value, expected, others, before, others, is_covered=number % 4 > 0)


def test_whoever_ranks_better_gets_more_of_the_decisions_and_never_all() -> None:
    guard = Guard(0.5)
    arrivals(guard, ranks_are_right=True)
    assert guard.share == 0.9
    assert guard.losses == (pytest.approx(0.0), pytest.approx(2.0, abs=0.01))
    assert (guard.num_foreseen, guard.num_covered) == (20, 15)
    arrivals(guard, ranks_are_right=False, num=40)
    assert guard.share == 0.2


def test_few_arrivals_and_few_others_move_nothing() -> None:
    guard = Guard(0.5)
    arrivals(guard, ranks_are_right=True, num=7)
    assert (guard.share, guard.losses) == (0.5, None)
    guard.on_arrival(0.5, 0.1, [0.1, 0.2, 0.3], 0.5, [0.1, 0.2, 0.3], is_covered=True)
    assert guard.losses is None
