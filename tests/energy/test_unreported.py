"""A lost node takes joules with it: they are unaccounted, with the reason, and explain nothing else."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from typing import Any

import pytest

from search.accounting.account import EnergyAccount, NoMetering
from search.accounting.reconciliation import check_energy
from search.accounting.spending import outcome_millijoules
from search.accounting.unreported import lost_mj, reported_mj
from search.energy.reading import EnergyReading
from search.ledger import csv_text
from search.ledger.history import History
from search.tables.energy import DEVICE_COLUMNS, device_rows
from tests.support.energy_scenes import epoch_row


def device(node: str, given_j: float, *, is_lost: bool = False) -> dict[str, Any]:
    """A GPU's row: it gave so much to trials, and idled for 1 J."""
    row = {
        "node": f"host/{node}",
        "device": f"GPU-{node}",
        "kind": "gpu",
        "counter_start_mj": 0,
        "counter_end_mj": round((given_j + 1) * 1000),
        "energy_device_j": given_j + 1,
        "energy_trials_j": given_j,
        "energy_background_j": 0.0,
        "energy_external_j": 0.0,
        "energy_idle_j": 1.0,
        "energy_unaccounted_j": 0.0,
        "residual_j": 0.0,
    }
    return row | ({"is_closed": False} if is_lost else {})


def epoch(window: str, joules: float) -> dict[str, Any]:
    row = epoch_row(1, EnergyReading(gpu_mj=round(joules * 1000)), window)
    return {"event": "epoch", "trial": "trial-0000", "row": row.to_dict(), "time": 0.0}


def history(*devices: Mapping[str, Any], reports: Mapping[str, float], is_over: bool = True) -> History:
    """One trial with an epoch for each window, on these devices."""
    asked = {"number": 0, "proposed_by": "default", "hparams": {}, "seed": 0}
    events: list[dict[str, Any]] = [
        {"event": "session_started", "time": 0.0},
        {"event": "trial_asked", "trial": "trial-0000", "time": 0.0, **asked},
        *(epoch(window, joules) for window, joules in reports.items()),
        {"event": "devices_read", "rows": devices, "is_final": True, "time": 1.0},
    ]
    ended = [{"event": "run_ended", "reason": "done", "time": 1.0}] if is_over else []
    return History([*events, *ended])


def problems(record: History) -> list[str]:
    text = csv_text(DEVICE_COLUMNS, device_rows(record))
    devices = list(csv.DictReader(text.splitlines()))
    is_over = record.ended is not None
    return check_energy([], [], devices, reported=reported_mj(record), is_over=is_over).problems


def shown(record: History) -> list[tuple[float, float, str]]:
    return [
        (row["energy_trials_j"], row["energy_unaccounted_j"], row.get("reason", ""))
        for row in device_rows(record)
    ]


def test_an_attempt_that_died_with_its_node_before_its_first_epoch_is_unaccounted_with_the_reason() -> None:
    record = history(device("one", 10), device("two", 7, is_lost=True), reports={"one/01/t#0": 10})
    reason = "7.0 J were of attempts that ended with their meter and never reported them"
    assert shown(record) == [(10, 0.0, ""), (0.0, 7.0, reason)]
    assert reported_mj(record) == {("one", "gpu"): 10_000}


def test_what_an_attempt_reported_before_its_node_was_lost_stays_its_trials() -> None:
    record = history(device("two", 7, is_lost=True), reports={"two/01/t#0": 5})
    assert [row[:2] for row in shown(record)] == [(5.0, 2.0)]
    assert problems(record) == []


def test_an_epoch_reported_after_the_last_reading_is_left_as_it_is() -> None:
    record = history(device("two", 7, is_lost=True), reports={"two/01/t#0": 9})
    assert shown(record) == [(7, 0.0, "")]
    assert problems(record) == []


def test_nothing_is_lost_while_the_run_continues() -> None:
    record = history(device("two", 7, is_lost=True), reports={"two/01/t#0": 5}, is_over=False)
    assert shown(record) == [(7, 0.0, "")]
    assert problems(record) == []


@pytest.mark.parametrize("given_j", [9.0, 11.0])
def test_a_lost_node_explains_nothing_of_another_one(given_j: float) -> None:
    record = history(
        device("one", given_j), device("two", 7, is_lost=True), reports={"one/01/t#0": 10, "two/01/t#1": 7}
    )
    expected = f"gpu of node one, closed: devices gave {given_j} J to trials, which report 10 J"
    assert problems(record) == [expected]


def test_windows_that_name_no_node_are_compared_all_together() -> None:
    record = history(device("one", 7, is_lost=True), reports={"t#0": 5})
    assert reported_mj(record) is None
    assert shown(record) == [(7, 0.0, "")]


def test_what_a_killed_session_lost_counts_against_the_limit_until_it_is_reported() -> None:
    record = history(reports={"two/01/t#0": 5}, is_over=False)
    record.apply({"event": "devices_read", "rows": [device("two", 7)], "is_final": False, "time": 1.0})
    assert lost_mj(record) == 0  # it may still be reported
    record.apply({"event": "session_started", "time": 2.0})
    account = EnergyAccount(NoMetering(), lambda kind, trial, **content: None, lambda: 0.0)
    account.begin(record)
    assert lost_mj(record) == 2000
    assert account.spent_j(record) == 8.0  # 5 J of the row, 2 J of the killed epoch, 1 J of idling
    assert outcome_millijoules(record) == {"running": 5000, "lost": 2000, "idle": 1000}
    record.apply(epoch("two/01/t#0", 1.5))  # from its checkpoint, which was written before the kill
    assert account.spent_j(record) == 8.0
