"""What a search is forecast to take, before it is started and by its first epochs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from search.backends.costs import filled, fixed_scoring_s
from search.backends.local import execute_here
from search.budget import Ladder, Spent
from search.forecast import Costs, Forecast, PointCost, Span, earlier_costs, forecast_search, observed_costs
from search.forecast.earlier import attempts_of
from search.forecast.probe import (
    ProbeError,
    UnfitError,
    _epoch,
    _num_all,
    points_to_probe,
    probe,
    probe_costs,
)
from search.ledger import Ledger
from search.output import Output
from search.report.forecast import (
    ForecastReporter,
    forecast_lines,
    forecast_text,
    kept_forecast,
    ladder_table,
    outcome_text,
)
from search.run import Run
from search.space import Space, dump_space
from search.trial.task import TrialTask, task_for
from tests.support.recorded_console import console, shown
from tests.support.toy_runs import SteadyMeter, executed, made_space, sampler_for
from trainables.core.contract import Budget, DataError
from trainables.core.subprocess_pool import LoadedProcess


def point(
    *epoch_s: float | None, start_s: float = 0.0, joules: tuple[float, ...] = (), **hparams
) -> PointCost:
    return PointCost(hparams=hparams, start_s=start_s, epoch_s=epoch_s, epoch_j=joules, checkpoint_mib=512.0)


def with_weights(cost: PointCost, mib: float) -> PointCost:
    return replace(cost, weights_mib=mib)


def forecast_of(space: Space, *points: PointCost, first_s: float = 10.0) -> Forecast:
    return forecast_search(space, Costs(points=points, source="a test", first_s=first_s), sampler_for)


def here(space: Space, workers: int = 1) -> Space:
    return replace(space, resources=space.resources.model_copy(update={"workers": workers}))


def test_where_nothing_is_stopped_the_forecast_is_exact(tmp_path: Path) -> None:
    space = here(made_space(tmp_path, overrides=["search.scheduler={mode: none}", "search.limits.trials=6"]))
    forecast = forecast_of(space, point(1.0, 2.0, 4.0, start_s=0.5))  # rungs of 1, 3 and 9 epochs
    assert (forecast.num_trials.low, forecast.num_trials.high) == (6, 6)
    assert forecast.rung_trials == (Span(6, 6, 6),) * 3
    assert forecast.rung_epochs == (Span(6, 6, 6), Span(12, 12, 12), Span(36, 36, 36))
    assert forecast.epochs == Span(54, 54, 54)
    one_s = 0.5 + 1 * 1.0 + 2 * 2.0 + 6 * 4.0
    all_s = 10 + 6 * one_s - 0.5  # the first start is over when the worker has begun
    assert forecast.seconds == Span(pytest.approx(0.85 * all_s), all_s, pytest.approx(1.15 * all_s))
    assert forecast.reason == "all 6 trials done"
    assert forecast.disk_gib == 3.5  # of six trials, and the one before of the one that trains
    assert forecast.kwh is None


def test_two_workers_take_half_the_time(tmp_path: Path) -> None:
    space = made_space(tmp_path, overrides=["search.scheduler={mode: none}", "search.limits.trials=6"])
    forecast = forecast_of(here(space, workers=2), point(1.0, 1.0, 1.0), first_s=0.0)
    assert forecast.seconds is not None
    assert forecast.seconds.median == 3 * 9


def test_where_trials_are_packed_by_memory_the_forecast_is_for_one_at_a_time(tmp_path: Path) -> None:
    space = made_space(tmp_path, overrides=["search.scheduler={mode: none}", "search.limits.trials=4"])
    packed = made_space(
        tmp_path,
        overrides=["search.scheduler={mode: none}", "search.limits.trials=4", "search.resources.pack=memory"],
    )
    costs = point(1.0, 1.0, 1.0)
    assert forecast_of(here(packed, 8), costs).seconds == forecast_of(here(space, 1), costs).seconds
    assert forecast_of(here(packed, 8), costs).seconds != forecast_of(here(space, 8), costs).seconds


@pytest.mark.parametrize("mode", ["asha", "asha_stopping"])
def test_a_search_that_decides_on_the_way_runs_as_many_epochs_as_was_forecast(
    tmp_path: Path, mode: str
) -> None:
    space = here(made_space(tmp_path, overrides=[f"search.scheduler.mode={mode}", "search.limits.trials=27"]))
    forecast = forecast_search(space, None, sampler_for)
    run, _ = executed(space, tmp_path)
    epochs = sum(trial.epochs for trial in run.history.trials.values())
    assert epochs in forecast.epochs
    assert all(count in span for count, span in zip(run.rungs.counts(), forecast.rung_trials, strict=True))
    assert forecast.epochs.high < 27 * 9


def test_a_limit_on_time_ends_it_and_is_named(tmp_path: Path) -> None:
    space = here(
        made_space(tmp_path, overrides=["search.scheduler={mode: none}", "search.limits={hours: 0.5}"])
    )
    forecast = forecast_of(space, point(20.0, 20.0, 20.0), first_s=0.0)
    assert forecast.epochs.median == 90  # 1,800 s of 20 s each
    assert forecast.reason == "0.5 h limit reached (0.50)"


def test_a_limit_on_energy_ends_it_and_is_named(tmp_path: Path) -> None:
    space = made_space(tmp_path, overrides=["search.scheduler={mode: none}", "search.limits={kwh: 0.001}"])
    forecast = forecast_of(here(space), point(1.0, 1.0, 1.0, joules=(100.0, 100.0, 100.0)))
    assert forecast.epochs.median == 36  # of 3,600 J
    assert forecast.kwh is not None
    assert forecast.kwh.median == pytest.approx(0.001)
    assert forecast.reason.startswith("0.001 kWh limit reached")


def test_without_costs_trials_are_forecast_and_time_is_not(tmp_path: Path) -> None:
    forecast = forecast_search(
        here(made_space(tmp_path, overrides=["search.limits={trials: 6, hours: 0.0001}"])), None, sampler_for
    )
    assert forecast.num_trials.median == 6
    assert forecast.seconds is None
    assert forecast_lines(forecast)[0].endswith("; the first epochs will show the time")


@pytest.mark.parametrize(("trials", "simulated"), [(251, 250), (25, 25), (26, 25), (500, 25)])
def test_many_trials_are_forecast_by_a_part_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trials: int, simulated: int
) -> None:
    if simulated == 25:  # a tenth of what it is, for a tenth of the time
        monkeypatch.setattr("search.forecast.forecast._MOST_WHOLE", simulated)
    space = here(
        made_space(tmp_path, overrides=[f"search.limits.trials={trials}", "search.scheduler={mode: none}"])
    )
    asked: list[int | None] = []

    def sampler(of: Space) -> Any:
        asked.append(of.limits.trials)
        return sampler_for(of)

    point = PointCost(hparams={}, start_s=0.0, epoch_s=(1.0,) * 3)
    forecast = forecast_search(
        space, Costs(points=(point,), source="made", first_s=10.0), sampler, most_s=0.0
    )
    assert set(asked) == {simulated}
    assert forecast.num_trials == Span(trials, trials, trials)
    assert forecast.epochs == Span(9 * trials, 9 * trials, 9 * trials)
    assert forecast.rung_trials[2] == Span(trials, trials, trials)
    assert forecast.seconds is not None
    assert forecast.seconds.median == pytest.approx(10 + 9 * trials, rel=0.01)
    assert (forecast.reason, forecast.is_endless) == (f"all {trials} trials done", False)


def test_the_hours_of_many_trials_are_those_of_a_part_of_them(tmp_path: Path) -> None:
    limits = ["search.limits.trials=5000", "search.limits.hours=1", "search.scheduler={mode: none}"]
    point = PointCost(hparams={}, start_s=0.0, epoch_s=(1.0,) * 3)
    costs = Costs(points=(point,), source="made", first_s=360.0)
    forecast = forecast_search(here(made_space(tmp_path, overrides=limits)), costs, sampler_for, most_s=0.0)
    assert forecast.seconds is not None
    assert forecast.seconds.median == pytest.approx(3600, abs=1.5)  # the epoch under way ends
    assert forecast.epochs.median == pytest.approx(3240, abs=20)
    assert forecast.reason.startswith("1 h limit reached (1.00)")


def test_without_a_limit_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("search.backends.simulated", "search.forecast.forecast"):
        monkeypatch.setattr(f"{module}.MOST_TRIALS", 50)
    space = replace(here(made_space(tmp_path)), limits=replace(made_space(tmp_path).limits, trials=None))
    assert forecast_lines(forecast_search(space, None, sampler_for)) == [
        "forecast: no limit ends it; it runs until it is interrupted"
    ]


def test_joules_foretell_no_epochs(tmp_path: Path) -> None:
    space = here(made_space(tmp_path))
    ladder = Ladder((Budget(epochs=9), Budget(epochs=9)), joules=(1.0, 2.0))
    with pytest.raises(ValueError, match="rung of joules"):
        forecast_search(replace(space, ladder=ladder), None, sampler_for)


def test_rungs_that_were_not_seen_follow_the_others_and_else_the_work() -> None:
    ladder = Ladder(
        (
            Budget(epochs=1, subset=0.5, resolution=10),
            Budget(epochs=2, subset=1.0, resolution=10),
            Budget(epochs=3, subset=1.0, resolution=20),
        )
    )
    seen = point(1.0, 3.0, None), point(2.0, None, None)
    first, second = filled(seen, ladder)
    assert first.epoch_s == (1.0, 3.0, 12.0)  # four times the pixels
    assert second.epoch_s == (2.0, 6.0, 16.0)  # three times, as the first one; eight times the work


def test_scoring_takes_the_same_at_a_rung_that_was_not_seen() -> None:
    ladder = Ladder((Budget(epochs=1, subset=0.5), Budget(epochs=2, subset=1.0)))
    (cost,) = filled([replace(point(3.0, None, joules=(30.0, None)), scoring_s=1.0)], ladder)
    assert cost.epoch_s == (3.0, 5.0)  # two seconds of training become four
    assert cost.epoch_j == (30.0, 50.0)
    assert fixed_scoring_s("top", 1.0) == 1.0
    assert fixed_scoring_s("rung", 1.0) == 0.0


def test_a_configuration_costs_what_the_nearest_one_of_its_names_did() -> None:
    points = (
        point(1.0, model="small", batch_size=16),
        point(2.0, model="small", batch_size=256),
        point(3.0, model="large", batch_size=16),
    )
    costs = Costs(points=points, source="", first_s=0.0)
    assert costs.of({"model": "small", "batch_size": 32, "lr": 0.1}).epoch_s == (1.0,)
    assert costs.of({"model": "small", "batch_size": 128}).epoch_s == (2.0,)
    assert costs.of({"model": "large", "batch_size": 256}).epoch_s == (3.0,)


def test_an_earlier_run_of_the_same_tells_what_epochs_take(tmp_path: Path) -> None:
    space = here(made_space(tmp_path))
    assert earlier_costs(space, tmp_path / "results") is None
    run, _ = executed(space, tmp_path / "results" / "one")
    dump_space(space, run.ledger.space_file)
    costs = earlier_costs(space, run.ledger.folder.parent)
    assert costs is not None
    assert costs.source == f"{len(run.history.trials)} trials of {run.ledger.folder.name}"
    assert {point.hparams["batch_size"] for point in costs.points} <= {16, 32, 64, 128}
    other = replace(space, data="elsewhere")
    assert earlier_costs(other, run.ledger.folder.parent) is None


def events_of(
    number: int,
    *,
    seconds: float,
    time_s: float,
    epoch: int = 1,
    rung: int = 0,
    train_s: float = 0.8,
    asked_s: float = 5.0,
) -> list[dict[str, Any]]:
    """A trial that is asked for, and an epoch of it, as journals were before a start was forecast apart."""
    hparams, trial = {"lr": 0.1, "batch_size": 16}, {"trial": f"trial-{number:04d}", "time": asked_s}
    asked = {
        "event": "trial_asked",
        "number": number,
        "proposed_by": "sampler",
        "hparams": hparams,
        "seed": 0,
    }
    metrics = {"train_s": train_s, "eval_s": 0.2}
    row = {"epoch": epoch, "rung": rung, "metrics": metrics, "seconds": seconds, "sensors": {"scope": "cpu"}}
    ended = {"event": "epoch", **trial, "time": time_s, "row": row}
    return [{**asked, **trial}, ended] if epoch == 1 else [ended]


def test_what_a_worker_loads_once_is_no_start_of_every_trial(tmp_path: Path) -> None:
    space = here(made_space(tmp_path), workers=2)
    events = [
        *events_of(0, seconds=14.0, time_s=20.0),
        *events_of(1, seconds=15.0, time_s=21.0),
        *events_of(2, seconds=1.5, time_s=22.5, asked_s=21.1),
        *events_of(3, seconds=1.3, time_s=22.6, asked_s=21.2),
    ]
    assert observed_costs(events[:4], space, tmp_path) is None
    costs = observed_costs(events, space, tmp_path)
    assert costs is not None
    assert costs.first_s == pytest.approx(20.0 - 5.0 - 1.0)
    assert [point.start_s for point in costs.points] == [pytest.approx(0.4)] * 4
    assert {point.epoch_s[0] for point in costs.points} == {1.0}


class Journal:
    """What two workers report, second by second, as the journal has it."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = [{"event": "session_started", "time": 100.0}]

    def ask(self, number: int, at: float) -> None:
        asked = {"number": number, "proposed_by": "sampler", "hparams": {"lr": 0.1}, "seed": 0}
        self._add("trial_asked", number, at, **asked)

    def resume(self, number: int, at: float) -> None:
        self._add("trial_resumed", number, at, why="promoted")

    def epoch(
        self, number: int, at: float, seconds: float, *, epoch: int = 1, start_s: float | None = None
    ) -> None:
        """A row without train_s and eval_s, as scripts and trainables of one's own report it."""
        attempt = {} if start_s is None else {"start_s": start_s, "sensors": {"scope": ""}}
        row = {"epoch": epoch, "rung": min(epoch - 1, 2), "metrics": {}, "seconds": seconds, **attempt}
        self._add("epoch", number, at, row=row)

    def _add(self, kind: str, trial: int, at: float, **more: Any) -> None:
        self.events.append({"event": kind, "trial": f"trial-{trial:04d}", "time": at, **more})


def test_a_short_training_is_not_forecast_by_its_workers_start(tmp_path: Path) -> None:
    """Epochs of 1.1 s after 36 s of imports: an epoch was taken for 37.1 s."""
    space, journal = here(made_space(tmp_path), workers=2), Journal()
    for number in (0, 1):
        journal.ask(number, 100.0)
        journal.epoch(number, 137.1, 1.1, start_s=35.5)
    journal.ask(2, 137.2)
    journal.epoch(2, 138.4, 1.1, start_s=0.05)
    costs = observed_costs(journal.events, space, tmp_path)
    assert costs is not None
    assert costs.first_s == pytest.approx(36.0)
    assert {point.epoch_s[0] for point in costs.points} == {1.1}
    assert {round(point.start_s, 6) for point in costs.points} == {0.1}  # to be given one, and its start
    assert (costs.unsure_start_s, {point.warm_up_s for point in costs.points}) == (0.0, {0.0})


def test_a_fast_workers_second_training_is_warm_before_the_others_first_ends(tmp_path: Path) -> None:
    space, journal = here(made_space(tmp_path), workers=2), Journal()
    for number in (0, 1):
        journal.ask(number, 100.0 + number / 10)
    journal.epoch(0, 120.0, 1.0, start_s=12.0)
    journal.ask(2, 120.0)
    journal.epoch(2, 121.1, 1.0, start_s=0.1)
    journal.epoch(1, 122.1, 1.0, start_s=13.0)
    costs = observed_costs(journal.events, space, tmp_path)
    assert costs is not None
    assert {round(point.start_s, 6) for point in costs.points} == {0.1}
    assert (costs.first_s, costs.unsure_start_s) == (19.0, 0.0)


def test_before_a_warm_worker_has_started_one_its_start_is_unsure(tmp_path: Path) -> None:
    space, journal = here(made_space(tmp_path), workers=2), Journal()
    for number in (0, 1):
        journal.ask(number, 100.0)
        journal.epoch(number, 112.0 + number, 1.0, start_s=8.0 + number)
        journal.epoch(number, 113.1 + number, 1.0, epoch=2)
    costs = observed_costs(journal.events, space, tmp_path)
    assert costs is not None
    assert costs.unsure_start_s == 8.0
    sure = forecast_search(space, replace(costs, unsure_start_s=0.0), sampler_for).seconds
    forecast = forecast_search(space, costs, sampler_for).seconds
    assert sure is not None
    assert forecast is not None
    assert sure.median < forecast.median < sure.median + 10 / 2 * 0.5 * 8.0  # ten more starts, on two workers
    assert forecast.high > sure.high + 10 / 2 * 0.2 * 8.0


def test_a_script_that_imports_in_its_first_epoch_does_so_in_each_start(tmp_path: Path) -> None:
    """Two seconds of its own Python, then epochs of 0.25 s: six trials of three epochs in one worker."""
    overrides = ["search.scheduler={mode: none}", "search.limits.trials=6", "search.ladder.epochs=[1, 2, 3]"]
    space, journal, at = here(made_space(tmp_path, overrides=overrides)), Journal(), 110.0
    journal.ask(0, 100.0)
    for number in range(2):
        if number:
            journal.ask(number, at)
        journal.epoch(number, at + 2.25, 2.25, start_s=0.0)
        journal.epoch(number, at + 2.5, 0.25, epoch=2)
        journal.epoch(number, at + 2.75, 0.25, epoch=3)
        at += 2.75
    costs = observed_costs(journal.events[:6], space, tmp_path)
    assert costs is not None
    (point,) = costs.points
    assert (point.epoch_s, point.warm_up_s) == ((0.25, 0.25, 0.25), 2.0)
    costs = observed_costs(journal.events, space, tmp_path)
    forecast = forecast_search(space, costs, sampler_for)
    assert forecast.seconds is not None
    assert forecast.seconds.median == pytest.approx(10 + 6 * 2.75)


def test_what_lies_between_two_epochs_is_a_part_of_what_they_take(tmp_path: Path) -> None:
    """Saving, the search's answer, a wait for a turn alone."""
    space, journal = here(made_space(tmp_path, overrides=["search.ladder.epochs=[9]"])), Journal()
    journal.ask(0, 100.0)
    journal.epoch(0, 104.0, 1.0, start_s=2.0)
    for epoch in (2, 3, 4):
        journal.events.append(
            {
                **{"event": "epoch", "trial": "trial-0000", "time": 104.0 + 1.5 * (epoch - 1)},
                "row": {"epoch": epoch, "rung": 0, "metrics": {}, "seconds": 1.0, "overhead_s": 0.4},
            }
        )
    costs = observed_costs(journal.events, space, tmp_path)
    assert costs is not None
    (point,) = costs.points
    assert point.epoch_s == (1.5,)
    assert (costs.first_s, point.warm_up_s) == (3.0, 0.0)


def test_a_restart_and_a_promotion_are_starts_of_their_own() -> None:
    journal = Journal()
    journal.ask(0, 100.0)
    journal.epoch(0, 120.0, 1.0, start_s=9.0)
    journal.resume(0, 121.0)
    journal.epoch(0, 122.5, 1.0, epoch=2, start_s=0.2)
    journal.events.append({"event": "session_started", "time": 500.0})
    journal.epoch(0, 520.0, 1.0, epoch=3, start_s=9.0)
    first, promoted, restarted = attempts_of(journal.events)
    assert [one.number for one in (first, promoted, restarted)] == [0, 1, 0]
    assert [one.before_s for one in (first, promoted, restarted)] == [19.0, 0.5, 19.0]


def test_the_joules_of_starts_are_a_part_of_what_the_search_uses(tmp_path: Path) -> None:
    overrides = ["search.scheduler={mode: none}", "search.limits.trials=3", "search.ladder.epochs=[1]"]
    space = here(made_space(tmp_path, overrides=overrides))
    one = replace(point(1.0, joules=(3600.0,)), start_j=1800.0)
    forecast = forecast_search(
        space, Costs(points=(one,), source="", first_s=9.0, first_j=36_000.0), sampler_for
    )
    assert forecast.kwh is not None
    assert forecast.kwh.median == pytest.approx((36_000 + 2 * 1800 + 3 * 3600) / 3.6e6)


def test_a_beginning_that_was_only_tried_is_less_sure(tmp_path: Path) -> None:
    overrides = ["search.scheduler={mode: none}", "search.limits.trials=1", "search.ladder.epochs=[1]"]
    space = here(made_space(tmp_path, overrides=overrides))
    costs = Costs(points=(point(2.0),), source="", first_s=10.0, unsure_first_s=4.0)
    forecast = forecast_search(space, costs, sampler_for)
    assert forecast.seconds == Span(pytest.approx(0.85 * 12 - 2), 12.0, pytest.approx(1.15 * 12 + 4))


@pytest.mark.parametrize("mode", ["asha", "asha_stopping"])
def test_a_default_that_no_trial_beats_is_within_the_range(tmp_path: Path, mode: str) -> None:
    """Then as few trials continue as may: the published configuration was the best of eight."""
    overrides = [
        f"search.scheduler={{mode: {mode}}}",
        "search.limits.trials=8",
        "search.ladder.epochs=[1, 2, 4]",
    ]
    space = here(made_space(tmp_path, overrides=overrides))
    forecast = forecast_search(space, None, sampler_for)
    assert forecast.epochs.low <= 12
    assert forecast.rung_trials[2].low <= 1


def searched_with_forecast(space: Space, ledger: Ledger, output: Output) -> Run:
    run = Run(space, sampler_for(space), ledger)
    reporter = ForecastReporter(run, sampler_for, output)
    reporter.begin()
    run.observe(reporter)
    execute_here(run, SteadyMeter())
    reporter.close()
    return run


def test_a_run_says_its_time_by_its_first_epochs_and_compares_at_its_end(tmp_path: Path) -> None:
    space = here(made_space(tmp_path))
    output = console(width=160)
    run = searched_with_forecast(space, Ledger.create(tmp_path / "run"), output)
    forecast = kept_forecast(run.ledger, space.limits)
    assert forecast is not None
    assert forecast.seconds is not None
    assert forecast.kwh is not None
    text = shown(output)
    assert "; the first epochs will show the time" in text
    assert "estimated from 1 trial of run" in text
    assert (
        json.loads((run.ledger.folder / "forecast.json").read_text())["epochs"]["median"]
        == forecast.epochs.median
    )


def test_a_run_that_is_resumed_with_other_limits_is_forecast_anew(tmp_path: Path) -> None:
    few, more = (
        here(made_space(tmp_path, overrides=[f"search.limits.trials={number}", "search.limits.disk_gib=9"]))
        for number in (4, 9)
    )
    folder = Ledger.create(tmp_path / "run").folder
    for space in (few, more):
        run = searched_with_forecast(space, Ledger(folder), console())
        kept = kept_forecast(run.ledger, space.limits)
        assert kept is not None
        assert kept.num_trials.median == space.limits.trials
    assert kept_forecast(run.ledger, few.limits) is None
    assert kept_forecast(run.ledger, replace(more.limits, disk_gib=1.0)) is not None
    run.ledger.write_json("forecast.json", kept.to_dict())  # as versions before wrote it
    assert kept_forecast(run.ledger, few.limits) == kept


def test_a_rung_that_takes_longer_than_was_thought_is_reported_when_it_is_seen(tmp_path: Path) -> None:
    overrides = ["search.scheduler={mode: none}", "search.limits.trials=4"]
    space = here(made_space(tmp_path, overrides=overrides))  # rungs of 1, 3 and 9 epochs of one size
    output = console(width=160)
    run = Run(space, sampler_for(space), Ledger.create(tmp_path / "run"))
    reporter = ForecastReporter(run, sampler_for, output)

    def follow(*events: dict[str, Any]) -> Forecast:
        for event in events:
            reporter.on_event(run.ledger.journal.append(event))
        before = reporter.forecast
        while reporter.forecast is before:  # it is simulated beside the search
            reporter.on_event({"event": "other"})
        assert reporter.forecast is not None
        assert reporter.forecast.seconds is not None
        return reporter.forecast

    trials = [event for number in range(3) for event in events_of(number, seconds=1.0, time_s=6.0)]
    first = follow(*trials).seconds
    assert first is not None
    assert first.median == pytest.approx(36.0)  # four trials of nine epochs, a second each
    later = follow(*events_of(0, seconds=10.0, time_s=16.0, epoch=2, rung=1, train_s=9.8)).seconds
    assert later is not None
    assert later.median == pytest.approx(4 * (1 + 8 * 10), rel=0.01)
    reporter.close()
    kept = kept_forecast(run.ledger, space.limits)
    assert kept is not None
    assert kept.seconds == first  # what the end is compared with
    assert "new forecast: 4 trials, 36 epochs, 5:24" in shown(output)


def test_a_long_run_is_forecast_by_its_first_and_its_latest_trials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[dict[str, Any]]] = []
    monkeypatch.setattr("search.report.forecast.observed_costs", lambda events, *_: seen.append(events))
    space = here(made_space(tmp_path, overrides=["search.limits.trials=2000"]))
    run = Run(space, sampler_for(space), Ledger.create(tmp_path / "run"))
    reporter = ForecastReporter(run, sampler_for, console())
    reporter.on_event({"event": "session_started", "time": 0.0})
    for number in range(2000):
        for event in events_of(number, seconds=1.0, time_s=number + 0.5, asked_s=float(number)):
            reporter.on_event(event)
    reporter.on_event(events_of(60, seconds=1.0, time_s=2000.0)[-1])  # it was dropped before
    reporter.close()
    latest = seen[-1]
    trials = list(dict.fromkeys(event["trial"] for event in latest if "trial" in event))
    numbers = [int(trial.rpartition("-")[2]) for trial in trials]
    assert latest[0]["event"] == "session_started"
    assert numbers == [*range(20), *range(1820, 2000)]
    times_s = [event["time"] for event in latest]
    assert times_s == sorted(times_s)
    assert len(latest) == 1 + 2 * 200
    assert {event["event"] for event in latest} == {"session_started", "trial_asked", "epoch"}


def test_what_an_earlier_run_took_is_corrected_by_the_runs_own_epochs(tmp_path: Path) -> None:
    space = here(made_space(tmp_path))
    earlier, _ = executed(space, tmp_path / "results" / "one")
    dump_space(space, earlier.ledger.space_file)
    run = Run(space, sampler_for(space), Ledger.create(tmp_path / "results" / "one" / "another"))
    reporter = ForecastReporter(run, sampler_for, console(width=160))
    reporter.begin()
    assert reporter.forecast is not None
    assert reporter.forecast.source.endswith("trials of run")
    run.observe(reporter)
    execute_here(run, SteadyMeter())
    while reporter.forecast.source.endswith("trials of run"):  # it is simulated beside the search
        reporter.on_event({"event": "other"})
    reporter.close()
    assert reporter.forecast.source.endswith("trials of another")


def test_a_forecast_that_fails_ends_no_search(tmp_path: Path) -> None:
    def broken(space: Space) -> Any:
        raise KeyError("a mistake in a simulation")

    space = here(made_space(tmp_path))
    output = console(width=160)
    run = Run(space, sampler_for(space), Ledger.create(tmp_path / "run"))
    reporter = ForecastReporter(run, broken, output)
    run.observe(reporter)
    assert execute_here(run, SteadyMeter()) == "all 12 trials done"
    reporter.close()
    assert "warning: no time forecast: KeyError: 'a mistake in a simulation'" in shown(output)


def test_a_forecast_that_the_disk_does_not_take_is_printed_all_the_same(tmp_path: Path) -> None:
    space = here(made_space(tmp_path))
    output = console(width=160)
    run = Run(space, sampler_for(space), Ledger.create(tmp_path / "run"))
    (run.ledger.folder / "forecast.json").mkdir()  # no file can take its place
    reporter = ForecastReporter(run, sampler_for, output)
    run.observe(reporter)
    execute_here(run, SteadyMeter())
    reporter.close()
    assert reporter.forecast is not None
    assert kept_forecast(run.ledger, space.limits) is None
    text = shown(output)
    assert "forecast.json" in text
    assert "the run continues, but its end will not be compared with the forecast" in text


def test_words_of_a_forecast_and_of_what_came_true(tmp_path: Path) -> None:
    forecast = forecast_of(
        here(made_space(tmp_path, overrides=["search.scheduler={mode: none}", "search.limits.trials=6"])),
        point(1.0, 1.0, 1.0, joules=(3600.0,) * 3),
        first_s=6.0,
    )
    assert forecast_text(forecast) == (
        "6 trials, 54 epochs, 1:00 (51 s to 1:09), 0.054 kWh (0.046 to 0.062), at most 3.5 GiB of checkpoints"
    )
    assert outcome_text(forecast, epochs=54, spent=Spent(hours=0.02, energy_j=180_000.0)) == (
        "took 1:12 (forecast 1:00, 51 s to 1:09), 54 epochs (54), 0.05 kWh (0.054, 0.046 to 0.062)"
    )
    assert ladder_table(made_space(tmp_path), forecast).row_count == 3


def test_a_probe_takes_each_model_with_its_smallest_and_largest_batches(tmp_path: Path) -> None:
    space = made_space(tmp_path)
    assert [one["batch_size"] for one in points_to_probe(space, {"batch_size": 64, "lr": 0.1})] == [
        64,
        16,
        128,
    ]


class Steady:
    """1,257 examples of 10 ms each, and 0.5 s of scoring."""

    def __init__(self) -> None:
        self.subsets: list[float | int | None] = []

    def run_epoch(self, budget: Budget) -> dict[str, float]:
        self.subsets.append(budget.subset)
        share = 1.0 if budget.subset is None else budget.subset
        num = float(share if isinstance(share, int) else round(1257 * share))
        return {"num_examples": num, "train_s": 0.01 * num, "eval_s": 0.5}


@pytest.mark.parametrize(("subset", "num_examples"), [(None, 1257), (1.0, 1257), (0.5, 628.5), (200, 200)])
def test_an_epoch_is_forecast_from_two_steps_of_it(
    tmp_path: Path, subset: float | int | None, num_examples: float
) -> None:
    space = made_space(tmp_path)
    task = task_for(space, trial_id="probe", hparams={"batch_size": 32}, seed=0, folder=tmp_path)
    training = Steady()
    budget = Budget(epochs=1, subset=subset)
    epoch = _epoch(training, task, budget, lambda: _num_all(training, budget))  # type: ignore[arg-type]
    assert epoch.seconds == pytest.approx(0.01 * num_examples + 0.5, rel=0.01)
    assert epoch.scoring_s == 0.5
    assert training.subsets[:2] == [64, 64]
    assert max(float(share) for share in training.subsets[2:] or [0]) < 0.1


class Few(Steady):
    """Of 50 examples."""

    def run_epoch(self, budget):
        if isinstance(budget.subset, int) and budget.subset > 50:
            raise DataError("a subset of more was asked for")
        return {**super().run_epoch(budget), "num_examples": 50.0, "train_s": 0.5}


def test_data_with_less_than_two_steps_is_tried_whole(tmp_path: Path) -> None:
    task = task_for(
        made_space(tmp_path), trial_id="probe", hparams={"batch_size": 32}, seed=0, folder=tmp_path
    )
    training = Few()
    budget = Budget(epochs=1, subset=None)
    epoch = _epoch(training, task, budget, lambda: _num_all(training, budget))  # type: ignore[arg-type]
    assert epoch.seconds == pytest.approx(1.0)
    assert training.subsets[:2] == [None, None]


def test_weights_that_stay_are_forecast_for_each_trial_at_the_top_rung(tmp_path: Path) -> None:
    space = here(made_space(tmp_path, overrides=["search.scheduler={mode: none}", "search.limits.trials=6"]))
    points = [with_weights(point(1.0, 2.0, 4.0), 100.0), with_weights(point(1.0, 2.0, 4.0), 128.0)]
    forecast = forecast_of(space, *points)
    assert forecast.weights_gib == 0.75  # six times the largest
    assert Forecast.from_dict(forecast.to_dict()) == forecast
    assert forecast_text(forecast).endswith("at most 3.5 GiB of checkpoints, 0.75 GiB of weights to keep")
    assert forecast_of(space, point(1.0, 2.0, 4.0)).weights_gib is None


def test_only_trials_that_end_the_top_rung_count_for_weights(tmp_path: Path) -> None:
    space = here(made_space(tmp_path, overrides=["search.limits.trials=9"]))
    forecast = forecast_of(space, with_weights(point(1.0, 1.0, 1.0), 1024.0))
    assert forecast.weights_gib == forecast.rung_trials[-1].high < 9


@pytest.mark.parametrize(("form", "share"), [("fp32", 1.0), ("fp16", 0.5)])
def test_a_probe_knows_what_weights_a_trial_leaves(tmp_path: Path, form, share: float) -> None:
    text = (
        "parameters: {lr: {min: 0.01, max: 0.1}}\n"
        "search: {trainable: classification, data: digits, ladder: {epochs: [1], subset: 64}}\n"
    )
    space = here(made_space(tmp_path, text=text, overrides=[f"search.promote.weights={form}"]))
    hparams = {"model": "mnist_cnn", "batch_size": 8, "optimizer": "adamw", "lr": 1e-3}
    task = task_for(space, trial_id="probe", hparams=hparams, seed=0, folder=tmp_path)
    (seen,) = probe(task, [hparams], time.time()).points
    assert seen.weights_mib is not None
    assert seen.checkpoint_mib is not None
    # AdamW's state is three times the weights: themselves and two moments.
    assert 3 * seen.weights_mib / share == pytest.approx(seen.checkpoint_mib, rel=0.02)


def test_a_probe_starts_a_real_training_and_names_what_fails(tmp_path: Path) -> None:
    text = (
        "parameters: {lr: {min: 0.01, max: 0.1}}\n"
        "search: {trainable: classification, data: digits, ladder: {epochs: [1, 2], subset: 64}}\n"
    )
    space = here(made_space(tmp_path, text=text))
    hparams = {"model": "mnist_cnn", "batch_size": 8}
    task = task_for(space, trial_id="probe", hparams=hparams, seed=0, folder=tmp_path)
    answer = probe(task, [hparams], time.time() - 4)
    (seen,) = answer.points
    assert answer.first_s > 4
    assert seen.epoch_s[0] == seen.epoch_s[1]  # one budget but for the epochs: measured once
    assert seen.checkpoint_mib is not None
    assert seen.checkpoint_mib > 0.1
    with pytest.raises(UnfitError, match="no_such_model"):
        probe(task, [{"model": "no_such_model"}], 0.0)


def test_no_configuration_is_begun_that_would_end_after_twenty_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 100.0

    def measured(task: TrialTask) -> PointCost:
        nonlocal now_s
        now_s += 9.0
        return point(1.0)

    monkeypatch.setattr("search.forecast.probe._start_training", lambda task: None)
    monkeypatch.setattr("search.forecast.probe._measure", measured)
    monkeypatch.setattr(
        "search.forecast.probe.time", SimpleNamespace(monotonic=lambda: now_s, time=time.time)
    )
    task = task_for(here(made_space(tmp_path)), trial_id="probe", hparams={}, seed=0, folder=tmp_path)
    assert len(probe(task, [{"lr": 0.1}, {"lr": 0.2}, {"lr": 0.3}], 0.0).points) == 2


class OutOfMemory(LoadedProcess):
    """Its forks are killed by the kernel."""

    def load_s(self, modules: Sequence[str] = ()) -> float:
        return 0.0

    def map_at_once(self, function: Callable[..., Any], arguments: Any, *, threads: int) -> list[Any]:
        raise BrokenProcessPool


def test_a_probe_that_is_killed_costs_the_time_alone(tmp_path: Path) -> None:
    space = here(made_space(tmp_path))
    task = task_for(space, trial_id="probe", hparams={}, seed=0, folder=tmp_path)
    with pytest.raises(ProbeError, match="was killed, perhaps because memory ran out"):
        probe_costs(space, task, [{}], worker="", loaded=OutOfMemory())


def test_a_probe_that_fails_says_at_which_configuration(tmp_path: Path) -> None:
    text = (
        "parameters: {lr: {min: 0.01, max: 0.1}}\n"
        "search: {trainable: classification, data: digits, ladder: {epochs: [1, 2], subset: 64}}\n"
    )
    space = here(made_space(tmp_path, text=text))
    points = [{"model": "mnist_cnn", "batch_size": 8}, {"model": "mnist_cnn", "batch_size": -1}]
    task = task_for(space, trial_id="probe", hparams=points[0], seed=0, folder=tmp_path)
    with pytest.raises(ProbeError, match=r"^batch_size -1: \w+: "):
        probe(task, points, 0.0)
