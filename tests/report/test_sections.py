"""What the sections of a run's page say."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from search.backends.local import execute_here
from search.energy.reading import EnergyReading, EnergySensors
from search.forecast import Forecast, Span
from search.ledger import Ledger
from search.ledger.history import TrialRecord
from search.rank_correlation import Correlation, RungCorrelation
from search.report.charts.chart import Chart
from search.report.page.bounds import beyond, bound_sentence, reached_bound
from search.report.page.conclusion import advice, conclusion, rank_correlation_sentence
from search.report.page.data import data_section
from search.report.page.elements import Figures, Pairs, Points, Table
from search.report.page.run_data import RunData, read_run
from search.report.page.winner import winner_section
from search.report.page.writer import sections_of
from search.run import Run
from search.sampling.designs import designed
from search.sampling.proposal import FixedList
from search.space import Choice, Integer, Normal, Real, dump_space
from tests.support.report_pages import charts, fateful_run, page_of, promoted, sections, toy_run, words
from tests.support.toy_runs import (
    FATEFUL,
    TOY,
    SteadyMeter,
    as_searched,
    defaults_of,
    executed,
    listed,
    made_space,
    sampler_for,
)
from trainables.core.contract import Mode
from trainables.core.data_summary import DataSummary, LeftOut


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return toy_run(tmp_path_factory.mktemp("page"))


def test_the_table_holds_every_trial_in_its_rank(run: Run) -> None:
    (table,) = [part for part in sections(run)["trials"].elements if isinstance(part, Table)]
    assert [row[0].text for row in table.rows] == [str(rank) for rank in range(1, 13)]
    names = [row[1].text.removesuffix(" (default)") for row in table.rows]
    assert names == [trial.trial_id for trial in run.ranking.ranked()]
    assert list(table.columns) == [
        *("rank", "trial", "val_accuracy", "lr", "batch_size", "rung", "epochs", "state", "time (s)"),
        "energy (J)",
    ]


def correlation(value: float, low: float, high: float) -> RungCorrelation:
    return RungCorrelation(
        rung=0, num_trials=9, num_control_trials=1, overall=Correlation(value, low, high), better_half=None
    )


def test_the_page_says_what_was_found_in_the_data(run: Run) -> None:
    found = DataSummary(
        num_examples=3,
        classes={"cat": 1, "dog": 2},
        parts={"train": 1, "val": 1, "test": 1},
        left_out=(LeftOut(reason="dead link", count=1, names=("cat/a.jpg",)),),
    )
    run_data = read_run(run.ledger.folder)
    seen = data_section(replace(run_data, environment={"data": json.loads(json.dumps(found.to_dict()))}))
    pairs, _, points, chart, table = seen.elements
    assert isinstance(pairs, Pairs)
    assert isinstance(points, Points)
    assert isinstance(chart, Chart)
    assert isinstance(table, Table)
    assert [(label.text, label.x) for label in chart.labels] == [("2", 2.0), ("1", 1.0)]
    assert list(pairs.pairs) == [
        ("found", "3 images of 2 classes: 1 (cat) to 2 (dog)"),
        ("parts", "1 train, 1 val, 1 test"),
    ]
    assert list(points.points) == ["left out, dead link: 1 (cat/a.jpg)"]
    assert [[cell.text for cell in row] for row in table.rows] == [["dog", "2"], ["cat", "1"]]
    noted = data_section(replace(run_data, environment={"data": ["80 pairs of 40 sources"]}))
    assert noted.elements == [Points(points=["80 pairs of 40 sources"])]
    unseen = data_section(replace(run_data, environment={}))
    assert "was not checked before this run" in unseen.elements[0].text


@pytest.mark.parametrize(
    ("correlated", "sentence"),
    [
        (correlation(0.9, 0.7, 1.0), "Cheap scores can be trusted here: "),
        (
            correlation(0.6, -1.0, 1.0),
            "Whether cheap scores can be trusted is open: no rung looks wrong, ",
        ),
        (
            correlation(0.1, -0.2, 0.4),
            "Cheap scores are in doubt: rung 0 ranks 9 trials unlike rung 1 ",
        ),
        (
            correlation(0.1, -0.8, 0.9),
            "Whether cheap scores can be trusted is open: too few to tell whether ",
        ),
    ],
)
def test_cheap_scores_are_trusted_doubted_or_left_open(
    run: Run, correlated: RungCorrelation, sentence: str
) -> None:
    run_data = read_run(run.ledger.folder)
    vars(run_data)["rung_correlations"] = [correlated]
    assert rank_correlation_sentence(run_data).startswith(sentence)


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
def test_a_bound_is_reached_where_a_range_in_its_own_scale_ends(
    parameter: Any, value: Any, edge: str | None
) -> None:
    assert reached_bound(parameter, value) == edge


@pytest.mark.parametrize(
    ("parameter", "edge", "value"),
    [
        (Choice((64, 16, 32)), "lower", 8),
        (Choice((64, 16, 32)), "upper", 128),
        (Choice((1, 2, 4)), "lower", 0),
        (Choice((0.0, 0.25, 0.5)), "lower", -0.25),
        (Integer(1, 9), "lower", 0),
        (Real(16.0, 256.0, log=True, step=1), "upper", 257),
        (Real(8.0, 64.0, step=8), "upper", 72),
        (Real(1e-5, 1.0, log=True), "upper", pytest.approx(10**0.5)),
        (Real(0.0, 0.5), "lower", pytest.approx(-0.05)),
    ],
)
def test_beyond_an_end_is_one_step_more(parameter: Any, edge: Any, value: float) -> None:
    assert beyond(parameter, edge) == value


def test_no_advice_to_widen_a_range_that_ends_where_it_must(tmp_path: Path) -> None:
    overrides = ["parameters.noise={min: 0.0, max: 0.1}", "parameters.batch_size={values: [1, 2, 4]}"]
    space = made_space(tmp_path, overrides=overrides)
    edged, _ = executed(space, tmp_path, listed({"lr": 1.0, "batch_size": 1, "noise": 0.0}))
    dump_space(space, edged.ledger.space_file)
    assert read_run(edged.ledger.folder).reached_bounds == {
        "lr": "upper"
    }  # a batch of 0 there is not, nor less noise


def test_the_sentence_on_a_bound_says_what_to_do() -> None:
    assert bound_sentence("lr") == "the best lr is at a bound of its range: widen it"


def test_a_best_point_at_an_end_is_warned_of(tmp_path: Path) -> None:
    space = made_space(tmp_path)
    points = [{"lr": 1.0, "batch_size": 64, "noise": 0.0}, {"lr": 1e-4, "batch_size": 64, "noise": 0.0}]
    edged, _ = executed(space, tmp_path, listed(*points))
    dump_space(space, edged.ledger.space_file)
    assert (
        words(sections(edged)["parameters"]).splitlines()[0]
        == "the best lr is at a bound of its range: widen it"
    )


def test_energy_by_outcome_adds_up_to_the_trials(run: Run) -> None:
    table = next(part for part in sections(run)["energy"].elements if isinstance(part, Table))
    total_j = sum(trial.energy.total_mj or 0 for trial in run.history.trials.values()) / 1000
    assert sum(float(row[1].order or 0) for row in table.rows) == pytest.approx(total_j)


class BlindMeter(SteadyMeter):
    """Knows no sensor."""

    sensors = EnergySensors(reason="cpu: no RAPL package")

    def read(self) -> EnergyReading:
        return EnergyReading()


def test_without_a_sensor_energy_is_left_out_with_the_reason(tmp_path: Path) -> None:
    ledger = Ledger.create(tmp_path / "run")
    blind = Run(made_space(tmp_path), sampler_for(made_space(tmp_path)), ledger)
    execute_here(blind, BlindMeter())
    dump_space(blind.space, ledger.space_file)
    reason = "cpu: no RAPL package"
    found = sections(blind)
    assert words(found["energy"]) == (
        f"Left out: the joules of this run were not measured ({reason}; to estimate them (quality E), "
        "state the TDP of the processor from its data sheet: --set search.metering.cpu_tdp_w=WATTS; "
        "in a virtual machine also how many threads that processor has: "
        "--set search.metering.cpu_tdp_threads=THREADS)."
    )
    assert [key for key, section in found.items() if reason in words(section)] == ["energy"]
    (table,) = [part for part in found["trials"].elements if isinstance(part, Table)]
    assert "energy (J)" not in table.columns
    assert "Energy is empty because it is unknown: see Energy." in words(found["trials"])
    assert "Columns left out because they are empty for all trials: energy (J)." in words(found["trials"])


def test_several_objectives_have_a_section_with_each_pair_the_front_and_what_was_infeasible(
    tmp_path: Path,
) -> None:
    objective = "search.objective=[val_accuracy, {lr_used: min}, energy]"
    (tmp_path / "rated.py").write_text(
        FATEFUL.replace('"num_examples": 100}', '"num_examples": 100, "lr_used": 1 - self.hparams.score}')
    )
    space = made_space(
        tmp_path,
        "parameters: {score: {min: 0.0, max: 1.0}}\n"
        "search: {trainable: ./rated.py, data: none, ladder: {epochs: [1, 3]}, scheduler: {mode: none}}\n",
        [objective, "search.constraints={lr_used: {max: 0.9}}"],
    )
    run, _ = executed(space, tmp_path, listed(*({"score": score} for score in (0.5, 0.8, 0.0))))
    as_searched(space, run.ledger)
    found = sections(run)["objectives"]
    drawn = [part for part in found.elements if isinstance(part, Chart)]
    assert [(chart.y.title, chart.x.title) for chart in drawn] == [
        ("val_accuracy, larger is better", "lr_used, smaller is better"),
        ("val_accuracy, larger is better", "energy (J), smaller is better"),
        ("lr_used, smaller is better", "energy (J), smaller is better"),
    ]
    front, points = drawn[0].series
    assert (front.name, front.symbol, list(front.y)) == ("Pareto front", "star", [0.8 + 0.03])
    assert (points.name, len(points.x)) == ("rung 1 (3 epochs)", 2)
    (table,) = [part for part in found.elements if isinstance(part, Table)]
    assert table.caption == "The front: 1 of 3 trials"
    assert [cell.text for cell in table.rows[0][:4]] == ["trial-0001", "0.83", "0.2", "0.36 J"]
    assert "Constraints: lr_used at most 0.9. 1 of 3 trials are infeasible" in words(found)


def test_one_objective_without_a_constraint_has_no_section(run: Run) -> None:
    assert "objectives" not in sections(run)


def test_failures_come_with_cause_and_remedy_and_the_rest_of_the_page_says_why_it_is_empty(
    tmp_path: Path,
) -> None:
    failed = fateful_run(tmp_path, {"fate": "raise"}, {"fate": "diverge"})
    found = sections(failed)
    (table,) = [part for part in found["failures"].elements if isinstance(part, Table)]
    assert [(row[0].text, row[1].text, row[5].text) for row in table.rows] == [
        ("trial-0000", "crash", "KeyError: 'a mistake in the training code'"),
        ("trial-0001", "diverged", "Diverged: loss became nan in epoch 1, step 3"),
    ]
    assert table.rows[0][6].text.startswith("read the traceback in the log; repeat it in one process: ")
    assert words(found["failures"]).startswith(
        "2 of 2 ended trials failed or diverged: a success rate of 0.000."
    )
    assert words(found["history"]).startswith("No trial has completed a rung with a score")
    assert words(found["parameters"]).startswith("0 of 2 trials have a score")
    assert words(found["summary"]).startswith("No trial has a score.")


def test_a_hyperparameter_without_effect_is_warned_of_once(run: Run) -> None:
    for trial in (run_data := read_run(run.ledger.folder)).trials[:5]:
        trial.notes["no effect of momentum"] = "adamw has none"
    (failures,) = [section for section in sections_of(run_data) if section.key == "failures"]
    warned = [part.text for part in failures.elements if part.kind == "text" and part.is_warning]
    assert warned == ["no effect of momentum: adamw has none (trial-0000, trial-0001, trial-0002 and 2 more)"]


def test_trials_that_differ_and_train_alike_are_warned_of(tmp_path: Path) -> None:
    space = made_space(tmp_path, TOY, ["search.scheduler.mode=none"])
    points = [{"lr": 0.1, "batch_size": 64, "noise": 0.0}, {"lr": 0.05, "batch_size": 32, "noise": 0.0}]
    alike, _ = executed(space, tmp_path, listed(*points))
    dump_space(space, alike.ledger.space_file)
    (warned,) = [
        part.text for part in sections(alike)["failures"].elements if getattr(part, "is_warning", False)
    ]
    assert warned.startswith(
        "trial-0000, trial-0001 have identical curves for 9 epochs although they differ in lr (0.1, 0.05), "
        "batch_size (64, 32)"
    )


def test_before_a_promotion_the_search_s_own_lead_is_no_gain(run: Run) -> None:
    run_data = read_run(run.ledger.folder)
    best, default = run_data.best, run_data.default
    assert best is not None
    assert default is not None
    rung = max(rung for rung in range(3) if default.value_at("val_accuracy", rung) is not None)
    ours, its = best.value_at("val_accuracy", rung), default.value_at("val_accuracy", rung)
    assert ours is not None
    assert its is not None
    assert conclusion(run_data)[1] == (
        f"At {run_data.rung_name(rung)} the default configuration has {its:.4g} and the best {ours:.4g}: "
        f"{ours - its:+.4g}, from one seed each; the best was "
        "chosen for its score, so this is not yet a gain."
    )
    assert advice(run_data)[0][1] == f"python scripts/promote.py {run.ledger.folder} --top 3"
    assert "Nothing has been promoted yet" in words(sections(run)["winner"])


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
    found = sections(searched)
    parts = [*found["winner"].elements, *found["mistakes"].elements]
    tables = {part.caption: part for part in parts if isinstance(part, Table)}
    assert [row[0].text for row in tables["Hardest classes of the test set"].rows] == ["b", "a"]
    assert [row[1].text for row in tables["Most confused pairs"].rows] == ["a"]
    assert {row[1].text for row in tables["Promoted configurations, ranked by validation"].rows} >= {
        "trial-0000 (default)"
    }
    (group,) = [part for part in parts if part.kind == "mistakes"]
    (mistake,) = group.mistakes
    assert (mistake.name, mistake.label, mistake.predicted) == ("image 17", "b", "a")
    assert mistake.shares == [("a", 0.98), ("b", 0.01)]
    assert mistake.note == "4 of 5 of its class"
    assert "gain" in charts(searched)
    sources = {attributes["src"] for attributes in page_of(searched).of("img")}
    assert f"data:image/png;base64,{base64.b64encode(png).decode()}" in sources


@pytest.mark.parametrize("mode", ["max", "min"])
def test_a_gain_is_to_the_right_where_less_is_better_too(tmp_path: Path, mode: Mode) -> None:
    searched = toy_run(tmp_path, ("search.limits.trials=2",))
    promoted(searched, top=2, seeds=(5,))
    run_data = read_run(searched.ledger.folder)
    assert run_data.promotion is not None
    rows = [{**row, "gain_mean": 0.02, "gain_low": None} for row in run_data.promotion.rows]
    promotion = replace(run_data.promotion, rows=rows)
    section = winner_section(replace(run_data, space=replace(run_data.space, mode=mode), promotion=promotion))
    (chart,) = [part for part in section.elements if isinstance(part, Chart)]
    assert chart.x.title == "gain in accuracy, with its 95 % interval (better to the right)"
    assert list(chart.series[0].x) == [0.02, 0.02]


def test_a_forecast_stands_beside_what_came_true(tmp_path: Path) -> None:
    searched = toy_run(tmp_path, ("search.limits.trials=2",))
    assert "forecast" not in words(sections(searched)["summary"])
    span = Span(3.0, 4.0, 5.0)
    forecast = Forecast(
        num_trials=span, epochs=span, rung_epochs=(), rung_trials=(), seconds=None, kwh=None,
        disk_gib=None, reason="2 trials", is_endless=False, source="here",
    )  # fmt: skip
    searched.ledger.write_json("forecast.json", forecast.to_dict())
    num_epochs = sum(len(trial.rows) for trial in searched.history.trials.values())
    sentence = f"Compared with its forecast, it took {num_epochs} epochs (4, 3 to 5)."
    assert sentence in words(sections(searched)["summary"]).splitlines()


def test_a_detector_has_its_hardest_classes_too(tmp_path: Path) -> None:
    searched = toy_run(tmp_path, ("search.limits.trials=2",))
    folder = promoted(searched, seeds=(5,)).ledger.trial_folder("trial-0000")
    (folder / "average_precision.csv").write_text(
        "label,category_id,num_objects,ap,ar_100\ncat,1,9,0.6,0.7\ndog,2,4,0.25,0.5\nowl,3,0,,\n"
    )
    tables = [part for part in sections(searched)["mistakes"].elements if isinstance(part, Table)]
    assert [[cell.text for cell in row] for row in tables[-1].rows] == [
        ["dog", "4", "0.25", "0.5"],
        ["cat", "9", "0.6", "0.7"],
    ]


def test_a_detector_has_its_worst_images_with_what_is_wrong_in_them(tmp_path: Path) -> None:
    searched = toy_run(tmp_path, ("search.limits.trials=2",))
    folder = promoted(searched, seeds=(5,)).ledger.trial_folder("trial-0000")
    (folder / "mistakes.csv").write_text(
        "image,num_objects,num_missed,num_false,missed,false\n"
        'a.jpg,5,3,1,"2 cat, 1 dog",1 dog\nb.jpg,0,0,1,,1 owl\n'
    )
    assert "The images were not kept with this training." in words(sections(searched)["mistakes"])
    (folder / "mistakes").mkdir()
    for number in (1, 2):
        Image.new("RGB", (4, 3)).save(folder / "mistakes" / f"{number:02}.png")
    section = sections(searched)["mistakes"]
    assert "2 images of the test set have mistakes at a score of 0.5" in words(section)
    (images,) = [part for part in section.elements if isinstance(part, Figures)]
    assert images.are_side_by_side
    assert [figure.caption for figure in images.figures] == [
        "a.jpg: 5 objects; missed: 2 cat, 1 dog; false: 1 dog",
        "b.jpg: 0 objects; false: 1 owl",
    ]


def test_the_data_of_a_run_without_environment_are_read(run: Run) -> None:
    run_data = read_run(run.ledger.folder)
    assert isinstance(run_data, RunData)
    assert all(isinstance(trial, TrialRecord) for trial in run_data.trials)
    assert words(sections(run)["environment"]).startswith("environment.json is missing")


def test_ablations_stand_beside_the_default_by_their_groups(tmp_path: Path) -> None:
    groups = "{size: {batch_size: [16, 128]}, rate: [{lr: 1e-4, batch_size: 16}, {lr: 5.0}]}"
    space = made_space(tmp_path, TOY, (f"search.ablations={groups}", "search.scheduler.mode=none"))
    run, _ = executed(space, tmp_path, FixedList(designed(space, defaults_of(space))))
    dump_space(run.space, run.ledger.space_file)
    section = sections(run)["ablations"]
    note, table = section.elements
    assert "one seed each" in note.text
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    assert [(row["ablation"].text, row["changed"].text) for row in rows] == [
        ("default", ""),
        ("size", "batch_size=16"),
        ("size", "batch_size=128"),
        ("rate", "lr=0.0001 batch_size=16"),
        ("rate", "lr=5"),
    ]
    values = {trial.trial_id: trial.value("val_accuracy") for trial in run.history.trials.values()}
    base, *others = (values[row["trial"].text] for row in rows)
    assert [row["val_accuracy"].order for row in rows] == [base, *others]
    assert [row["against the default"].order for row in rows] == [None, *(one - base for one in others)]


def test_a_search_without_ablations_has_no_section_of_them(run: Run) -> None:
    assert "ablations" not in sections(run)
