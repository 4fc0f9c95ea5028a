"""The benchmark of search quality: its event loop, its regrets and its report."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from benchmarks.search_quality.conclusion import share_to_reach, worst_table
from benchmarks.search_quality.contenders import RANDOM, STOCK
from benchmarks.search_quality.halves import HALVES, tables_of
from benchmarks.search_quality.made_tables import make_table
from benchmarks.search_quality.measure import Outcomes, measure, read
from benchmarks.search_quality.ours import Setup, rungs_from
from benchmarks.search_quality.plain import OneEpochThenTop
from benchmarks.search_quality.simulate import Answer, Asked, Simulation
from benchmarks.search_quality.stock import OptunaHyperband, OptunaSearcher, RayAsha
from benchmarks.search_quality.table import Rows, Table, table_of
from search.rank_correlation import spearman
from trainables.curves import Curves, formula_curves

ROOT = Path(__file__).parents[2]
FIVE = Table(
    name="five",
    points=np.array([[0.0], [0.25], [0.5], [0.75], [1.0]]),
    val_accuracy=np.array([[0.1, 0.2], [0.3, 0.4], [0.5, 0.3], [0.2, 0.9], [0.1, 0.6]]),
    seconds=np.array([[1.0, 1.0], [3.0, 3.0], [1.0, 1.0], [1.0, 5.0], [1.0, 1.0]]),
)


class InOrder:
    """Trains each of the given points in full and keeps what was reported to it."""

    def __init__(self, *points: float) -> None:
        self.reported: list[tuple[str, int, float]] = []
        self.placed: dict[str, list[float]] = {}
        self._points = list(enumerate(points))

    def next_trial(self) -> Asked | None:
        if not self._points:
            return None
        number, point = self._points.pop(0)
        return Asked(f"t{number}", [point])

    def on_placed(self, trial_id: str, point: Sequence[float]) -> None:
        self.placed[trial_id] = list(point)

    def on_epoch(self, trial_id: str, epoch: int, accuracy: float) -> Answer:
        self.reported.append((trial_id, epoch, accuracy))
        return "stop" if epoch == 2 else "continue"


def test_epochs_end_in_the_order_of_their_seconds() -> None:
    contender = InOrder(0.25, 0.5, 0.75)  # 3 s and 3 s; 1 s and 1 s; then 1 s and 5 s on the free worker
    Simulation(contender, FIVE, num_workers=2).run(6)
    assert [(trial, epoch) for trial, epoch, _ in contender.reported] == [
        ("t1", 1),
        ("t1", 2),
        ("t0", 1),
        ("t2", 1),
        ("t0", 2),
        ("t2", 2),
    ]


def test_the_picked_trial_is_that_with_the_best_epoch_and_may_be_the_worse_one_in_full() -> None:
    trace = Simulation(InOrder(0.25, 0.5), FIVE, num_workers=1).run(5)
    assert trace.seen.tolist() == [0.3, 0.4, 0.5, 0.5, 0.5]
    assert trace.picked.tolist() == [0.4, 0.4, 0.3, 0.3, 0.3]


def test_a_point_keeps_its_row_and_another_point_gets_the_nearest_that_is_free() -> None:
    rows = Rows(FIVE)
    assert [rows.row_of([point]) for point in (0.26, 0.3, 0.26, 0.2)] == [1, 2, 1, 0]


def test_a_point_that_is_asked_for_by_the_coordinates_of_its_row_is_that_row() -> None:
    rows = Rows(FIVE)
    assert [rows.row_of([point]) for point in (0.3, 0.25, 0.26)] == [1, 1, 2]


def test_a_contender_is_told_where_the_row_of_its_point_lies() -> None:
    contender = InOrder(0.26, 0.3)
    Simulation(contender, FIVE, num_workers=2).run(4)
    assert contender.placed == {"t0": [0.25], "t1": [0.5]}


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_our_sampler_learns_from_the_rows_own_coordinates_alone(sampler: str) -> None:
    ours = Setup(sampler=sampler).contender(FIVE, 0, 10)  # type: ignore[arg-type]
    asked = ours.next_trial()
    assert asked
    ours.on_placed(asked.trial_id, [0.75])
    ours.on_epoch(asked.trial_id, 1, 0.2)
    trials = ours._sampler._study.get_trials()
    assert [(trial.state.name, trial.params["x0"]) for trial in trials if trial.state.name != "FAIL"] == [
        ("PRUNED", 0.75)
    ]
    again = ours._asked(asked.trial_id)
    assert again.point == [0.75]


def test_optuna_and_ray_learn_from_the_rows_own_coordinates_alone() -> None:
    optuna_alone, ray = OptunaHyperband(FIVE, 0), RayAsha(FIVE, searcher := OptunaSearcher(FIVE, 0))
    for contender in (optuna_alone, ray):
        asked = contender.next_trial()
        assert asked
        contender.on_placed(asked.trial_id, [0.75])
        assert contender.on_epoch(asked.trial_id, 1, 0.2) == "continue"
        assert contender.on_epoch(asked.trial_id, 2, 0.9) == "stop"
    for study in (optuna_alone._study, searcher._search._ot_study):
        reported = [trial for trial in study.get_trials() if trial.state.name == "COMPLETE"]
        assert [(trial.params["x0"], trial.value) for trial in reported] == [(0.75, 0.9)]


def test_each_recorded_table_is_in_one_half_and_made_ones_differ_between_halves(tmp_path: Path) -> None:
    for name in ("d", "b", "a", "c", "e"):
        write_table(tmp_path / f"{name}.csv", seed=0)
    found = {half: list(tables_of(half, tmp_path)) for half in HALVES}
    assert found == {
        "shown": ["a", "c", "e"],
        "held back": ["b", "d"],
        "made, shown": ["crossing-1", "reversed-1", "late-step-1"],
        "made, held back": ["crossing-2", "reversed-2", "late-step-2"],
    }


@pytest.mark.parametrize(
    ("kind", "first_third"), [("crossing", 0.0), ("reversed", -0.52), ("late-step", 0.3)]
)
def test_the_first_third_of_a_made_table_misleads_as_its_kind_says(kind: str, first_third: float) -> None:
    for seed in (1, 2):
        curves = make_table(kind, seed).val_accuracy
        assert spearman(curves[:, 9], curves[:, -1]) == pytest.approx(first_third, abs=0.03)
        assert spearman(curves[:, -2], curves[:, -1]) > 0.95
        assert (make_table(kind, seed).val_accuracy == curves).all()


def test_a_measurement_that_was_killed_continues(tmp_path: Path) -> None:
    tables = {"five": FIVE}

    def run(num_seeds: int) -> None:
        measure(
            "project",
            tables,
            names=[RANDOM],
            num_seeds=num_seeds,
            num_trainings=1,
            num_processes=1,
            folder=tmp_path,
        )

    def num_known(num_seeds: int) -> dict[tuple[str, str], int]:
        found = read([RANDOM, STOCK], ["five"], num_seeds=num_seeds, num_trainings=1, folder=tmp_path)
        return {key: len(outcomes.regrets) for key, outcomes in found.items()}

    run(1)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npz")}
    assert num_known(1) == num_known(2) == {(RANDOM, "five"): 1}
    run(2)
    assert num_known(1) == {(RANDOM, "five"): 1}
    assert num_known(2) == {(RANDOM, "five"): 2}
    assert len(list(tmp_path.rglob("*.npz"))) == 2
    assert all(path.stat().st_mtime_ns == written for path, written in before.items())


def test_the_worst_table_is_where_it_ends_furthest_behind_random_full_trainings() -> None:
    def ending(*regrets: float) -> Outcomes:
        curves = np.array([[[regret], [regret]] for regret in regrets])  # (seeds, measures, epochs)
        return Outcomes(curves, np.zeros(len(regrets)))

    results = {
        ("ours", "one"): ending(0.9, 0.5, 0.5),
        (RANDOM, "one"): ending(0.4, 0.6, 0.6),
        ("ours", "other"): ending(0.2, 0.3, 0.4),
        (RANDOM, "other"): ending(0.1, 0.2, 0.2),
    }
    table, above = worst_table(results, "ours", "picked")
    assert (table, above) == ("other", pytest.approx(0.1))


def test_a_search_of_more_points_than_rows_says_what_to_do() -> None:
    rows = Rows(FIVE)
    for point in range(5):
        rows.row_of([float(point)])
    with pytest.raises(ValueError, match=r"^all 5 rows are taken; lower the epochs of the search$"):
        rows.row_of([0.6])


def test_points_are_shares_of_ranks_and_equal_values_share_theirs() -> None:
    hparams = np.array([[1e-4, 8.0], [1e-1, 8.0], [1e-2, 8.0], [1e-3, 16.0], [1e-5, 4.0]])
    table = table_of("ranks", Curves(names=("lr", "width"), hparams=hparams, val_accuracy=FIVE.val_accuracy))
    assert table.points[:, 0].tolist() == [0.25, 1.0, 0.75, 0.5, 0.0]
    assert table.points[:, 1].tolist() == [0.5, 0.5, 0.5, 1.0, 0.0]
    assert table.seconds.tolist() == [[1.0, 1.0]] * 5


def test_regret_is_1_at_the_median_of_full_trainings_and_0_at_the_best() -> None:
    assert FIVE.regret(np.array([0.9, 0.4, 0.65]), 0.9) == pytest.approx([0.0, 1.0, 0.5])


def test_one_epoch_then_the_best_spends_half_on_first_epochs() -> None:
    contender = OneEpochThenTop(FIVE, seed=0, num_epochs=8)
    simulation = Simulation(contender, FIVE, num_workers=1)
    simulation.run(8)
    epochs = {trial.row: trial.epochs for trial in simulation.trials.values()}
    assert sorted(epochs.values()) == [2, 2, 2, 2]  # a second epoch each: 4 and 4
    assert len(epochs) == 4


def test_the_share_to_reach_counts_from_where_it_stays_reached() -> None:
    stock = np.array([[0.9, 0.5, 0.5, 0.4]] * 4)
    regret = np.array(
        [[0.5, 0.4, 0.3, 0.2], [0.1, 0.6, 0.4, 0.4], [0.4, 0.4, 0.4, 0.4], [0.1, 0.1, 0.1, 0.5]]
    )
    assert share_to_reach(regret, stock).tolist() == [0.5, 0.75, 0.25, np.inf]


def test_rungs_are_powers_of_eta_below_a_top_that_is_far_enough_from_the_last() -> None:
    assert rungs_from(1, 51) == [1, 3, 9, 27, 51]
    assert rungs_from(9, 50) == [9, 27, 50]
    assert rungs_from(1, 20) == [1, 3, 9, 20]
    assert rungs_from(3, 12) == [3, 12]


@pytest.mark.slow
def test_the_quick_benchmark_prints_every_half_and_its_conclusions(tmp_path: Path) -> None:
    for name in ("one", "other"):
        write_table(tmp_path / f"{name}.csv", seed=len(name))
    command = [sys.executable, "-m", "benchmarks.search_quality", "--curves", str(tmp_path), "--quick"]
    flags = ["--only", "^(ours: asha from 1, tpe|Ray ASHA . OptunaSearch|random, full trainings)$"]
    done = subprocess.run(
        [*command, *flags, "--detailed", "--results", str(tmp_path / "kept")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for line in (
        "== shown: one",
        "== held back: other",
        "== made, shown: crossing-1",
        "\n4 tables, 3 seeds, ",
    ):
        assert line in done.stdout
    assert done.stdout.count("Ray ASHA + OptunaSearch   ") == 4 * 5
    assert done.stdout.count("\nconclusion (") == 4 * 2 + 2 * 2


def write_table(path: Path, seed: int) -> None:
    """The formula's curves with noise, three of each: more rows than a quick search tries."""
    curves = formula_curves()
    noise = np.random.default_rng(seed).normal(0, 0.01, (3, *curves.val_accuracy.shape))
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*curves.names, *(f"acc_{epoch}" for epoch in range(27))])
        for repeat in noise:
            writer.writerows(np.column_stack([curves.hparams, curves.val_accuracy + repeat]).tolist())
