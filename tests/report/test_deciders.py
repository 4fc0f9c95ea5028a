"""What a run's page says of who decided, and of how well the model predicted the outcome."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from search.backends.local import execute_here
from search.ledger import Ledger
from search.ledger.history import ExpectedGain, History
from search.report.charts.chart import Chart
from search.report.page.deciders import deciders_section, foreseen_in
from search.report.page.elements import Section, Table, Text
from search.report.page.history import expected_gains
from search.report.page.run_data import RunData
from search.run import Run
from search.sampling.warm_start import make_sampler
from search.space import Space
from tests.support.toy_runs import SteadyMeter, made_space

THAW = ["search.scheduler.mode=freeze_thaw", "search.ladder.epochs=[1, 3, 9]", "search.limits.trials=14"]


@pytest.fixture
def space(tmp_path: Path) -> Space:
    return made_space(tmp_path, overrides=THAW)


def data_of(space: Space, events: list[dict[str, Any]]) -> RunData:
    return RunData(ledger=Ledger(Path("nowhere")), space=space, history=History(), events=events)


def decided(by: str, share: float | None = None) -> dict[str, Any]:
    return {"event": "trial_asked", "decided_by": by, **({} if share is None else {"ranks_share": share})}


def ended(*foreseen: tuple[float, ...]) -> dict[str, Any]:
    return {"event": "trial_ended", "trial": "trial-0003", "foreseen": [list(each) for each in foreseen]}


def of_kind(section: Section, kind: type) -> list[Any]:
    return [element for element in section.elements if isinstance(element, kind)]


def test_a_search_without_a_model_has_no_such_section(tmp_path: Path) -> None:
    assert deciders_section(data_of(made_space(tmp_path), [])).elements == []


def test_the_share_of_ranks_is_drawn_with_who_decided(space: Space) -> None:
    events = [decided("random", 0.5), decided("rung", 0.5), decided("model", 0.4), decided("rung", 0.3)]
    section = deciders_section(data_of(space, events))
    (trust,) = of_kind(section, Chart)
    assert [(series.name, list(series.x), list(series.y)) for series in trust.series] == [
        ("share of ranks", [1, 2, 3, 4], [0.5, 0.5, 0.4, 0.3]),
        ("decided by ranks", [2, 4], [0.5, 0.3]),
        ("decided by model", [3], [0.4]),
        ("decided by chance", [1], [0.5]),
    ]
    texts = [text.text for text in of_kind(section, Text)]
    assert texts[0].startswith(
        "4 decisions: ranks 2, chance 1, model 1. Of the decisions left to ranks and model"
    )
    assert texts[1] == "The model has predicted no value yet, so nothing is known of its calibration."


def test_a_journal_from_before_the_share_was_recorded_has_the_counts_alone(space: Space) -> None:
    section = deciders_section(data_of(space, [decided("rung"), decided("model")]))
    assert of_kind(section, Chart) == []
    assert section.elements[0] == Text(text="2 decisions: ranks 1, model 1.")


def test_the_calibration_is_counted_in_all_and_by_thirds(space: Space) -> None:
    held, missed = (1.0, 0.4, 0.5, 0.6, 0.55), (2.0, 0.4, 0.5, 0.6, 0.7)
    section = deciders_section(data_of(space, [decided("model", 0.5), ended(held, held), ended(missed)]))
    (table,) = of_kind(section, Table)
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["first third", "1", "100%", "+0.05", "0.05", ""],
        ["second third", "1", "100%", "+0.05", "0.05", ""],
        ["last third", "1", "0%", "+0.2", "0.2", ""],
        ["all", "3", "67%", "+0.1", "0.05", ""],
    ]
    (*_, text) = of_kind(section, Text)
    assert text.text == (
        "The model's 80 % intervals contained 2 of the 3 observed values: 67% (95 % interval 21% to 94%)."
    )
    assert not text.is_warning
    calibration = of_kind(section, Chart)[-1]
    assert [(series.name, len(series.x)) for series in calibration.series[1:]] == [
        ("within its interval", 2),
        ("outside", 1),
    ]
    assert calibration.series[2].errors[0] == pytest.approx((0.1, 0.1))


@pytest.mark.parametrize(
    ("num_held", "num_missed", "says"),
    [(20, 20, "The model is overconfident"), (60, 1, "It is underconfident."), (32, 8, "")],
)
def test_intervals_that_hold_too_few_or_too_many_are_named(
    space: Space, num_held: int, num_missed: int, says: str
) -> None:
    held, missed = (1.0, 0.4, 0.5, 0.6, 0.55), (2.0, 0.4, 0.5, 0.6, 0.7)
    events = [decided("model", 0.5), ended(*[held] * num_held, *[missed] * num_missed)]
    section = deciders_section(data_of(space, events))
    (*_, text) = of_kind(section, Text)
    assert says in text.text
    assert ("confident" in text.text) is bool(says)
    assert text.is_warning is says.startswith("The model is over")


def test_what_a_search_foresaw_is_in_its_journal_as_often_as_it_counted(tmp_path: Path) -> None:
    space = replace(made_space(tmp_path, overrides=THAW), mode="min")  # its larger scores are the worse ones
    run = Run(space, make_sampler(space), Ledger.create(tmp_path / "run"))
    execute_here(run, SteadyMeter())
    foreseen = foreseen_in(run.ledger.events())
    assert run.trust is not None
    assert len(foreseen) == run.trust.num_foreseen > 0
    assert sum(each.is_covered for each in foreseen) == run.trust.num_covered
    for each in foreseen:
        assert each.low <= each.expected <= each.high
        row = run.history.trials[each.trial_id].curve[int(each.epoch)]
        assert each.value == pytest.approx(row.metrics["val_accuracy"], rel=1e-5)


def test_expected_gains_are_drawn_beside_what_means_anything(space: Space) -> None:
    run = data_of(space, [])
    run.history.gains.extend(
        ExpectedGain(num_trials=9, num_epochs=epochs, expected_gain=gain, least_gain=0.01, least_is="noise")
        for epochs, gain in ((50, 0.1), (60, 0.002))
    )
    chart = expected_gains(run)
    assert [(list(series.x), list(series.y)) for series in chart.series] == [
        ([50, 60], [0.1, 0.002]),
        ([50, 60], [0.01, 0.01]),
    ]
