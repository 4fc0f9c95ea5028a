"""The runs of a folder as rows."""

from __future__ import annotations

import json
import os
import platform
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from search.backends.local import execute_here
from search.ledger import Ledger
from search.promotion import chosen, full_training, proposals
from search.run import Run
from search.sampling.proposal import FixedList
from search.tariff import JOULES_PER_KWH
from search.ui.runs import Runs
from tests.support.processes import ended_process
from tests.support.toy_runs import TOY, SteadyMeter, as_searched, made_space, sampler_for

PRICED = TOY.replace("limits:", "report: {gco2_per_kwh: 300, price_per_kwh: 0.25, currency: EUR}\n  limits:")


def searched(results: Path, name: str, text: str = TOY) -> Run:
    """A run of 12 trials that ended."""
    run = begun(results, name, text)
    execute_here(run, SteadyMeter())
    return run


def begun(results: Path, name: str, text: str = TOY) -> Run:
    results.mkdir(exist_ok=True)
    space, ledger = made_space(results, text), Ledger.create(results / name)
    as_searched(space, ledger)
    return Run(space, sampler_for(space), ledger)


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return searched(tmp_path_factory.mktemp("ended"), "priced", PRICED)


@pytest.fixture
def results(tmp_path: Path, ended: Run) -> Path:
    """A folder with a copy of the ended run."""
    shutil.copytree(ended.ledger.folder, tmp_path / "results" / "priced")
    return tmp_path / "results"


def runs_in(results: Path) -> Runs:
    return Runs(results, file=results.parent / "rows.json")


def scanned(runs: Runs) -> Runs:
    while runs.scan():
        pass
    return runs


def states(runs: Runs) -> dict[str, str]:
    return {row.name: row.state for row, _ in scanned(runs).since(-1)[0]}


def texts(runs: Runs, name: str) -> dict[str, str]:
    found = scanned(runs).row(name)
    assert found
    return {column: cell.text for column, cell in found[0].cells.items()}


def test_a_row_has_what_the_run_found_and_what_it_cost(results: Path, ended: Run) -> None:
    row = texts(runs_in(results), "priced")
    best = ended.ranking.configurations()[0]
    default = ended.history.trials["trial-0000"].value_at("val_accuracy", best.rung)
    joules = ended.history.reported_mj / 1000
    kwh = joules / JOULES_PER_KWH
    assert row["trials"] == "12 of 12"
    assert row["best"] == f"{best.mean:.4g} val_accuracy"
    assert row["gain"] == f"{best.mean - default:+.3g}"
    assert row["epochs"] == str(sum(len(trial.rows) for trial in ended.history.trials.values()))
    assert row["kwh"] == f"{kwh:.3g}"
    assert row["co2e"] == f"{kwh * 300:.3g}"
    assert row["cost"] == f"{kwh * 0.25:.3g} EUR"
    assert row["space"] == "made"


def test_what_is_unknown_is_empty_and_says_why(results: Path) -> None:
    shutil.rmtree(results / "priced")
    searched(results, "plain")
    found = scanned(runs_in(results)).row("plain")
    assert found
    assert [found[0].cells[name].text for name in ("co2e", "cost")] == ["", ""]
    assert found[0].cells["co2e"].order is None
    assert found[0].cells["co2e"].hint == "unknown: search.report.region is not set"
    assert found[0].cells["cost"].hint == "unknown: search.report.price_per_kwh is not set"


def test_a_run_goes_from_running_to_ended_to_promoted(results: Path) -> None:
    run, runs = begun(results, "live"), runs_in(results)
    assert states(runs) == {"live": "running", "priced": "ended"}
    found = runs.row("live")
    assert found
    last = datetime.fromtimestamp(run.ledger.events()[-1]["time"], UTC)
    assert found[0].detail == f"last written {last:%Y-%m-%d %H:%M:%S} UTC"
    execute_here(run, SteadyMeter())
    assert states(runs) == {"live": "ended", "priced": "ended"}
    ledger = Ledger.create(run.ledger.promotion_folder)
    trials = chosen(run.history, run.space, top=1)
    promotion = Run(full_training(run.space), FixedList(proposals(trials, (5, 6))), ledger, should_test=True)
    assert states(runs)["live"] == "promoting"
    execute_here(promotion, SteadyMeter())
    assert states(runs)["live"] == "promoted"


def test_a_killed_run_is_told_from_a_running_one(results: Path) -> None:
    run, runs = begun(results, "live"), runs_in(results)
    run.ledger.lock_file.write_bytes(b"\xff\xfe")
    assert states(runs)["live"] == "running"
    pid = ended_process()
    run.ledger.lock_file.write_text(f"process {pid} on {platform.node()}")
    assert states(runs)["live"] == "killed"  # no line was added to its journal
    found = runs.row("live")
    assert found
    assert found[0].detail == (
        f"process {pid} was killed before the run ended; run its command again to resume"
    )


def test_a_damaged_run_is_listed_with_its_reason_beside_the_others(results: Path) -> None:
    shutil.copytree(results / "priced", results / "broken")
    journal = results / "broken" / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([*lines[:5], lines[5].replace(b"trial", b"tryal", 1), *lines[6:]]))
    shutil.copytree(results / "priced", results / "spaceless")
    (results / "spaceless" / "space.yaml").unlink()
    (results / "strange").mkdir()
    (results / "strange" / "journal.jsonl").write_bytes(b"\x00\xff")
    runs = runs_in(results)
    assert states(runs) == {
        "broken": "damaged", "priced": "ended", "spaceless": "damaged", "strange": "damaged"
    }  # fmt: skip
    rows = {row.name: row.detail for row, _ in runs.since(-1)[0]}
    assert "line 6 was changed after it was written" in rows["broken"]
    assert "space.yaml" in rows["spaceless"]
    journal.write_bytes(b"".join(lines))  # put back
    assert states(runs)["broken"] == "ended"


def test_a_run_whose_folder_no_command_can_name_is_listed_with_that(results: Path) -> None:
    (results / "priced").rename(results / "-old")
    runs = runs_in(results)
    assert states(runs) == {"-old": "damaged"}
    found = runs.row("-old")
    assert found
    assert found[0].detail.startswith("its folder has a name that no run can have")


def test_only_what_changed_is_told_again(results: Path) -> None:
    shutil.copytree(results / "priced", results / "other")
    runs = scanned(runs_in(results))
    version = runs.version
    assert runs.since(version) == ([], [])
    scanned(runs)
    assert runs.version == version
    with (results / "other" / "journal.jsonl").open("ab") as file:
        file.write(b'{"time"')  # a torn line: read, and no event
    assert [row.name for row, _ in scanned(runs).since(version)[0]] == ["other"]
    version = runs.version
    shutil.rmtree(results / "priced")
    assert scanned(runs).since(version) == ([], ["priced"])


def test_a_second_start_reads_no_journal_that_did_not_change(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        shutil.copytree(results / "priced", results / f"run-{number}")
    first = scanned(runs_in(results))
    before = {row.name: row for row, _ in first.since(-1)[0]}
    with (results / "run-3" / "journal.jsonl").open("ab") as file:
        file.write(b"{")
    read: list[str] = []
    real = Runs._read

    def reading(self: Runs, known: object) -> None:
        read.append(known.row.name)  # type: ignore[attr-defined]
        real(self, known)  # type: ignore[arg-type]

    monkeypatch.setattr(Runs, "_read", reading)
    again = scanned(runs_in(results))
    assert read == ["run-3"]
    assert {row.name: row for row, _ in again.since(-1)[0]} == before


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"layout": 0}', '{"layout": 2, "rows": {"priced": [1]}}']
)
def test_kept_rows_that_cannot_be_read_are_made_again(results: Path, content: str) -> None:
    (results.parent / "rows.json").write_text(content)
    assert states(runs_in(results)) == {"priced": "ended"}
    assert json.loads((results.parent / "rows.json").read_text())["rows"].keys() == {"priced"}


def test_a_running_run_is_never_kept(results: Path) -> None:
    begun(results, "live")
    scanned(runs_in(results))
    assert json.loads((results.parent / "rows.json").read_text())["rows"].keys() == {"priced"}


def test_the_newest_run_is_read_first_and_a_scan_ends_in_time(results: Path) -> None:
    for number in range(4):
        folder = shutil.copytree(results / "priced", results / f"run-{number}")
        os.utime(folder / "journal.jsonl", ns=(0, (number + 1) * 10**9))
    shutil.rmtree(results / "priced")
    now = [0.0]

    def clock() -> float:
        now[0] += 0.2
        return now[0]

    runs = Runs(results, clock=clock, file=results.parent / "rows.json")
    assert runs.scan()
    read = {row.name for row, _ in runs.since(-1)[0] if row.state == "ended"}
    assert read == {"run-2", "run-3"}
    assert runs.num_unread == 2
    assert not scanned(runs).num_unread


def test_a_folder_that_is_gone_has_no_runs(tmp_path: Path) -> None:
    assert states(runs_in(tmp_path / "nowhere")) == {}
