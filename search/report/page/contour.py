"""The score over the two parameters that matter most, as a map. Pure.

Between the trials the height is interpolated linearly, and nothing is drawn beyond them: no value in the map
is above or below what was measured. It shows where good trials lie together, and whether two parameters must
be changed together, which is a diagonal ridge.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from threadpoolctl import threadpool_limits

from search.ledger.history import TrialRecord
from search.report.charts.chart import VERMILION, Chart, Scale, Series, Surface, evenly, shortened
from search.report.page.run_data import RunData
from search.report.page.slices import hover_text, slice_scale
from search.space.parameters import is_number

_SIDE = 40  # places of the grid along each axis
_FEWEST = 8  # trials; fewer are three triangles
_MOST_POINTS = 500

Scored = Sequence[tuple[TrialRecord, float]]


def contour(run: RunData, names: Sequence[str], scored: Scored, rung: int) -> Chart | None:
    """The map; None for fewer than two numeric parameters or eight trials, or trials that lie on one line.

    Args:
        names: Parameters, the one that matters most first.
        scored: Trials with their scores at one rung, since scores of different rungs do not compare.
    """
    numeric = [name for name in names if _is_numeric(name, scored)][:2]
    if len(numeric) < 2 or len(scored) < _FEWEST:
        return None
    x_name, y_name = numeric
    shown = evenly(scored, _MOST_POINTS)
    (x, x_scale), (y, y_scale) = (_placed(run, name, shown) for name in numeric)
    heights = [value for _, value in shown]
    surface = _surface(run, (x, y), heights, is_log=(x_scale.is_log, y_scale.is_log))
    if surface is None:
        return None
    return Chart(
        key="contour",
        title=f"{run.metric} over {shortened(x_name)} and {shortened(y_name)}, at rung {rung}",
        x=x_scale,
        y=y_scale,
        series=[
            Series(
                name="trials",
                x=x,
                y=y,
                hover=[hover_text(run, trial) for trial, _ in shown],
                colour=VERMILION,
                size_px=6.0,
                is_in_legend=False,
            )
        ],
        surface=surface,
        height_px=380,
        is_narrow=True,
    )


def _is_numeric(name: str, scored: Scored) -> bool:
    """Whether every trial has the parameter as a number, and its values differ."""
    values = [trial.hparams.get(name) for trial, _ in scored]
    return all(map(is_number, values)) and len(set(values)) > 1


def _placed(run: RunData, name: str, shown: Scored) -> tuple[list[float], Scale]:
    """The places of the trials on the parameter's axis, and the axis, as in its slice."""
    values = [trial.hparams[name] for trial, _ in shown]
    return slice_scale(name, run.space.parameters.get(name), values)


def _surface(
    run: RunData,
    at: tuple[Sequence[float], Sequence[float]],
    heights: Sequence[float],
    *,
    is_log: tuple[bool, bool],
) -> Surface | None:
    """Heights on a grid from the smallest to the largest value of both parameters, None outside the triangles
    of trials; no surface if there are no triangles."""
    import numpy as np  # with scipy 0.4 s to import, which a page without scores need not wait for
    from scipy.interpolate import griddata
    from scipy.spatial import QhullError

    columns, places = [], []
    for values, log in zip(at, is_log, strict=True):
        scaled = np.log(values) if log else np.array(values)
        low, high = scaled.min(), scaled.max()
        columns.append((scaled - low) / (high - low))  # unscaled axes would make needles of the triangles
        grid = np.linspace(low, high, _SIDE)
        places.append(np.exp(grid) if log else grid)
    known = np.column_stack(columns)
    points, which = np.unique(known.round(9), axis=0, return_inverse=True)
    totals = np.bincount(which.ravel(), heights)
    means = totals / np.bincount(which.ravel())  # of trials at one point
    sides = np.meshgrid(np.linspace(0, 1, _SIDE), np.linspace(0, 1, _SIDE))
    try:
        # SciPy solves a system of two equations for each triangle, and on two busy cores BLAS's threads wait
        # for each other: 500 trials took 6 s, and with one thread 5 ms.
        with threadpool_limits(limits=1, user_api="blas"):
            between = griddata(points, means, tuple(sides), method="linear")
    except (QhullError, ValueError):  # all on one line, or fewer than three of them
        return None
    rows = [[None if math.isnan(value) else float(value) for value in row] for row in between]
    return Surface(title=run.metric, x=places[0].tolist(), y=places[1].tolist(), heights=rows)
