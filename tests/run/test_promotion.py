"""Full training of the best, and what the gain over the default says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from search import api, cli
from search.backends.local import execute_here
from search.budget import Limits
from search.command_lines import typed_command
from search.intervals import Interval
from search.ledger import Ledger, LedgerError, fresh_folder
from search.ledger.history import History, TrialRecord
from search.ledger.trial_energy import TrialEnergy
from search.promotion import (
    alone_on_gpus,
    baseline_hparams,
    baseline_proposal,
    baseline_training,
    chosen,
    fresh_seeds,
    full_training,
    proposals,
    with_gpus,
)
from search.run import Run
from search.sampling.proposal import FixedList, Proposal
from search.space import Space, dump_space
from search.space.parameters import Choice
from search.tables.promoted import PROMOTED_COLUMNS, conclusion, examples_in, promoted_rows, winner_of
from search.trial.checkpoints import SavedState
from search.trial.task import task_for
from tests.support.run_without_ray import search_without_ray
from tests.support.toy_runs import SteadyMeter, as_searched, executed, fateful_space, listed, made_space
from trainables.core.checkpoint import load_checkpoint
from trainables.core.load import TrainableRef, load_trainable


def searched(folder: Path) -> Run:
    points = [Proposal(hparams={"fate": "fine", "score": 0.2}, proposed_by="default")]
    points += [
        Proposal(hparams={"fate": "fine", "score": score}, proposed_by="initial") for score in (0.5, 0.4, 0.1)
    ]
    return executed(fateful_space(folder), folder, FixedList(points))[0]


def promoted(run: Run, *, top: int, seeds: list[int]) -> tuple[list[dict], Run]:
    trials = chosen(run.history, run.space, top=top)
    ledger = Ledger.create(fresh_folder(run.ledger.promotion_folder))
    promotion = Run(full_training(run.space), FixedList(proposals(trials, seeds)), ledger, should_test=True)
    execute_here(promotion, SteadyMeter())
    return promoted_rows(trials, promotion.history, run.space), promotion


def test_the_best_and_the_default_are_chosen(tmp_path: Path) -> None:
    run = searched(tmp_path)
    assert [trial.trial_id for trial in chosen(run.history, run.space, top=1)] == ["trial-0001", "trial-0000"]


def test_the_default_is_not_chosen_twice(tmp_path: Path) -> None:
    run = searched(tmp_path)
    assert [trial.trial_id for trial in chosen(run.history, run.space, top=9)].count("trial-0000") == 1


def test_a_run_without_a_score_has_nothing_to_promote(tmp_path: Path) -> None:
    run, _ = executed(fateful_space(tmp_path), tmp_path, listed({"fate": "raise"}))
    with pytest.raises(LedgerError, match="nothing to promote"):
        chosen(run.history, run.space, top=3)


def test_each_configuration_trains_in_full_with_each_seed_and_meets_the_test_set_once(tmp_path: Path) -> None:
    _, promotion = promoted(searched(tmp_path), top=1, seeds=[1, 2])
    trainings = promotion.history.trials.values()
    assert [(training.parent_trial, training.seed) for training in trainings] == [
        ("trial-0001", 1),
        ("trial-0000", 1),
        ("trial-0001", 2),
        ("trial-0000", 2),
    ]
    for training in trainings:
        assert (training.status, training.epochs) == ("finished", 3)
        assert [row.test is not None for row in training.rows] == [False, False, True]


def test_final_checkpoints_load_without_running_anything(tmp_path: Path) -> None:
    _, promotion = promoted(searched(tmp_path), top=1, seeds=[1])
    for trial_id in promotion.history.trials:
        content = load_checkpoint(promotion.ledger.trial_folder(trial_id) / "final.pt")
        assert SavedState.from_dict(content).training == {"epochs_done": 3}


def test_gains_are_paired_by_seed(tmp_path: Path) -> None:
    rows, _ = promoted(searched(tmp_path), top=1, seeds=[1, 2, 3])
    best, default = rows
    assert (best["trial_id"], best["is_default"], best["num_seeds"]) == ("trial-0001", False, 3)
    assert best["test_mean"] == pytest.approx(0.502)
    assert best["gain_mean"] == pytest.approx(0.3)
    reason = "none: 3 equal seeds, and what the test set adds is unknown"
    assert (best["gain_low"], best["gain_high"], best["gain_interval"]) == (None, None, reason)
    assert best["conclusion"] == "no interval"
    assert (default["is_default"], default["gain_mean"], default["conclusion"]) == (True, None, None)


def test_a_gain_is_an_improvement_where_less_is_better_too(tmp_path: Path) -> None:
    run = searched(tmp_path)
    trials = chosen(run.history, run.space, top=1)
    _, promotion = promoted(run, top=1, seeds=[1, 2, 3])
    space = replace(run.space, mode="min")
    best, default = promoted_rows(
        trials, promotion.history, space
    )  # the default scores less, and is the best now
    assert (best["is_default"], default["gain_mean"]) == (True, pytest.approx(-0.3))
    assert default["conclusion"] == "no interval"


def test_joules_of_all_trainings_are_in_the_row(tmp_path: Path) -> None:
    rows, _ = promoted(searched(tmp_path), top=1, seeds=[1, 2, 3])
    assert [row["energy_j"] for row in rows] == [pytest.approx(0.12 * 9), pytest.approx(0.12 * 9)]


@pytest.mark.parametrize(
    ("gain", "num_seeds", "says"),
    [
        (Interval(mean=0.1, low=0.05, high=0.15), 3, "better"),
        (Interval(mean=-0.1, low=-0.15, high=-0.05), 3, "worse"),
        (Interval(mean=0.1, low=-0.05, high=0.25), 3, "tie"),
        (Interval(mean=0.1), 1, "one seed"),
        (Interval(mean=0.1, low=0.05, high=0.15), 1, "one seed"),
        (Interval(mean=0.1, low=-0.05, high=0.25), 1, "tie"),
        (Interval(mean=0.1), 3, "no interval"),
    ],
)
def test_a_gain_is_put_in_words(gain: Interval, num_seeds: int, says: str) -> None:
    assert conclusion(gain, num_seeds) == says


def test_fresh_seeds_differ_from_each_other_and_between_runs() -> None:
    assert len({*fresh_seeds(0, 5), *fresh_seeds(1, 5)}) == 10
    assert fresh_seeds(0, 5)[:3] == fresh_seeds(0, 3)


def test_a_promotion_is_a_run_of_its_own(tmp_path: Path) -> None:
    run = searched(tmp_path)
    _, promotion = promoted(run, top=1, seeds=[1])
    assert promotion.ledger.folder == run.ledger.folder / "promotion"
    assert History(promotion.ledger.events()).trials == promotion.history.trials


def test_promoting_again_trains_what_failed_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    search_without_ray(monkeypatch)
    monkeypatch.setenv("FATE_FIXED", "yes")
    space = fateful_space(tmp_path)
    points = listed({"fate": "unfixed", "score": 0.6}, {"fate": "fine", "score": 0.3})
    run, _ = executed(space, tmp_path, points)
    as_searched(space, run.ledger)
    settings: dict[str, Any] = {"top": 2, "seeds": 1, "epochs": 2, "should_report": False}
    monkeypatch.delenv("FATE_FIXED")
    assert not api.promote(run.ledger.folder, **settings).is_complete
    printed = capsys.readouterr().out
    failed = run.ledger.folder / "promotion"
    log = failed / "trials/trial-0000/log.txt"
    assert f"crash: trial-0000: KeyError: 'a mistake that will be fixed' (see {log})" in printed
    assert f"--space {failed}/space.yaml --trial {failed}:trial-0000" in printed
    again = typed_command("promote", run.ledger.folder, "--top", 2, "--seeds", 1, "--epochs", 2)
    assert f"once fixed, promote again, which trains only them: {again}" in printed
    monkeypatch.setenv("FATE_FIXED", "yes")
    promotion = api.promote(run.ledger.folder, **settings)
    assert (promotion.is_complete, promotion.folder) == (True, failed)
    events = Ledger.open(failed).events()
    ended = [event["trial"] for event in events if event["event"] == "trial_ended"]
    assert ended == ["trial-0000", "trial-0001", "trial-0000"]
    assert [(row["trial_id"], row["num_seeds"], row["num_failed"]) for row in promotion.rows] == [
        ("trial-0000", 1, 0),
        ("trial-0001", 1, 0),
    ]


def test_a_baseline_is_one_more_row_with_what_it_cost(tmp_path: Path) -> None:
    run = searched(tmp_path)
    _, promotion = promoted(run, top=1, seeds=[1, 2])
    defaults = {"fate": "fine", "score": 0.4}
    space = baseline_training(run.space, TrainableRef(path=tmp_path / "fateful.py"), defaults)
    baseline = Run(
        space,
        FixedList([baseline_proposal(space, 1)]),
        Ledger.create(run.ledger.baseline_folder("fateful")),
        should_test=True,
    )
    execute_here(baseline, SteadyMeter())
    trials = chosen(run.history, run.space, top=1)
    best, row, default = promoted_rows(
        trials, promotion.history, run.space, [(baseline.history, examples_in(baseline.ledger))]
    )
    assert [best["trial_id"], default["trial_id"]] == ["trial-0001", "trial-0000"]
    assert (row["rank"], row["trial_id"], row["is_default"], row["num_seeds"]) == (
        2,
        str(space.trainable),
        False,
        1,
    )
    assert row["test_mean"] == pytest.approx(0.401)
    assert (row["gain_mean"], row["conclusion"]) == (pytest.approx(0.2), "one seed")
    assert row["energy_j"] == pytest.approx(0.12 * 3)
    assert set(row) == {*PROMOTED_COLUMNS}


def test_the_winner_is_the_best_configuration_of_the_search_that_has_a_score(tmp_path: Path) -> None:
    _, promotion = promoted(searched(tmp_path), top=1, seeds=[1])
    rows = [
        {"trial_id": name, "num_seeds": num}
        for name, num in (("knn", 1), ("trial-0001", 0), ("trial-0000", 1))
    ]
    assert winner_of(rows, promotion.history) is rows[2]
    assert winner_of(rows[:2], promotion.history) is None


def trial_with(**hparams: object) -> TrialRecord:
    return TrialRecord(
        trial_id="trial-0001", number=1, hparams=hparams, seed=0, proposed_by="sampler", asked_at=0.0
    )


@pytest.mark.parametrize("name", ["linear_probe", "knn"])
def test_a_baseline_on_features_has_the_best_pretrained_backbone(tmp_path: Path, name: str) -> None:
    family, space = load_trainable(name), made_space(tmp_path)
    trials = [
        trial_with(model="resnet20", weights="none"),
        trial_with(model="vit_tiny_patch16_224", weights="hub"),
        trial_with(model="resnet50", weights="hub"),
    ]
    hparams = baseline_hparams(family, trials, space)
    assert (hparams["model"], hparams["weights"]) == ("vit_tiny_patch16_224", "hub")
    assert hparams == {**vars(family.hparams()), "model": "vit_tiny_patch16_224"}


def test_where_no_trial_has_weights_the_spaces_are_taken(tmp_path: Path) -> None:
    space = made_space(tmp_path)
    choices = {"model": Choice(("resnet18", "resnet50")), "weights": Choice(("none", "file:/w.pt"))}
    searched_space = replace(space, parameters={**space.parameters, **choices})
    hparams = baseline_hparams(load_trainable("knn"), [trial_with(lr=1.0)], searched_space)
    assert (hparams["model"], hparams["weights"]) == ("resnet18", "file:/w.pt")
    fixed = replace(space, fixed={**space.fixed, "model": "resnet34", "weights": "hub"})
    hparams = baseline_hparams(load_trainable("knn"), [trial_with(lr=1.0)], fixed)
    assert (hparams["model"], hparams["weights"]) == ("resnet34", "hub")


def test_a_baseline_on_features_without_weights_is_refused_before_anything_is_trained(
    tmp_path: Path,
) -> None:
    space = made_space(tmp_path)
    with pytest.raises(LedgerError, match=r"neither the best trials nor the space have any; search one with"):
        baseline_hparams(load_trainable("linear_probe"), [trial_with(weights="none")], space)
    assert baseline_hparams(load_trainable("hog_svm"), [], space)["c"] == 1.0


def test_a_row_without_joules_has_the_reason(tmp_path: Path) -> None:
    run = searched(tmp_path)
    trials = chosen(run.history, run.space, top=1)
    _, promotion = promoted(run, top=1, seeds=[1])
    for trial in promotion.history.trials.values():
        trial.joules = TrialEnergy()
        trial.sensors = {"reason": "RAPL is readable by root only"}
    rows = promoted_rows(trials, promotion.history, run.space)
    assert {row["energy_j"] for row in rows} == {None}
    assert {row["energy_reason"] for row in rows} == {"RAPL is readable by root only"}


def test_joules_that_one_training_lacks_are_not_a_smaller_sum(tmp_path: Path) -> None:
    run = searched(tmp_path)
    trials = chosen(run.history, run.space, top=1)
    _, promotion = promoted(run, top=1, seeds=[1, 2])
    first, default, *_ = promotion.history.trials.values()
    first.joules, first.sensors = TrialEnergy(), {"reason": "the node's meter gave no answer in 10 s"}
    rows = promoted_rows(trials, promotion.history, run.space)
    assert [row["energy_j"] for row in rows] == [None, pytest.approx(0.12 * 6)]
    assert [row["energy_reason"] for row in rows] == ["the node's meter gave no answer in 10 s", ""]
    assert default.parent_trial == rows[1]["trial_id"]


def test_a_baseline_trains_on_the_same_data_without_a_gpu(tmp_path: Path) -> None:
    overrides = ["search.resources.gpus_per_trial=1", "search.seed=7", "search.defaults={lr: 0.3}"]
    space = made_space(tmp_path, overrides=overrides)
    baseline = baseline_training(space, TrainableRef(name="hog_svm"), {"c": 1.0})
    assert (baseline.data, baseline.training.seed, baseline.ladder) == (
        space.data,
        7,
        full_training(space).ladder,
    )
    assert (baseline.resources.gpus_per_trial, baseline.parameters, baseline.defaults) == (0.0, {}, {})


ALONE = "one training per GPU, so that its joules are measured alone; --share-gpus gives each 0.25 GPU"


@pytest.mark.parametrize(
    ("gpus", "alone", "line"),
    [
        (0.25, 1.0, ALONE),
        (1.0, 1.0, ""),
        (2.0, 2.0, ""),
        (0.0, 0.0, ""),
    ],
)
def test_finalists_of_a_shared_gpu_have_one_each(
    tmp_path: Path, gpus: float, alone: float, line: str
) -> None:
    promotion, note = alone_on_gpus(with_gpus(made_space(tmp_path), gpus))
    assert (promotion.resources.gpus_per_trial, note) == (alone, line)


def test_finalists_of_packed_gpus_have_one_each(tmp_path: Path) -> None:
    packed = made_space(tmp_path, overrides=["search.resources={pack: memory, mps: auto}"])
    promotion, note = alone_on_gpus(with_gpus(packed, 1.0))
    assert (promotion.resources.pack, promotion.resources.mps) == (None, None)
    assert note.endswith("; --share-gpus packs them by memory")
    on_cpu, note = alone_on_gpus(with_gpus(packed, 0.0))
    assert (on_cpu.resources.pack, note) == ("memory", "")


def test_epochs_of_the_command_are_those_of_each_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = searched(tmp_path)
    dump_space(run.space, run.ledger.space_file)
    seen: list[Space] = []

    def launched(space: Space, *_: object, **__: object) -> None:
        seen.append(space)
        raise KeyboardInterrupt

    monkeypatch.setattr("search.full_training.launch", launched)
    assert cli.run("promote", [str(run.ledger.folder), "--top", "1", "--epochs", "7"]) == 130
    assert [space.ladder.top.epochs for space in seen] == [7]


@pytest.mark.parametrize(("flags", "gpus"), [((), 1.0), (("--share-gpus",), 0.25)])
def test_the_command_measures_alone_unless_asked_to_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...], gpus: float
) -> None:
    run = searched(tmp_path)
    space = replace(run.space, resources=run.space.resources.model_copy(update={"gpus_per_trial": 0.25}))
    dump_space(space, run.ledger.space_file)
    seen: list[Space] = []

    def launched(space: Space, *_: object, **__: object) -> None:
        seen.append(space)
        raise KeyboardInterrupt

    monkeypatch.setattr("search.full_training.launch", launched)
    assert cli.run("promote", [str(run.ledger.folder), "--top", "1", *flags]) == 130
    assert [space.resources.gpus_per_trial for space in seen] == [gpus]


def test_a_promotion_keeps_to_the_limit_of_the_cache(tmp_path: Path) -> None:
    space = made_space(tmp_path, overrides=["search.limits={trials: 2, cache_gib: 3}"])
    assert full_training(space).limits == Limits(cache_gib=3)
    task = task_for(full_training(space), trial_id="a", hparams={}, seed=0, folder=tmp_path)
    assert task.context().cache_gib == 3
