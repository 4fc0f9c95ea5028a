"""Conclusions of promoted.csv know what guessing scores, and what their intervals count."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from search.guessing import against_guessing, is_better_than_guessing
from search.intervals import Interval
from search.ledger.history import History, TrialRecord
from search.promotion import chosen
from search.ranking import configurations
from search.report.answer import search_answer
from search.report.gain import gain_sentence, set_text
from search.report.page.conclusion import advice, conclusion
from search.report.page.run_data import read_run
from search.report.page.winner import winner_section
from search.report.summary import print_promotion, print_summary, print_winner
from search.run import Run
from search.sampling.proposal import FixedList, Proposal
from search.space import Space, dump_space
from search.tables.promoted import examples_in, promoted_rows
from search.trial import EpochRow
from tests.support.recorded_console import console, shown
from tests.support.report_pages import promoted as promoted_run
from tests.support.toy_runs import executed, made_space
from trainables.core.contract import MEAN_FRACTION, UNKNOWN_SCALE, MetricScale, Mode


@pytest.fixture
def images(tmp_path: Path) -> Space:
    return replace(made_space(tmp_path), scale=MEAN_FRACTION, scored_unit="images")


def row(
    conclusion: str, gain: tuple[float | None, float | None, float | None], **cells: Any
) -> dict[str, Any]:
    """A row of promoted.csv: 0.53 of 37 images, over three seeds."""
    mean, low, high = gain
    return {
        **{
            "rank": 1,
            "trial_id": "trial-0007",
            "is_default": False,
            "num_seeds": 3,
            "conclusion": conclusion,
        },
        **{"test_mean": 0.53, "test_low": 0.36, "test_high": 0.7, "test_interval": "seeds+examples"},
        **{"num_examples": 37, "guessing": 0.5135},
        **{"seconds": 60.0, "energy_j": None, "energy_reason": "no sensor"},
        **{"gain_mean": mean, "gain_low": low, "gain_high": high, "gain_interval": "seeds+examples, paired"},
        **cells,
    }


def test_a_gain_says_what_its_interval_counts(images: Space) -> None:
    counted = "3 seeds, 37 test images: one is 0.027, paired"
    assert gain_sentence(row("better", (0.018, 0.009, 0.027)), images) == (
        "trial-0007 is better than the default configuration by 0.018 in accuracy on test "
        f"(95 % interval 0.009 to 0.027; {counted})."
    )
    assert gain_sentence(row("tie", (0.001, -0.003, 0.005)), images) == (
        "A tie: full training shows no difference between trial-0007 and the default configuration. "
        f"The gain is +0.001 in accuracy on test (95 % interval -0.003 to 0.005; {counted}), "
        "and 0 is in the interval."
    )
    assert gain_sentence(row("worse", (-0.02, -0.03, -0.01)), images).startswith(
        "trial-0007 is worse than the default configuration by 0.02 in accuracy on test"
    )


def test_one_seed_is_reported_to_be_one(images: Space) -> None:
    alone = row("one seed", (0.1, 0.02, 0.2), num_seeds=1, gain_interval="examples")
    assert gain_sentence(alone, images) == (
        "trial-0007 is ahead of the default by 0.1 in accuracy on test (95 % interval 0.02 to 0.2; 37 test "
        "images: one is 0.027; one seed: the spread over seeds is not included), with one seed: this may "
        "be chance."
    )


def test_seeds_alone_are_reported_to_leave_the_test_set_out(images: Space) -> None:
    space = replace(images, scale=UNKNOWN_SCALE)
    seeds = row("better", (0.1, 0.02, 0.2), gain_interval="seeds", num_examples=None)
    counted = "(95 % interval 0.02 to 0.2; 3 seeds; the uncertainty from the test set is unknown)"
    assert counted in gain_sentence(seeds, space)
    none = row("no interval", (0.1, None, None), gain_interval="none: 3 equal seeds")
    assert gain_sentence(none, space) == (
        "trial-0007 is ahead of the default by 0.1 in accuracy on test, without an interval (3 equal seeds): "
        "this may be chance."
    )


def test_no_better_than_guessing_is_reported_for_winner_and_default(images: Space) -> None:
    winner = row("no better than guessing", (0.01, -0.05, 0.07))
    default = row("no better than guessing", (None, None, None), is_default=True, trial_id="trial-0000")
    assert gain_sentence(winner, images, default) == (
        "trial-0007 is no better than guessing (0.51): 0.53 in accuracy on test (95 % interval 0.36 to 0.7; "
        "3 seeds, 37 test images: one is 0.027). Neither is the default configuration."
    )
    output = console()
    print_promotion([winner, default], winner, images, output)
    text = shown(output)
    assert "0.0100  (-0.0500 to 0.0700)  no better than guessing (0.51)" in text
    assert "1:00" in text
    assert "no joules: no sensor" in text
    assert "next: nothing was learnt that holds on unseen data: start from pretrained weights" in text


def test_a_baseline_or_a_configuration_without_a_score_is_no_winner_however_it_ranks(images: Space) -> None:
    baseline, ours = row("better", (0.1, 0.02, 0.2), trial_id="knn"), row("worse", (-0.02, -0.03, -0.01))
    output = console()
    print_promotion([baseline, ours], ours, images, output)
    assert "trial-0007 is worse than the default configuration by 0.02" in shown(output)
    print_promotion([row("", (None, None, None), num_seeds=0)], None, images, output)
    assert "no searched configuration finished a training, so none can be compared" in shown(output)


def test_a_better_winner_says_that_the_default_guesses(images: Space) -> None:
    default = row("no better than guessing", (None, None, None), is_default=True)
    assert gain_sentence(row("better", (0.3, 0.1, 0.5)), images, default).endswith(
        "paired). The default configuration is no better than guessing (0.51)."
    )


def test_what_one_example_is_depends_on_the_range(images: Space) -> None:
    percent = replace(images, scale=MetricScale(low=0.0, high=100.0, kind="mean"))
    assert set_text(row("tie", (0, 0, 0)), percent) == "37 test images: one is 2.7"
    of_f1 = replace(images, scale=MetricScale(low=0.0, high=1.0))
    assert set_text(row("tie", (0, 0, 0)), of_f1) == "37 test images"
    assert set_text(row("tie, on validation", (0, 0, 0), num_examples=None), images) == (
        "a validation set of unknown size"
    )


@pytest.mark.parametrize(
    ("interval", "guessing", "mode", "is_better"),
    [
        (Interval(mean=0.6, low=0.52, high=0.7), 0.51, "max", True),
        (Interval(mean=0.6, low=0.50, high=0.7), 0.51, "max", False),
        (Interval(mean=0.4, low=0.30, high=0.45), 0.51, "max", False),
        (Interval(mean=0.6), 0.51, "max", None),
        (Interval(mean=0.5), 0.51, "max", False),
        (Interval(mean=0.6, low=0.5, high=0.7), None, "max", None),
        (Interval(mean=0.6, low=0.5, high=0.65), 0.69, "min", True),
        (Interval(mean=0.6, low=0.5, high=0.75), 0.69, "min", False),
    ],
)
def test_a_score_beats_guessing_where_its_whole_interval_does(
    interval: Interval, guessing: float | None, mode: Mode, is_better: bool | None
) -> None:
    assert is_better_than_guessing(interval, guessing, mode) is is_better


def scored(space: Space, metrics: Mapping[str, float]) -> TrialRecord:
    rung = len(space.ladder.rungs) - 1
    last = EpochRow(epoch=1, rung=rung, completes_rung=True, metrics=metrics, seconds=1.0)
    return TrialRecord("trial-0000", 0, "default", {"lr": 0.1}, 0, 0.0, rows=[last], status="finished")


def test_the_best_of_many_is_compared_as_such(images: Space) -> None:
    metrics = {"val_accuracy": 40 / 60, "val_num_examples": 60.0, "val_accuracy_by_guessing": 0.5}
    (best,) = configurations([scored(images, metrics)], "val_accuracy", "max")
    alone = against_guessing(images, best, num_compared=1)
    of_many = against_guessing(images, best, num_compared=24)
    assert alone
    assert of_many
    # scipy.stats.binomtest(40, 60).proportion_ci(0.95) and (1 - 0.05 / 24)
    assert (alone.interval.low, alone.is_better) == (pytest.approx(0.533127, abs=1e-6), True)
    assert (of_many.interval.low, of_many.is_better) == (pytest.approx(0.460757, abs=1e-6), False)
    (silent,) = configurations([scored(images, {"val_accuracy": 0.9})], "val_accuracy", "max")
    assert against_guessing(images, silent, num_compared=1) is None


def test_a_correlation_is_compared_with_0_though_nothing_says_so(tmp_path: Path) -> None:
    space = replace(
        made_space(tmp_path),
        metric="val_srcc",
        scale=MetricScale(low=-1.0, high=1.0, kind="spearman", guessing=0.0),
    )
    (best,) = configurations([scored(space, {"val_srcc": 0.2, "val_num_examples": 30.0})], "val_srcc", "max")
    found = against_guessing(space, best, num_compared=1)
    assert found
    assert (found.guessing, found.is_better) == (0.0, False)


ANTS_AND_BEES = """
parameters:
  lr: {values: [0.001, 0.0001]}
search:
  trainable: classification
  data: imagefolder:FOLDER/insects
  ladder: {epochs: [1], resolution: [32]}
  scheduler: {mode: none}
"""


def insects(folder: Path, *, is_coloured: bool) -> None:
    """240 JPEGs of two classes, 66 to 54 of each part's hundred: noise, or one class dark and one bright."""
    random = np.random.default_rng(0)
    for name, num, level in (("ants", 132, 60), ("bees", 108, 190)):
        target = folder / "insects" / name
        target.mkdir(parents=True)
        for number in range(num):
            middle = level if is_coloured else 128
            pixels = random.normal(middle, 30, (48, 48, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(target / f"{number:03}.jpg")


def searched(folder: Path, *, model: str, lr: float) -> tuple[Run, History, list[dict[str, Any]]]:
    space = made_space(
        folder,
        ANTS_AND_BEES.replace("FOLDER", str(folder)),
        [f"parameters.model.value={model}", f"parameters.lr.values=[{lr}, {lr / 10}]"],
    )
    default = {**space.default_hparams(_classification()), "lr": lr}
    points = [
        Proposal(hparams=default, proposed_by="default"),
        Proposal(hparams={**default, "lr": lr / 10}, proposed_by="initial"),
    ]
    run, _ = executed(space, folder, FixedList(points))
    dump_space(space, run.ledger.space_file)
    promotion = promoted_run(run, top=2, seeds=(5, 6))
    trials = chosen(run.history, run.space, top=2)
    rows = promoted_rows(trials, promotion.history, run.space, examples=examples_in(promotion.ledger))
    return run, promotion.history, rows


def _classification() -> Any:
    from trainables.core.load import load_trainable

    return load_trainable("classification")


@pytest.mark.slow
def test_random_weights_on_ants_and_bees_are_no_better_than_guessing_and_everything_says_so(
    tmp_path: Path,
) -> None:
    insects(tmp_path, is_coloured=False)
    run, _, rows = searched(tmp_path, model="resnet20", lr=0.001)
    assert {each["conclusion"] for each in rows} == {"no better than guessing"}
    best = rows[0]
    guessing = best["guessing"]
    assert 0.5 < guessing < 0.65
    with next(run.ledger.promotion_folder.glob("trials/*/examples.csv")).open(newline="") as file:
        examples = list(csv.DictReader(file))
    assert best["num_examples"] == len(examples)
    assert {each["accuracy"] for each in examples} <= {"0.0", "1.0"}
    assert 0 <= best["test_low"] <= best["test_mean"] <= best["test_high"] <= 1
    output = console(width=400)
    print_summary(run, output)
    print_winner(run, "done", output)
    assert (
        f"is no better than guessing ({run.ranking.best().value('val_accuracy_by_guessing'):.2g})"
        in shown(output)
    )
    answer = json.loads(json.dumps(search_answer(run, "done")))
    assert answer["guessing"]["is_better"] is False
    run_data = read_run(run.ledger.folder)
    assert f"is no better than guessing ({guessing:.2g})" in conclusion(run_data)[0]
    assert advice(run_data)[0].startswith("Nothing was learnt that holds on unseen data")
    section = winner_section(run_data)
    text = " ".join(getattr(part, "text", "") for part in section.elements)
    assert f"Scored on {len(examples)} test images: one is {1 / len(examples):.2g}." in text


@pytest.mark.slow
def test_classes_that_can_be_distinguished_are_not_called_guessed(tmp_path: Path) -> None:
    insects(tmp_path, is_coloured=True)
    run, _, rows = searched(tmp_path, model="mnist_cnn", lr=0.02)
    run_data = read_run(run.ledger.folder)
    assert rows[0]["test_mean"] > 0.9
    assert "no better than guessing" not in str(rows[0]["conclusion"])
    assert "no better than guessing" not in conclusion(run_data)[0].split(". ")[0]
    assert search_answer(run, "done")["guessing"]["is_better"] is True
