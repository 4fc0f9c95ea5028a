"""Recorded learning curves: what a table may look like, and that its replay is the recording."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from benchmarks.search_quality.ours import Ours
from benchmarks.search_quality.simulate import Simulation
from benchmarks.search_quality.table import Table
from search.sampling.warm_start import make_sampler
from tests.support.toy_runs import defaults_of, executed, made_space
from trainables.core.contract import Budget, DataError, Diverged, TrainingContext
from trainables.core.load import load_trainable
from trainables.curves import Hparams, formula_curves, load_curves, start

CSV = """net,dataset,lr,depth,acc_1,acc_2,acc_3
conv,cifar10,0.1,3,0.2,0.4,0.5
pool,cifar10,0.01,5,0.3,0.35,nan
"""


def table(folder: Path, text: str = CSV) -> Path:
    path = folder / "table.csv"
    path.write_text(text)
    return path


def training(path: Path, row: int, epochs: int = 3):
    context = TrainingContext(data=f"curves:{path}", data_seed=0, seed=0, cache_dir=path.parent)
    return start(Hparams(row=row), Budget(epochs=epochs), context)


def test_a_csv_keeps_the_numbers_that_differ_and_leaves_text_and_constants_out(tmp_path: Path) -> None:
    curves = load_curves(table(tmp_path))
    assert curves.names == ("lr", "depth")
    assert curves.hparams.tolist() == [[0.1, 3.0], [0.01, 5.0]]
    assert curves.val_accuracy[0].tolist() == [0.2, 0.4, 0.5]
    assert curves.seconds is None


def test_an_npz_gives_the_seconds_of_each_epoch_and_none_is_below_0(tmp_path: Path) -> None:
    path = tmp_path / "table.npz"
    np.savez(
        path,
        hparam_names=np.array(["lr"]),
        hparams=np.array([[0.1]]),
        epochs=np.array([2, 3, 4]),
        val_accuracy=np.array([[50.0, 60.0, 61.0]], np.float32),
        seconds=np.array([[3.0, 5.0, 4.5]], np.float32),
    )
    curves = load_curves(path)
    assert curves.names == ("lr",)
    assert curves.seconds is not None
    assert curves.seconds.tolist() == [[3.0, 2.0, 0.0]]


def test_the_replay_is_the_recording_and_resumes_from_its_state(tmp_path: Path) -> None:
    path = table(tmp_path)
    first = training(path, 0)
    assert first.run_epoch(Budget(epochs=3))["val_accuracy"] == 0.2
    second = training(path, 0)
    second.load_state_dict(first.state_dict())
    assert second.run_epoch(Budget(epochs=3, subset=0.5)) == {"val_accuracy": 0.4, "num_examples": 500.0}
    assert second.test() == {"test_accuracy": 0.4}


def test_a_recorded_nan_diverges_in_its_epoch(tmp_path: Path) -> None:
    recorded = training(table(tmp_path), 1)
    recorded.run_epoch(Budget(epochs=3))
    recorded.run_epoch(Budget(epochs=3))
    with pytest.raises(Diverged, match=r"^row 1 of the table diverged in epoch 3$"):
        recorded.run_epoch(Budget(epochs=3))


def test_a_row_or_an_epoch_that_was_not_recorded_is_refused_at_the_start(tmp_path: Path) -> None:
    path = table(tmp_path)
    with pytest.raises(DataError, match=r"has rows 0 to 1, got row 2; set max of row$"):
        training(path, 2)
    with pytest.raises(DataError, match=r"has 3 epochs, the ladder asks for 9; lower it$"):
        training(path, 0, epochs=9)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "it has no row under a header"),
        ("lr,acc_0\n", "it has no row under a header"),
        ("lr,depth\n0.1,3\n", "it has no epoch (acc_ column) or no row"),
        ("lr,acc_0,acc_1\n0.1,0.5,\n", "could not convert string to float: ''"),
        ("lr,acc_0\n0.1,0.5\n0.2\n", "line 3 has 1 values, the header 2"),
    ],
)
def test_a_file_that_is_no_table_says_so(tmp_path: Path, text: str, problem: str) -> None:
    path = table(tmp_path, text)
    with pytest.raises(DataError, match="is not a table of learning curves") as caught:
        load_curves(path)
    assert str(caught.value).startswith(str(path))
    assert problem in str(caught.value)


def test_other_sources_are_refused_with_those_there_are(tmp_path: Path) -> None:
    context = TrainingContext(data="mnist5k", data_seed=0, seed=0, cache_dir=tmp_path)
    with pytest.raises(DataError, match=r"there are formula, curves:FILE$"):
        start(Hparams(), Budget(epochs=1), context)
    with pytest.raises(DataError, match=r"ends in .csv or .npz, got curves.txt$"):
        load_curves(Path("curves.txt"))
    with pytest.raises(DataError, match=r"the table absent.csv does not exist; name another in search.data"):
        load_curves(Path("absent.csv"))


def test_the_formulas_best_curve_is_row_40() -> None:
    full = formula_curves().val_accuracy[:, -1]
    assert full.shape == (81,)
    assert full.argmax() == 40
    assert full[40] == pytest.approx(0.9)


SPACE = """
parameters:
  row: {distribution: int_uniform, min: 0, max: 80}
search:
  trainable: curves
  data: formula
  ladder: {epochs: [1, 3, 9, 27]}
  limits: {trials: 40}
"""


@pytest.mark.parametrize("sampler", ["tpe", "random"])
@pytest.mark.parametrize("mode", ["asha_stopping", "asha", "pasha"])
def test_the_benchmarks_event_loop_and_the_engine_decide_alike(
    tmp_path: Path, mode: str, sampler: str
) -> None:
    space = made_space(tmp_path, SPACE, [f"search.sampler={sampler}", f"search.scheduler.mode={mode}"])
    run, _ = executed(space, tmp_path, make_sampler(space))
    ours = Ours(space, defaults_of(space), num_trials=40)
    recorded = formula_curves().val_accuracy
    simulation = Simulation(ours, rows_as_points(recorded), num_workers=1)
    simulation.run(40 * 27)
    trained = {name: (trial.row, trial.epochs) for name, trial in simulation.trials.items()}
    assert trained == {t.trial_id: (t.hparams["row"], t.epochs) for t in run.history.trials.values()}
    assert {1, 3, 9} <= {epochs for _, epochs in trained.values()}


def rows_as_points(recorded: np.ndarray) -> Table:
    points = np.arange(len(recorded), dtype=float)[:, None]
    return Table(name="formula", points=points, val_accuracy=recorded, seconds=np.ones(recorded.shape))


def test_a_curve_is_finite_and_its_trainable_is_found_by_name() -> None:
    assert load_trainable("curves").metric == "val_accuracy"
    assert all(map(math.isfinite, formula_curves().val_accuracy.ravel()))
