"""What a run's joules are worth in grams and money: exact, limited, and empty with its reason."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from search.budget import Limits, Spent, limit_reached
from search.report.answer import search_answer
from search.report.formatting import limits_text
from search.report.page.energy import spent_worth
from search.report.page.run_data import read_run
from search.space import SpaceError, dump_space
from search.space.yaml_file import Override
from search.tables.columns import row_of
from search.tables.energy_columns import ENERGY_OF_TRIAL, TrialEnergyRow
from search.tariff import Tariff, grams_text, grid_intensities
from tests.support.energy_scenes import Scene
from tests.support.toy_runs import executed, made_space

KWH = 3_600_000.0
GERMANY = Tariff(gco2_per_kwh=344.1, origin="DEU 2024", price_per_kwh=0.3, currency="EUR", pue=1.2)
REPORT = ("search.report.region=DEU", "search.report.price_per_kwh=0.3", "search.report.currency=EUR")


def refusal(tmp_path: Path, *overrides: Override) -> str:
    with pytest.raises(SpaceError) as caught:
        made_space(tmp_path, overrides=list(overrides))
    return str(caught.value)


def cells(run: Any, names: Sequence[str]) -> list[list[Any]]:
    rows = [TrialEnergyRow(space=run.space, trial=trial) for trial in run.history.trials.values()]
    return [[row_of(ENERGY_OF_TRIAL, row)[name] for name in names] for row in rows]


def test_the_table_has_each_country_once_with_a_year() -> None:
    table = grid_intensities()
    assert len(table) == 210
    assert (table["DEU"].name, table["DEU"].year, table["DEU"].gco2_per_kwh) == ("Germany", 2024, 344.1)
    assert all(len(code) == 3 and code.isupper() for code in table)
    assert all(each.year >= 2022 and 0 < each.gco2_per_kwh < 1500 for each in table.values())


def test_grams_and_money_are_kilowatt_hours_times_their_factor_and_the_pue() -> None:
    assert GERMANY.co2e_g(2 * KWH) == 2 * (344.1 * 1.2)
    assert GERMANY.cost(2 * KWH) == 2 * (0.3 * 1.2)
    assert GERMANY.text(KWH / 1000) == "0.413 g CO2e, 0.00036 EUR"
    assert GERMANY.co2e_basis == "344.1 g/kWh (DEU 2024), PUE 1.2"
    assert grams_text(1234.0) == "1.23 kg CO2e"


def test_what_is_unknown_has_its_reason_and_is_never_zero() -> None:
    unknown = Tariff()
    assert (unknown.co2e_g(KWH), unknown.cost(KWH), unknown.text(KWH)) == (None, None, "")
    assert unknown.co2e_basis == "unknown: search.report.region is not set"
    assert unknown.cost_basis == "unknown: search.report.price_per_kwh is not set"
    assert unknown.basis == (
        "grams: unknown, as search.report.region is not set; "
        "cost: unknown, as search.report.price_per_kwh is not set"
    )
    assert GERMANY.co2e_g(None) is None


def test_a_limit_may_be_written_in_money_or_grams() -> None:
    limits = Limits(kwh=1.0, co2e_kg=0.2, cost=0.9, tariff=GERMANY)
    assert limits.most_kwh == pytest.approx(0.2 / (0.3441 * 1.2))  # of 1, 0.484 and 2.5 kWh
    assert limit_reached(limits, Spent(energy_j=0.48 * KWH)) is None
    assert limit_reached(limits, Spent(energy_j=0.5 * KWH)) == "0.20 kg CO2e limit reached (0.206)"
    of_money = Limits(cost=0.9, tariff=GERMANY)
    assert limit_reached(of_money, Spent(energy_j=2.5 * KWH + 1)) == "0.90 EUR limit reached (0.900)"
    assert limits_text(of_money, Spent(energy_j=KWH), 3) == "3 trials  0.360/0.9 EUR"
    assert limits_text(of_money, Spent(), 3) == "3 trials  unknown/0.9 EUR"
    assert of_money.without_energy().most_kwh is None


def test_a_run_ends_at_its_cost(tmp_path: Path) -> None:
    scene = Scene(tmp_path, *REPORT, "search.limits.cost=3e-6")  # 36 J
    trial_id, window = scene.start()
    assert scene.epoch(trial_id, window, 10) == "continue"
    scene.use(27)
    scene.run.next_task()
    assert scene.run.stop_reason() == "3e-06 EUR limit reached (3.08e-06)"


def test_each_trial_the_answer_and_the_page_have_grams_with_their_factor(tmp_path: Path) -> None:
    run, reason = executed(made_space(tmp_path, overrides=list(REPORT)), tmp_path)
    for joules, grams, basis, cost, price in cells(
        run, ("energy_j", "co2e_g", "co2e_basis", "cost", "cost_basis")
    ):
        assert (grams, cost) == (joules / KWH * 344.1, joules / KWH * 0.3)
        assert (basis, price) == ("344.1 g/kWh (DEU 2024)", "0.3 EUR/kWh")
    answer = json.loads(json.dumps(search_answer(run, reason)))
    assert answer["co2e_g"] == answer["kwh"] * 344.1
    assert answer["cost_basis"] == "0.3 EUR/kWh"
    dump_space(run.space, run.ledger.folder / "space.yaml")
    text = spent_worth(read_run(run.ledger.folder))
    assert "Grams: 344.1 g/kWh (DEU 2024); cost: 0.3 EUR/kWh" in text


def test_without_a_region_grams_are_empty_with_the_reason(tmp_path: Path) -> None:
    run, reason = executed(made_space(tmp_path), tmp_path)
    why = "unknown: search.report.region is not set"
    assert {tuple(row) for row in cells(run, ("co2e_g", "co2e_basis"))} == {(None, why)}
    assert (search_answer(run, reason)["co2e_g"], search_answer(run, reason)["co2e_basis"]) == (None, why)


def test_what_is_stated_goes_before_the_table_and_survives_being_written(tmp_path: Path) -> None:
    own = ["search.report={region: FRA, gco2_per_kwh: 12.5, pue: 1.5}", "search.limits.co2e_kg=1"]
    space = made_space(tmp_path, overrides=own)
    assert space.limits.tariff.co2e_basis == "12.5 g/kWh (stated), PUE 1.5"
    again = space.to_dict()["search"]
    assert again["report"]["gco2_per_kwh"] == 12.5
    assert (again["limits"]["co2e_kg"], "tariff" in again["limits"]) == (1.0, False)


@pytest.mark.parametrize(
    ("region", "meant"), [("DE", "DEU"), ("Germany", "DEU"), ("germny", "DEU"), ("fra", "FRA")]
)
def test_a_mistyped_region_is_refused_with_the_one_that_was_meant(
    tmp_path: Path, region: str, meant: str
) -> None:
    text = refusal(tmp_path, f"search.report.region={region}")
    assert (
        f"search.report.region: must be a country's three-letter code (ISO 3166), such as DEU, got {region}"
        in text
    )
    assert f"did you mean {meant}?" in text


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("search.limits.cost=1", "search.limits.cost: needs search.report.price_per_kwh and currency"),
        ("search.limits.co2e_kg=1", "search.limits.co2e_kg: needs grams for a kilowatt-hour"),
        ("search.report.price_per_kwh=0.3", "search.report.currency: is missing"),
        ("search.report.pue=0.9", "search.report.pue: must be at least 1"),
        ("search.report.gco2_per_kwh=-1", "search.report.gco2_per_kwh: must be"),
    ],
)
def test_a_limit_without_its_factor_and_impossible_values_are_refused(
    tmp_path: Path, override: str, problem: str
) -> None:
    assert problem in refusal(tmp_path, override)
