"""The map of two parameters, and the axes of parallel coordinates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from scipy.interpolate import griddata
from threadpoolctl import threadpool_info

from search.report.charts.chart import Chart
from search.report.page.contour import contour
from search.report.page.parallel import parallel
from search.report.page.run_data import RunData, read_run
from search.report.page.slices import slice_of
from search.space import dump_space
from tests.support.toy_runs import TOY, executed, listed, made_space


def run_at(tmp_path: Path, points: list[tuple[float, int]]) -> RunData:
    hparams = ({"lr": lr, "batch_size": batch_size, "noise": 0.0} for lr, batch_size in points)
    run, _ = executed(made_space(tmp_path), tmp_path, listed(*hparams))
    dump_space(run.space, run.ledger.space_file)
    return read_run(run.ledger.folder)


def map_of(run: RunData, values: list[float]) -> Chart | None:
    return contour(run, ["lr", "batch_size"], list(zip(run.trials, values, strict=True)), 0)


def test_the_map_has_the_score_at_each_trial_and_nothing_beyond_them(tmp_path: Path) -> None:
    corners = [(0.001, 16), (0.001, 128), (0.1, 16), (0.1, 128)]
    chart = map_of(run_at(tmp_path, corners * 2), [0.0, 0.2, 0.4, 0.6, 0.2, 0.4, 0.6, 0.8])
    assert chart is not None
    surface = chart.surface
    assert surface is not None
    assert (surface.x[0], surface.x[-1]) == (pytest.approx(0.001), pytest.approx(0.1))
    assert (surface.y[0], surface.y[-1]) == (pytest.approx(16), pytest.approx(128))
    # The mean of two trials at each corner: 0.1, 0.3 above it, 0.5 to the right, 0.7 across.
    ends = [surface.heights[row][column] for row in (0, -1) for column in (0, -1)]
    assert ends == [pytest.approx(value) for value in (0.1, 0.5, 0.3, 0.7)]
    assert chart.x.is_log


def test_the_map_ends_where_the_trials_end(tmp_path: Path) -> None:
    points = [(0.001, 16), (0.1, 16), (0.1, 128)]
    chart = map_of(run_at(tmp_path, points * 3), [0.0, 0.5, 1.0] * 3)
    assert chart is not None
    assert chart.surface is not None
    assert chart.surface.heights[-1][0] is None
    assert chart.surface.heights[0][-1] == pytest.approx(0.5)


def test_the_map_is_worked_out_by_one_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_at(tmp_path, [(0.001, 16), (0.1, 16), (0.1, 128)] * 3)
    threads: list[int] = []

    def watched(*args: Any, **options: Any) -> Any:
        threads.extend(each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas")
        return griddata(*args, **options)

    monkeypatch.setattr("scipy.interpolate.griddata", watched)
    assert map_of(run, [0.0, 0.5, 1.0] * 3) is not None
    assert set(threads) == {1}


@pytest.mark.parametrize("points", [[(0.001, 16), (0.01, 32), (0.1, 64)], [(0.001, 16), (0.01, 16)]])
def test_trials_on_one_line_have_no_map(tmp_path: Path, points: list[tuple[float, int]]) -> None:
    run = run_at(tmp_path, points * 4)
    assert map_of(run, [number / 20 for number in range(len(run.trials))]) is None


def test_an_axis_names_its_ends_and_round_numbers_between(tmp_path: Path) -> None:
    rates = [0.0002, 0.0005, 0.003, 0.011, 0.04, 0.3, 0.8]
    chart = parallel(run_at(tmp_path, [(rate, 16 if rate < 0.01 else 64) for rate in rates]))
    names = [name for _, name in chart.x.ticks]
    assert names == ["lr", "batch_size", "val_accuracy"]
    on_lr = sorted((label.y, label.text) for label in chart.labels if label.x == 0)
    assert [text for _, text in on_lr] == ["0.0002", "0.001", "0.01", "0.1", "0.8"]
    assert [label.text for label in chart.labels if label.x == 1] == ["16", "64"]


def test_zero_on_a_logarithmic_axis_is_to_the_left_of_all_others(tmp_path: Path) -> None:
    noise = "noise: {distribution: log_uniform_values, min: 1e-6, max: 1e-2}"
    values = [0, 2e-6, 3e-5, 1e-4, 5e-4, 1e-3, 2e-3, 8e-3]
    points = [{"lr": 0.01 * 2**number, "batch_size": 16, "noise": each} for number, each in enumerate(values)]
    space = made_space(tmp_path, TOY.replace("  batch_size", f"  {noise}\n  batch_size"))
    run, _ = executed(space, tmp_path, listed(*points))
    dump_space(space, run.ledger.space_file)
    data = read_run(run.ledger.folder)
    one = slice_of(data, "noise")
    assert one.x.is_log
    assert one.x.ticks == tuple(
        (pytest.approx(at), name)
        for at, name in [(2e-6 / 3, "0"), (1e-5, "1e-05"), (1e-4, "0.0001"), (1e-3, "0.001")]
    )
    assert min(x for series in one.series for x in series.x if x is not None) == pytest.approx(2e-6 / 3)
    whole = parallel(data)
    on_noise = [label.text for label in sorted(whole.labels, key=lambda label: label.y) if label.x == 1]
    assert on_noise == ["0", "1e-05", "0.0001", "0.001", "0.008"]
    chart = contour(data, ["noise", "lr"], [(trial, 0.5) for trial in data.trials], 0)
    assert chart is not None
    assert chart.surface is not None
    assert chart.surface.x[0] == pytest.approx(2e-6 / 3)
