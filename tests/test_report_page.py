"""The page of a run: what it says, and that it needs and trusts nothing but itself."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest
from made_runs import TOY, SteadyMeter, executed, fateful_space, listed, made_space, sampler_for

from search.energy import EnergyReading, EnergySources
from search.forecast import Forecast, Span
from search.ledger import Ledger
from search.ledger.history import TrialRecord
from search.promotion import chosen, full_training, proposals
from search.report.chart import Chart
from search.report.gain import gain_sentence
from search.report.page import write_comparison, write_page
from search.report.page.edges import edge_of, edge_sentence
from search.report.page.facts import Facts, read_facts
from search.report.page.figure import plotly_figure
from search.report.page.parts import Table
from search.report.page.render import json_for_script, rendered
from search.report.page.verdict import advice, trust_sentence, verdict
from search.report.page.writing import sections_of
from search.run import Run
from search.run.in_process import execute_here
from search.sampling.proposal import FixedList
from search.space import Choice, Integer, Normal, Real, dump_space
from search.trust import Correlation, RungTrust

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"


class Page(HTMLParser):
    """What a browser makes of a page, as far as these tests ask."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        while tag in self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "script":
            self.scripts[-1] += data
        elif "style" not in self._open:
            self.text += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def toy_run(folder: Path, overrides: tuple[str, ...] = ()) -> Run:
    """A run of 12 trials with joules, as it lies on disk."""
    folder.mkdir(exist_ok=True)
    run, _ = executed(made_space(folder, TOY, overrides), folder)
    dump_space(run.space, run.ledger.space_file)
    return run


def fateful_run(folder: Path, *points: dict[str, Any]) -> Run:
    run, _ = executed(fateful_space(folder), folder, listed(*points))
    dump_space(run.space, run.ledger.space_file)
    return run


def promoted(run: Run, *, top: int = 1, seeds: tuple[int, ...] = (5, 6, 7)) -> Run:
    """The promotion of the best of `run`, executed."""
    trials = chosen(run.history, run.space, top=top)
    ledger = Ledger.create(run.ledger.promotion_folder)
    promotion = Run(full_training(run.space), FixedList(proposals(trials, seeds)), ledger, should_test=True)
    execute_here(promotion, SteadyMeter())
    return promotion


def page_of(run: Run) -> Page:
    return Page(write_page(run.ledger.folder, should_draw=False).path.read_text())


def sections(run: Run) -> dict[str, Any]:
    return {section.key: section for section in sections_of(read_facts(run.ledger.folder))}


def words(section: Any) -> str:
    return "\n".join(part.text for part in section.parts if part.kind == "text")


def charts(run: Run) -> dict[str, Chart]:
    parts = [part for section in sections(run).values() for part in section.parts]
    return {part.key: part for part in parts if isinstance(part, Chart)}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return toy_run(tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def page(run: Run) -> Page:
    return page_of(run)


def test_the_table_holds_every_trial_in_its_rank(run: Run) -> None:
    (table,) = [part for part in sections(run)["trials"].parts if isinstance(part, Table)]
    assert [row[0].text for row in table.rows] == [str(rank) for rank in range(1, 13)]
    names = [row[1].text.removesuffix(" (default)") for row in table.rows]
    assert names == [trial.trial_id for trial in run.ranked()]
    assert list(table.columns[-2:]) == ["lr", "batch_size"]


def test_every_trial_and_every_section_stands_in_the_page(run: Run, page: Page) -> None:
    assert all(trial_id in page.text for trial_id in run.history.trials)
    assert [attributes["id"] for attributes in page.of("section")] == [
        *("summary", "winner", "trials", "history", "parameters", "energy", "trust"),
        *("failures", "environment", "commands"),
    ]


def test_nothing_is_loaded_and_nothing_leads_away(page: Page) -> None:
    loads = [attributes.get(name) for _, attributes in page.tags for name in ("src", "href", "action")]
    assert {load.split(":")[0][0] for load in loads if load} <= {"#", "d"}  # an anchor here, or data
    assert not page.of("iframe") + page.of("object")
    ours = page.scripts[-1]
    assert not re.search(r"https?:|fetch\(|XMLHttpRequest|import\(", ours)


def test_the_policy_forbids_all_loads_and_all_scripts_but_these_two(page: Page) -> None:
    (policy,) = [a["content"] for a in page.of("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    kinds = [attributes.get("type") for attributes in page.of("script")]
    run_scripts = [s for s, kind in zip(page.scripts, kinds, strict=True) if kind is None]
    hashes = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in run_scripts]
    assert policy == (
        "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src "
        + " ".join(f"'sha256-{each}'" for each in hashes)
    )
    assert len(hashes) == 2
    assert "Plotly" in run_scripts[0]


def test_plotly_stands_in_the_page_once(page: Page) -> None:
    assert sum(len(script) > 1_000_000 for script in page.scripts) == 1


def test_a_page_without_plots_does_not_carry_plotly(tmp_path: Path) -> None:
    empty = fateful_run(tmp_path, {"fate": "raise"})
    assert len(write_page(empty.ledger.folder, should_draw=False).path.read_bytes()) < 50_000


def test_names_of_trials_and_parameters_do_not_become_tags(tmp_path: Path) -> None:
    hostile = fateful_run(tmp_path, {"fate": "fine"}, {"fate": "fine", "score": 0.7})
    journal = hostile.ledger.journal
    journal.write_text(journal.read_text().replace("trial-0001", json.dumps(HOSTILE)[1:-1]))
    journal.write_text(journal.read_text().replace('"fate"', json.dumps(HOSTILE)))
    page = page_of(hostile)
    assert HOSTILE in page.text
    assert not [attributes for attributes in page.of("img") if attributes.get("src") == "x"]
    figures = len([a for a in page.of("script") if a.get("type") == "application/json"])
    assert len(page.of("script")) == figures + 2
    figure = next(script for script in page.scripts if "\\u0026lt;" in script)
    assert "&lt;/script&gt;" in str(json.loads(figure))


def test_json_in_a_script_cannot_end_it() -> None:
    assert str(json_for_script({"name": "</script>&"})) == '{"name":"\\u003c/script\\u003e\\u0026"}'
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_for_script([float("nan")])


def test_columns_sort_by_keyboard_too_and_numbers_as_numbers(page: Page) -> None:
    table = page.of("table")[0]
    assert table["class"] == "sortable"
    assert {attributes["type"] for attributes in page.of("button")} == {"button"}
    script = page.scripts[-1]
    assert 'setAttribute("aria-sort"' in script
    assert 'addEventListener("click"' in script
    orders = [a["data-order"] for a in page.of("td") if a.get("class") == "number"]
    assert len([float(order) for order in orders if order]) == len(orders)


def test_every_figure_is_one_that_plotly_accepts_and_has_titles(run: Run) -> None:
    found = charts(run)
    assert set(found) == {
        *("history_epochs", "history_trials", "curves", "importance", "parallel"),
        *("slice_1_lr", "slice_2_batch_size", "energy_front", "energy_outcome", "trust"),
    }
    for chart in found.values():
        go.Figure(plotly_figure(chart))
        assert chart.title
        assert chart.x.title
        assert chart.y.title or chart.y.ticks


def test_the_best_over_epochs_ends_with_the_trial_that_ranks_first(run: Run) -> None:
    line, *points = charts(run)["history_epochs"].series
    best = run.best()
    assert best is not None
    assert line.y[-1] == best.value("val_accuracy")
    assert sum(len(series.x) for series in points) == sum(
        row.ended_rung is not None for trial in run.history.trials.values() for row in trial.rows
    )
    assert line.x[-1] == sum(len(trial.rows) for trial in run.history.trials.values())


def test_curves_have_a_colour_for_each_rung(run: Run) -> None:
    series = charts(run)["curves"].series
    assert [each.name for each in series] == ["rung 0 (1 epoch)", "rung 1 (3 epochs)", "rung 2 (9 epochs)"]
    assert len({each.colour for each in series}) == 3


def test_a_few_epochs_have_a_tick_each(run: Run) -> None:
    assert plotly_figure(charts(run)["curves"])["layout"]["xaxis"]["dtick"] == 1
    assert "dtick" not in plotly_figure(charts(run)["history_epochs"])["layout"]["xaxis"]


def rung_trust(value: float, low: float, high: float) -> RungTrust:
    return RungTrust(
        rung=0, num_trials=9, num_audited=1, overall=Correlation(value, low, high), better_half=None
    )


@pytest.mark.parametrize(
    ("trust", "sentence"),
    [
        (rung_trust(0.9, 0.7, 1.0), "Cheap scores can be trusted here: "),
        (rung_trust(0.1, -0.2, 0.4), "Cheap scores are in doubt: rung 0 ranks 9 trials unlike rung 1 "),
        (rung_trust(0.1, -0.8, 0.9), "Whether cheap scores can be trusted is open: too few to tell whether "),
    ],
)
def test_trust_is_given_doubted_or_left_open(run: Run, trust: RungTrust, sentence: str) -> None:
    facts = read_facts(run.ledger.folder)
    vars(facts)["trust"] = [trust]
    assert trust_sentence(facts).startswith(sentence)


@pytest.mark.parametrize(
    ("parameter", "value", "edge"),
    [
        (Real(1e-4, 1.0, log=True), 0.9, "upper"),
        (Real(1e-4, 1.0, log=True), 0.5, None),
        (Real(1e-4, 1.0, log=True), 1e-4, "lower"),
        (Real(0.0, 1.0), 0.5, None),
        (Integer(1, 200), 200, "upper"),
        (Choice((64, 16, 32)), 16, "lower"),
        (Choice((64, 16, 32)), 32, None),
        (Choice(("sgd", "adam", "lion")), "sgd", None),
        (Normal(0.0, 1.0), 9.0, None),
    ],
)
def test_an_edge_is_where_a_range_in_its_own_scale_ends(parameter: Any, value: Any, edge: str | None) -> None:
    assert edge_of(parameter, value) == edge


def test_the_sentence_on_an_edge_says_what_to_do() -> None:
    assert edge_sentence("lr") == "best point lies on the edge of lr: widen it"


def test_a_slice_marks_the_ends_of_the_space_on_the_space_s_own_scale(run: Run) -> None:
    lr, batch_size = charts(run)["slice_1_lr"], charts(run)["slice_2_batch_size"]
    assert lr.x.is_log
    assert [(mark.at, mark.text) for mark in lr.marks] == [(1e-4, "lower end"), (1.0, "upper end")]
    assert [at for at, _ in batch_size.x.ticks] == [16, 32, 64, 128]


def test_a_best_point_at_an_end_is_warned_of(tmp_path: Path) -> None:
    space = made_space(tmp_path)
    points = [{"lr": 1.0, "batch_size": 64, "noise": 0.0}, {"lr": 1e-4, "batch_size": 64, "noise": 0.0}]
    edged, _ = executed(space, tmp_path, listed(*points))
    dump_space(space, edged.ledger.space_file)
    assert (
        words(sections(edged)["parameters"]).splitlines()[0] == "best point lies on the edge of lr: widen it"
    )


def test_energy_by_outcome_adds_up_to_the_trials(run: Run) -> None:
    table = next(part for part in sections(run)["energy"].parts if isinstance(part, Table))
    total_j = sum(trial.energy.total_mj or 0 for trial in run.history.trials.values()) / 1000
    assert sum(float(row[1].order or 0) for row in table.rows) == pytest.approx(total_j)


class BlindMeter(SteadyMeter):
    """Knows no sensor."""

    sources = EnergySources(reason="cpu: no RAPL package")

    def read(self) -> EnergyReading:
        return EnergyReading()


def test_without_a_sensor_energy_is_left_out_with_the_reason(tmp_path: Path) -> None:
    ledger = Ledger.create(tmp_path / "run")
    blind = Run(made_space(tmp_path), sampler_for(made_space(tmp_path)), ledger)
    execute_here(blind, BlindMeter())
    dump_space(blind.space, ledger.space_file)
    reason = "cpu: no RAPL package"
    found = sections(blind)
    assert words(found["energy"]) == f"Left out: nothing measured the joules of this run ({reason})."
    (table,) = [part for part in found["trials"].parts if isinstance(part, Table)]
    energy = table.columns.index("energy (J)")
    assert {(row[energy].text, row[energy].hint) for row in table.rows} == {("", reason)}


def test_failures_come_with_cause_and_remedy_and_the_rest_of_the_page_says_why_it_is_empty(
    tmp_path: Path,
) -> None:
    failed = fateful_run(tmp_path, {"fate": "raise"}, {"fate": "diverge"})
    found = sections(failed)
    (table,) = [part for part in found["failures"].parts if isinstance(part, Table)]
    assert [(row[0].text, row[1].text, row[5].text) for row in table.rows] == [
        ("trial-0000", "crash", "KeyError: 'a mistake in the training code'"),
        ("trial-0001", "diverged", "Diverged: loss became nan in epoch 1, step 3"),
    ]
    assert table.rows[0][6].text.startswith("read the traceback in the log; repeat it in one process: ")
    assert words(found["failures"]).startswith(
        "2 of 2 ended trials failed or diverged: a success rate of 0.000."
    )
    assert words(found["history"]).startswith("No trial has ended a rung with a score")
    assert words(found["parameters"]).startswith("0 of 2 trials have a score")
    assert words(found["summary"]).startswith("No trial has a score.")


def test_a_knob_without_effect_is_warned_of_once(run: Run) -> None:
    for trial in (facts := read_facts(run.ledger.folder)).trials[:5]:
        trial.notes["no effect of momentum"] = "adamw has none"
    (failures,) = [section for section in sections_of(facts) if section.key == "failures"]
    warned = [part.text for part in failures.parts if part.kind == "text" and part.is_warning]
    assert warned == ["no effect of momentum: adamw has none (trial-0000, trial-0001, trial-0002 and 2 more)"]


def test_trials_that_differ_and_train_alike_are_warned_of(tmp_path: Path) -> None:
    space = made_space(tmp_path, TOY, ["search.scheduler.mode=none"])
    points = [{"lr": 0.1, "batch_size": 64, "noise": 0.0}, {"lr": 0.05, "batch_size": 32, "noise": 0.0}]
    alike, _ = executed(space, tmp_path, listed(*points))
    dump_space(space, alike.ledger.space_file)
    (warned,) = [
        part.text for part in sections(alike)["failures"].parts if getattr(part, "is_warning", False)
    ]
    assert warned.startswith(
        "trial-0000, trial-0001 trained identically for 9 epochs although they differ in lr (0.1, 0.05), "
        "batch_size (64, 32)"
    )


def test_before_a_promotion_the_search_s_own_lead_is_no_gain(run: Run) -> None:
    facts = read_facts(run.ledger.folder)
    best, default = facts.best, facts.default
    assert best is not None
    assert default is not None
    rung = max(rung for rung in range(3) if default.value_at("val_accuracy", rung) is not None)
    ours, its = best.value_at("val_accuracy", rung), default.value_at("val_accuracy", rung)
    assert ours is not None
    assert its is not None
    assert verdict(facts)[1] == (
        f"At {facts.rung_name(rung)} the default configuration has {its:.4g} and the best {ours:.4g}: "
        f"{ours - its:+.4g}, of one seed each and chosen for it, so not yet a gain."
    )
    assert advice(facts)[0].endswith(f"python scripts/promote.py {run.ledger.folder} --top 3")
    assert "Nothing has been promoted yet" in words(sections(run)["winner"])


def gain_row(mean: float, low: float | None, high: float | None, said: str) -> dict[str, Any]:
    ends = {"gain_mean": mean, "gain_low": low, "gain_high": high}
    return {"trial_id": "trial-0007", "is_default": False, "num_seeds": 3, "verdict": said, **ends}


def test_the_verdict_of_a_promotion_calls_a_tie_a_tie() -> None:
    assert gain_sentence(gain_row(0.018, 0.009, 0.027, "better"), "val_accuracy") == (
        "trial-0007 is better than the default configuration by 0.018 in accuracy on test "
        "(95 % interval 0.009 to 0.027, 3 seeds)."
    )
    assert gain_sentence(gain_row(0.001, -0.003, 0.005, "tie"), "val_accuracy") == (
        "A tie: full training cannot tell trial-0007 from the default configuration. The gain is "
        "+0.001 in accuracy on test (95 % interval -0.003 to 0.005, 3 seeds), and 0 lies in the interval."
    )
    assert gain_sentence(gain_row(-0.02, -0.03, -0.01, "worse"), "val_accuracy").startswith(
        "trial-0007 is worse than the default configuration by 0.02 in accuracy on test"
    )
    assert gain_sentence(gain_row(0.01, None, None, "one seed"), "val_accuracy") == (
        "trial-0007 is ahead of the default by 0.01 in accuracy on test, on one seed: that may be chance."
    )


def test_a_promotion_shows_gain_mistakes_and_hardest_classes(tmp_path: Path) -> None:
    searched = toy_run(tmp_path)
    folder = promoted(searched).ledger.trial_folder("trial-0000")
    (folder / "per_class.csv").write_text(
        "label,num_images,accuracy,precision,f1\na,5,0.8,1,0.9\nb,5,0.2,,\n"
    )
    (folder / "confused_pairs.csv").write_text("label,predicted,num_images,share\nb,a,4,0.8\n")
    (folder / "mistakes.csv").write_text("image,label,predicted,score,label_score\n17,b,a,0.98,0.01\n")
    (folder / "mistakes").mkdir()
    png = base64.b64decode(
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII="
    )
    (folder / "mistakes" / "01.png").write_bytes(png)
    winner = sections(searched)["winner"]
    tables = {part.caption: part for part in winner.parts if isinstance(part, Table)}
    assert [row[0].text for row in tables["Hardest classes of the test set"].rows] == ["b", "a"]
    assert [row[1].text for row in tables["Most confused pairs"].rows] == ["a"]
    assert {row[1].text for row in tables["Promoted configurations, ranked by validation"].rows} >= {
        "trial-0000 (default)"
    }
    (pictures,) = [part for part in winner.parts if part.kind == "pictures"]
    assert [picture.caption for picture in pictures.pictures] == ["17: b taken for a (0.98)"]
    assert "gain" in charts(searched)
    sources = {attributes["src"] for attributes in page_of(searched).of("img")}
    assert f"data:image/png;base64,{base64.b64encode(png).decode()}" in sources


def test_a_forecast_stands_beside_what_came_true(tmp_path: Path) -> None:
    searched = toy_run(tmp_path, ("search.limits.trials=2",))
    assert "forecast" not in words(sections(searched)["summary"])
    span = Span(3.0, 4.0, 5.0)
    told = Forecast(
        num_trials=span, epochs=span, rung_epochs=(), rung_trials=(), seconds=None, kwh=None,
        disk_gib=None, reason="2 trials", is_endless=False, source="here",
    )  # fmt: skip
    searched.ledger.write_json("forecast.json", told.to_dict())
    num_epochs = sum(len(trial.rows) for trial in searched.history.trials.values())
    sentence = f"Against its forecast it took {num_epochs} epochs (4, 3 to 5)."
    assert sentence in words(sections(searched)["summary"]).splitlines()


def test_a_detector_has_its_hardest_classes_too(tmp_path: Path) -> None:
    searched = toy_run(tmp_path, ("search.limits.trials=2",))
    folder = promoted(searched, seeds=(5,)).ledger.trial_folder("trial-0000")
    (folder / "average_precision.csv").write_text(
        "label,category_id,num_objects,ap,ar_100\ncat,1,9,0.6,0.7\ndog,2,4,0.25,0.5\nowl,3,0,,\n"
    )
    tables = [part for part in sections(searched)["winner"].parts if isinstance(part, Table)]
    assert [[cell.text for cell in row] for row in tables[-1].rows] == [
        ["dog", "4", "0.25", "0.5"],
        ["cat", "9", "0.6", "0.7"],
    ]


def test_commands_to_repeat_are_whole_and_no_links(run: Run, page: Page) -> None:
    folder = run.ledger.folder
    assert f"python scripts/promote.py {folder} --top 3" in page.text
    assert f"python scripts/search.py --space {folder}/space.yaml --name run-again" in page.text
    assert f"python scripts/search.py --rerun-failed {folder}" in page.text
    assert all((attributes["href"] or "").startswith("#") for attributes in page.of("a"))


def test_each_plot_has_its_png(run: Run) -> None:
    written = write_page(run.ledger.folder)
    assert written.warnings == []
    drawn = {path.stem: path.read_bytes()[:4] for path in (run.ledger.folder / "plots").glob("*.png")}
    assert drawn == dict.fromkeys(charts(run), b"\x89PNG")


def test_two_runs_stand_on_one_page_with_what_differs_between_their_spaces(run: Run, tmp_path: Path) -> None:
    other = toy_run(tmp_path / "b", ("search.limits.trials=6", "parameters.lr.max=0.5"))
    out = tmp_path / "both.html"
    write_comparison(run.ledger.folder, other.ledger.folder, out)
    page = Page(out.read_text())
    assert len(page.of("tr")) == 1 + 2 + 1 + 12 + 1 + 6 + 1 + 2
    assert "parameters.lr.max" in page.text
    assert "search.limits.trials" in page.text
    assert "search.seed" not in page.text
    assert (tmp_path / "both-plots" / "compare_epochs.png").is_file()


def test_runs_of_two_metrics_share_no_axis(run: Run, tmp_path: Path) -> None:
    from search.report.page.compare import comparison

    one = read_facts(run.ledger.folder)
    other = read_facts(toy_run(tmp_path / "b", ("search.limits.trials=2",)).ledger.folder)
    object.__setattr__(other.space, "metric", "val_loss")
    (best,) = [section for section in comparison(one, other) if section.key == "history"]
    assert words(best) == "Left out: one run is judged by val_accuracy and the other by val_loss."


def test_a_run_that_goes_on_says_so_and_its_page_loads_itself_again(tmp_path: Path) -> None:
    space = made_space(tmp_path)
    going_on = Run(space, sampler_for(space), Ledger.create(tmp_path / "run"))
    dump_space(space, going_on.ledger.space_file)
    written = write_page(going_on.ledger.folder, refresh_s=5, should_draw=False)
    assert not written.is_over
    page = Page(written.path.read_text())
    assert [a["content"] for a in page.of("meta") if a.get("http-equiv") == "refresh"] == ["5"]
    assert "The run goes on, or was killed" in page.text


def test_the_page_of_an_ended_run_does_not_load_itself_again(run: Run) -> None:
    text = write_page(run.ledger.folder, refresh_s=5, should_draw=False).path.read_text()
    assert 'http-equiv="refresh"' not in text


def test_texts_of_a_page_are_escaped() -> None:
    text = rendered(HOSTILE, HOSTILE, [])
    assert HOSTILE not in text
    assert "&lt;/script&gt;&lt;script&gt;alert(1)" in text


def test_facts_of_a_run_without_environment_are_read(run: Run) -> None:
    facts = read_facts(run.ledger.folder)
    assert isinstance(facts, Facts)
    assert all(isinstance(trial, TrialRecord) for trial in facts.trials)
    assert words(sections(run)["environment"]).startswith("environment.json is not there")
