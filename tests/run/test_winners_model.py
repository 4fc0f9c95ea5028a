"""What a promotion says of the files that it leaves."""

from __future__ import annotations

from pathlib import Path

from search.backends.local import execute_here
from search.full_training import _size_text, _winners_model
from search.ledger import Ledger
from search.promotion import chosen, full_training, proposals
from search.run import Run
from search.sampling.proposal import FixedList
from tests.support.toy_runs import SteadyMeter, executed, fateful_space, listed


def promoted(folder: Path) -> tuple[Run, Run]:
    points = [{"fate": "fine", "score": score} for score in (0.5, 0.4)]
    run, _ = executed(fateful_space(folder), folder, listed(*points))
    trials = chosen(run.history, run.space, top=1)
    ledger = Ledger.create(run.ledger.promotion_folder)
    promotion = Run(full_training(run.space), FixedList(proposals(trials, [1, 2])), ledger, should_test=True)
    execute_here(promotion, SteadyMeter())
    return run, promotion


def test_the_size_is_that_of_three_copies_of_the_weights(tmp_path: Path) -> None:
    run, _ = promoted(tmp_path)
    trials = chosen(run.history, run.space, top=1)
    assert _size_text(run.ledger, trials, 2) == ""  # a formula has no weights
    run.ledger.trial(trials[0].trial_id).best.write_bytes(bytes(2_000_000))
    assert _size_text(run.ledger, trials, 2) == (
        "; they leave about 12 MB: model/, best.pt and final.pt of each"
    )


def test_the_model_is_of_the_best_configurations_first_training(tmp_path: Path) -> None:
    run, promotion = promoted(tmp_path)
    best = chosen(run.history, run.space, top=1)[0].trial_id
    winner = {"trial_id": best}
    assert _winners_model(winner, promotion) is None
    first = next(each for each in promotion.history.trials.values() if each.parent_trial == best)
    model = promotion.ledger.trial(first.trial_id).model
    model.mkdir()
    assert _winners_model(winner, promotion) == model
    assert _winners_model(None, promotion) is None
