"""Rungs at which no trial is better than guessing: new trials are judged above them, after a kill as well."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from search.backends.local import execute_here
from search.guessing import ChanceLevel
from search.ledger import Ledger
from search.report.console import ConsoleView
from search.run import Run
from search.space import Space
from tests.support.ray_sessions import outcome, whole, whole_with_cuts
from tests.support.recorded_console import console, shown
from tests.support.toy_runs import SteadyMeter, listed, made_space
from trainables.core.contract import MEAN_FRACTION

# Guesses until its second epoch, and then scores what its hyperparameter says.
LATE = """
from dataclasses import dataclass
from trainables.core.contract import MEAN_FRACTION, Trainable

@dataclass(frozen=True, kw_only=True)
class Hparams:
    score: float = 0.5

class Late:
    def __init__(self, hparams):
        self.hparams, self.epochs_done = hparams, 0
    def run_epoch(self, budget):
        self.epochs_done += 1
        value = 0.5 if self.epochs_done == 1 else self.hparams.score
        set_of = {"val_num_examples": 104, "val_accuracy_by_guessing": 0.5}
        return {"val_accuracy": value, "num_examples": 100, **set_of}
    def state_dict(self):
        return {"epochs_done": self.epochs_done}
    def load_state_dict(self, state):
        self.epochs_done = state["epochs_done"]

TRAINABLE = Trainable(hparams=Hparams, metric="val_accuracy", mode="max",
                      scales={"val_accuracy": MEAN_FRACTION},
                      start=lambda hparams, horizon, env: Late(hparams))
"""
POINTS = [{"score": score} for score in (0.5, 0.55, 0.4, 0.6, 0.5, 0.9, 0.45, 0.7)]


def late_space(folder: Path, overrides: Sequence[str] = ()) -> Space:
    (folder / "late.py").write_text(LATE)
    text = (
        "parameters: {score: {min: 0.0, max: 1.0}}\n"
        "search: {trainable: ./late.py, data: none, ladder: {epochs: [1, 2, 4]}, scheduler: {mode: asha}}\n"
    )
    return made_space(folder, text, overrides)


def start_rungs(run: Run) -> list[int]:
    return [event.get("start_rung", 0) for event in run.ledger.events() if event["event"] == "trial_asked"]


def level_of(space: Space, *values: float, **also: float) -> list[bool]:
    level = ChanceLevel(space)
    return [level.on_result(0, {"val_accuracy": value, **also}) for value in values]


@pytest.fixture
def fractions(tmp_path: Path) -> Space:
    return replace(made_space(tmp_path), scale=MEAN_FRACTION)


def test_a_rung_is_at_chance_until_one_score_is_beyond_it(fractions: Space) -> None:
    also = {"val_num_examples": 104.0, "val_accuracy_by_guessing": 0.5}
    # 62 of 104 may be the best of five that guess; 72 of 104 may not: 0.506 is the low end for six
    scores = (0.5, 0.5, 0.48, 0.5, 62 / 104, 72 / 104, 0.5)
    assert level_of(fractions, *scores, **also) == [False, False, False, True, True, False, False]


def test_scores_that_say_nothing_of_guessing_or_of_their_number_are_never_at_chance(fractions: Space) -> None:
    assert not any(level_of(fractions, 0.5, 0.5, 0.5, 0.5))
    assert not any(level_of(fractions, 0.5, 0.51, 0.5, 0.5, val_accuracy_by_guessing=0.5))


def test_new_trials_are_judged_above_a_rung_where_all_guess(tmp_path: Path) -> None:
    run = whole(late_space(tmp_path), tmp_path / "run", listed(*POINTS))
    assert start_rungs(run) == [0, 0, 0, 0, 1, 1, 1, 1]
    assert run.ranking.best().hparams == {"score": 0.9}


def test_the_console_says_why(tmp_path: Path) -> None:
    output = console()
    run = Run(late_space(tmp_path), listed(*POINTS), Ledger.create(tmp_path / "run"))
    run.observe(ConsoleView(run, output))
    execute_here(run, SteadyMeter())
    line = "starts at rung 1: no trial is better than guessing at the end of rung 0"
    assert shown(output).count(line) == 4


def test_it_can_be_switched_off(tmp_path: Path) -> None:
    space = late_space(tmp_path, ["search.scheduler.skip_rungs_at_chance=false"])
    run = whole(space, tmp_path / "run", listed(*POINTS))
    assert start_rungs(run) == [0] * 8
    assert run.ranking.best().hparams == {"score": 0.55}  # of the two that the rung let pass for their age


def test_killed_at_every_event_new_trials_are_judged_at_the_same_rungs(tmp_path: Path) -> None:
    space = late_space(tmp_path)
    undisturbed = whole_with_cuts(space, tmp_path / "whole", listed(*POINTS))
    for number in range(1, len(undisturbed.ledger.events()) - 1, 3):
        again = whole(space, tmp_path / f"cut-{number}", listed(*POINTS))
        assert (outcome(again), start_rungs(again)) == (outcome(undisturbed), start_rungs(undisturbed))


def test_where_no_rung_judges_none_is_skipped(tmp_path: Path) -> None:
    run = whole(late_space(tmp_path, ["search.scheduler={mode: none}"]), tmp_path / "run", listed(*POINTS))
    assert start_rungs(run) == [0] * 8
