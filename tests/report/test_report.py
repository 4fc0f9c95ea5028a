"""What the terminal shows of a run."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from search.backends.local import execute_here
from search.budget import Ladder, Limits, Spent
from search.forecast import Forecast, Span, forecast_search
from search.ledger import Ledger
from search.report.answer import search_answer
from search.report.console import ConsoleView
from search.report.formatting import (
    budget_text,
    counted,
    duration,
    given_limits_text,
    kwh_text,
    limits_text,
    parameter_text,
    rung_text,
    value_text,
    varied_text,
)
from search.report.live import LiveView, sparkline
from search.report.plan import print_plan
from search.report.summary import print_summary, print_winner
from search.run import Run
from search.sampling.designs import designed
from search.sampling.proposal import FixedList
from search.space import Choice, Normal, Real
from search.tariff import Tariff
from search.trial import EpochRow
from tests.support.energy_scenes import Scene
from tests.support.fake_clock import FakeClock
from tests.support.recorded_console import console, shown
from tests.support.toy_runs import (
    SteadyMeter,
    defaults_of,
    executed,
    fateful_space,
    listed,
    made_space,
    sampler_for,
)
from trainables.core.contract import Budget

LISTED = ((0.01, 64), (0.1, 64), (0.01, 32))  # the default, then the points of a list


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4217, "0.42 s"), (9.996, "10 s"), (12.4, "12 s"), (59.6, "60 s"), (185, "3:05"), (3723, "1:02:03")],
)
def test_time_spans_are_short(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"), [(None, "-"), (1e-7, "1e-07"), (0.12345, "0.1235"), (64, "64"), ("sgd", "sgd")]
)
def test_values_keep_four_digits_and_the_unknown_is_a_dash(value: object, text: str) -> None:
    assert value_text(value) == text


def test_one_is_no_plural() -> None:
    assert counted(1, "control trial") == "1 control trial"
    assert [counted(number, "trial") for number in (0, 24)] == ["0 trials", "24 trials"]


def test_few_joules_are_not_0_kwh() -> None:
    assert [kwh_text(joules) for joules in (104.6, 8401.6, 44_280)] == [
        *("2.91e-05 kWh", "0.00233 kWh", "0.0123 kWh")
    ]


def test_budgets_ranges_and_limits_read_as_words() -> None:
    assert budget_text(Budget(epochs=1, subset=0.25, resolution=14)) == "1 epoch, 0.25 of the data, 14 px"
    assert budget_text(Budget(epochs=3, subset=1.0)) == "3 epochs, all data"
    assert budget_text(Budget(epochs=3, subset=500)) == "3 epochs, 500 examples"
    assert parameter_text(Real(1e-4, 1.0, log=True)) == "0.0001 to 1, log"
    assert parameter_text(Real(8.0, 64.0, step=8)) == "8 to 64, in steps of 8"
    assert parameter_text(Choice((16, 32))) == "16, 32"
    assert parameter_text(Normal(0.0, 1.0)) == "normal around 0 with deviation 1"
    assert given_limits_text(Limits()) == ""
    assert given_limits_text(
        Limits(trials=24, hours=2, kwh=0.5, disk_gib=10, cost=3, tariff=Tariff(currency="EUR"))
    ) == ("24 trials, 2 h, 0.5 kWh, 10 GiB of checkpoints, 3 EUR")
    every = Limits(**dict.fromkeys(Limits().stated, True))
    assert given_limits_text(every).count(", ") == len(Limits().stated) - 1
    limits = Limits(trials=24, hours=2, kwh=0.5)
    assert limits_text(limits, Spent(hours=0.5), 6) == "6/24 trials  0.50/2 h  unknown/0.5 kWh"
    assert (
        limits_text(limits, Spent(hours=0.5, energy_j=360_000), 6) == "6/24 trials  0.50/2 h  0.100/0.5 kWh"
    )


def test_a_plan_says_how_many_trials_each_rung_will_see(tmp_path: Path) -> None:
    space = made_space(tmp_path, overrides=["search.limits.trials=27", "search.scheduler={mode: none}"])
    output = console()
    print_plan(space, output, forecast_search(space, None, sampler_for))
    assert "2     9 epochs                    27                    162" in shown(output)
    assert "forecast: 27 trials, 243 epochs; the first epochs will show the time" in shown(output)
    assert "16, 32, 64, 128" in shown(output)


def test_without_a_terminal_each_ended_trial_is_one_line(tmp_path: Path) -> None:
    output = console()
    ledger = Ledger.create(tmp_path / "run")
    space = fateful_space(tmp_path)
    run = Run(space, listed({"fate": "fine", "score": 0.5}, {"fate": "raise"}), ledger)
    with ConsoleView(run, output, clock=FakeClock()) as view:  # no 20 s pass, however busy the machine
        run.observe(view)
        execute_here(run, SteadyMeter())
    first, second = shown(output).splitlines()
    assert first.startswith("   1  trial-0000  finished    val_accuracy 0.53  epoch 3  ")
    assert first.endswith("0.4 J  fate=fine score=0.5")
    assert second.endswith("fate=raise  (KeyError: 'a mistake in the training code')")


def test_in_a_terminal_the_view_shows_best_trial_rungs_and_limits(tmp_path: Path) -> None:
    run, _ = executed(made_space(tmp_path), tmp_path)
    output = console(is_terminal=True)
    output.print(LiveView(run))
    best = run.ranking.best()
    assert best is not None
    assert f"best {best.trial_id}  val_accuracy {value_text(best.value('val_accuracy'))}" in shown(output)
    assert f"rung 0  1 epoch   {'█' * 24} 12" in shown(output)
    assert " s, about 0.00 s left   12/12 trials" in shown(output)


def test_the_end_says_why_what_where_and_what_next(tmp_path: Path) -> None:
    run, reason = executed(made_space(tmp_path), tmp_path)
    output = console()
    print_summary(run, output)
    print_winner(run, reason, output)
    lines = shown(output).splitlines()
    assert lines[-2].startswith("ended: all 12 trials done   best: trial-")
    assert lines[-1] == f"next: python scripts/promote.py {run.ledger.folder} --top 3"
    assert sum("trial-" in line for line in lines[1:6]) == 5
    why = "scores of different rungs cannot be compared"
    assert lines.count(f"ranked by the highest completed rung, then by val_accuracy: {why}") == 1


def test_in_80_columns_no_hyperparameter_is_folded(tmp_path: Path) -> None:
    run, _ = executed(made_space(tmp_path), tmp_path)
    output = console(width=80)
    print_summary(run, output)
    head, *rows = shown(output).splitlines()[:6]
    assert head.split() == ["rank", "trial", "val_accuracy", "rung", "time", "energy", "hparams"]
    hparams = run.ranking.configurations()[0].first.hparams
    assert all(f" {name}={value_text(hparams[name])}" in " ".join(rows) for name in run.space.parameters)


def test_unknown_energy_is_reported_once_with_its_reason(tmp_path: Path) -> None:
    space = made_space(tmp_path)
    run = Run(space, sampler_for(space), Ledger.create(tmp_path / "run"))
    output = console()
    print_summary(run, output)
    assert "energy unknown" in shown(output)
    assert "no energy: no trial reported a sensor" in shown(output)


def test_a_run_without_a_score_shows_why(tmp_path: Path) -> None:
    run, reason = executed(fateful_space(tmp_path), tmp_path, listed({"fate": "raise"}))
    output = console()
    print_summary(run, output)
    print_winner(run, reason, output)
    assert "no trial has a score" in shown(output)
    assert "trial-0000: KeyError: 'a mistake in the training code' (see " in shown(output)


def test_failures_are_shown_by_cause_with_a_remedy_and_the_way_back(tmp_path: Path) -> None:
    space = fateful_space(tmp_path)
    fates = ["fine", "raise", "diverge", "raise"]
    points = [{"fate": fate, "score": number / 10} for number, fate in enumerate(fates)]
    run, reason = executed(space, tmp_path, listed(*points))
    output = console()
    print_summary(run, output)
    print_winner(run, reason, output)
    folder = run.ledger.folder
    lines = shown(output).splitlines()
    at = lines.index(
        f"crash: trial-0001: KeyError: 'a mistake in the training code' (see {folder}/trials/trial-0001/"
        "log.txt); also trial-0003"
    )
    assert lines[at + 1 : at + 5] == [
        "  remedy: read the traceback in the log; repeat it in one process: python scripts/train.py "
        f"--space {folder}/space.yaml --trial {folder}:trial-0001",
        "diverged: trial-0002: Diverged: loss became nan in epoch 1, step 3 (see "
        f"{folder}/trials/trial-0002/log.txt)",
        "  remedy: nothing, if few did: the sampler avoids such values; otherwise lower the largest lr, or "
        "set warmup_epochs or max_grad_norm",
        f"once fixed, run them again: python scripts/search.py --rerun-failed {folder}",
    ]


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ("search.ablations={size: {batch_size: 16}, rate: {lr: 5.0}}", ["", "batch_size=16", "lr=5"]),
        ("search.trials=[{lr: 0.1}, {batch_size: 32}]", [f"lr={lr} batch_size={b}" for lr, b in LISTED]),
    ],
)
def test_trials_of_a_list_are_told_apart_by_what_it_varies(
    tmp_path: Path, points: str, expected: list[str]
) -> None:
    text = "search: {trainable: toy, data: none, ladder: {epochs: 1}}"
    space = made_space(tmp_path, text, overrides=[points])
    run, _ = executed(space, tmp_path, FixedList(designed(space, defaults_of(space))))
    trials = run.history.trials.values()
    assert [varied_text(trial, space, run.history) for trial in trials] == expected
    output = console()
    print_summary(run, output)
    assert all(text in shown(output) for text in expected)


def test_a_curve_is_drawn_in_twelve_characters_with_its_last_value() -> None:
    assert sparkline([0.1, 0.5, 0.9]) == "▁▅█"
    assert sparkline([3.0, 3.0]) == "▅▅"
    assert sparkline([1.0, math.nan, 2.0]) == "▁!█"
    assert sparkline([]) == ""
    long = sparkline([float(epoch) for epoch in range(100)])
    assert len(long) == 12
    assert long.endswith("█")


@pytest.mark.parametrize(("width", "height"), [(80, 24), (40, 12), (200, 50)])
def test_the_view_fits_its_terminal(tmp_path: Path, width: int, height: int) -> None:
    run, _ = executed(made_space(tmp_path), tmp_path)
    output = console(width=width, height=height, is_terminal=True)
    output.print(LiveView(run))
    lines = shown(output).splitlines()
    assert len(lines) <= height
    assert max(map(len, lines)) <= width
    assert ("batch_size" in shown(output).split("curve")[1]) == (width > 80)


@pytest.mark.parametrize(("kind", "note"), [("gpu", ""), ("estimated", " (CPU estimated)")])
def test_the_view_shows_the_watts_between_two_readings(tmp_path: Path, kind: str, note: str) -> None:
    clock = FakeClock()
    run, _ = executed(made_space(tmp_path), tmp_path)
    readings = iter([(1.0, 0), (3.0, 500_000), (3.0, 500_000)])

    def read_devices() -> tuple[float, list[dict[str, Any]]]:
        read_s, counter_mj = next(readings)
        return read_s, [{"node": "a", "device": "dev0", "kind": kind, "counter_end_mj": counter_mj}]

    run.read_devices = read_devices  # type: ignore[method-assign]
    view = LiveView(run, clock=clock)
    output = console()
    output.print(view)
    assert " W" not in shown(output)
    clock.now_s += 30
    output = console()
    output.print(view)
    assert f"30 s, about 0.00 s left   12/12 trials   250 W{note}\n" in shown(output)


def test_the_time_left_is_corrected_by_what_the_work_took(tmp_path: Path) -> None:
    """Ten epochs in 100 s were forecast, and the run turns out to be slower."""
    scene = Scene(tmp_path, "search.ladder.epochs=[10]", "search.limits.trials=1")
    forecast = Forecast(
        num_trials=Span(1, 1, 1), epochs=Span(10, 10, 10), rung_epochs=(Span(10, 10, 10),),
        rung_trials=(Span(1, 1, 1),), seconds=Span(80, 100, 120), kwh=None, disk_gib=None, reason="",
        is_endless=False, source="",
    )  # fmt: skip
    view = LiveView(scene.run, get_forecast=lambda: forecast, clock=scene.clock)
    trial_id, _ = scene.start()

    def left(after_s: float, num_epochs: int) -> str:
        scene.clock.now_s += after_s
        done = scene.run.history.trials[trial_id].epochs
        for epoch in range(done + 1, done + num_epochs + 1):
            row = EpochRow(epoch=epoch, rung=0, metrics={"val_accuracy": 0.5}, seconds=1.0)
            scene.run.on_epoch(trial_id, row)
        output = console()
        output.print(view)
        return shown(output).splitlines()[-1].split("   ")[0]

    assert left(30, 0) == "30 s, about 1:10 left"  # nothing is known but the forecast
    assert left(0, 1) == "30 s, about 1:32 left"  # an epoch is done: a tenth of the work
    assert left(30, 4) == "1:00, about 52 s left"  # 50 s by the forecast, 60 s by the run's pace
    assert left(20, 0) == "1:20, about 32 s left"  # time passes while an epoch goes on
    assert (
        left(40, 0) == "2:00, about 30 s left"
    )  # it goes on for longer: half took 120 s, a quarter of which
    assert left(180, 4) == "5:00, about 29 s left"  # nine tenths took 300 s: 33 s are left, not 10
    assert left(60, 1) == "6:00"  # all that was forecast is done, and nothing says more


def test_a_script_reads_the_end_of_a_search_as_json(tmp_path: Path) -> None:
    run, reason = executed(made_space(tmp_path), tmp_path)
    answer = json.loads(json.dumps(search_answer(run, reason), allow_nan=False))
    best = run.ranking.best()
    assert best is not None
    assert answer["ended"] == "all 12 trials done"
    assert answer["best"]["trial"] == best.trial_id
    assert answer["best"]["value"] == best.value("val_accuracy")
    assert answer["best"]["hparams"] == dict(best.hparams)
    assert sum(answer["trials"].values()) == 12
    assert answer["kwh"] > 0
    assert answer["forecast"] is None


def test_a_rung_names_what_its_resolution_counts(tmp_path: Path) -> None:
    budgets = Budget(epochs=1, resolution=64), Budget(epochs=2, resolution=128)
    assert rung_text(Ladder(budgets), 0) == "1 epoch, 64 px"
    tokens = Ladder(budgets, resolution_unit="tokens")
    assert rung_text(tokens, 1) == "2 epochs, 128 tokens"
    assert rung_text(tokens.only_top(), 0) == "2 epochs, 128 tokens"
    assert Ladder(budgets).epoch_work(1) / Ladder(budgets).epoch_work(0) == 4
    assert tokens.epoch_work(1) / tokens.epoch_work(0) == 2
    text = (
        "search: {trainable: code_clones, data: python-stdlib, trials: [{}],"
        " ladder: {epochs: 1, resolution: 32}}"
    )
    assert rung_text(made_space(tmp_path, text=text).ladder, 0) == "1 epoch, 32 nodes"
