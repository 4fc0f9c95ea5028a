"""The score over one parameter, with the bounds of its range. Pure.

A slice shows every trial at its value of one parameter, whatever the others were. The upper edge of the
points (the lower one, where less is better) is what the parameter allows at best; points far from it had
other parameters wrong.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from search.ledger.history import TrialRecord
from search.report.charts.chart import (
    VERMILION,
    Chart,
    Mark,
    Scale,
    Series,
    chart_key,
    rung_colour,
    rung_symbol,
    shortened,
)
from search.report.formatting import hparams_text, value_text
from search.report.page.run_data import RunData
from search.space import Choice, Normal, Parameter
from search.space.parameters import is_number

_MOST_POINTS = 1000  # of each slice: for 20 parameters, 5,000 points each would be 8 MB
# A choice has no scale of its own. From this ratio of its largest to its smallest value (16, 32, 64, 128) a
# linear axis would crowd the smaller ones.
_LOG_RATIO = 8
_LEFT_OF_ALL = 3.0  # between the smallest number on a logarithmic axis and a 0 beside it: half a power of ten


def slice_of(run: RunData, name: str) -> Chart:
    """The score over one parameter, coloured by rung, with the bounds of its range and the best trial as a
    star.

    A star at a bound suggests a wider range. Points of different rungs do not compare: the higher rung is
    measured better. Of more than 1,000 trials the best are shown.

    Args:
        name: A hyperparameter of `run.shown_hparams`.
    """
    parameter = run.space.parameters.get(name)
    having = [trial for trial in run.ranked if name in trial.hparams]
    trials = having[:_MOST_POINTS]
    values = [trial.hparams[name] for trial in trials]
    places, scale = slice_scale(name, parameter, values)
    rungs = sorted({trial.rung or 0 for trial in trials})
    return Chart(
        key=chart_key("slice", run.shown_hparams.index(name) + 1, name),
        title=f"{shortened(name)} and the score"
        + (f" (the best {len(trials):,} of {len(having):,} trials)" if len(having) > len(trials) else ""),
        x=scale,
        y=Scale(title=run.metric_title),
        series=[
            *(_slice_points(run, rung, places, trials) for rung in rungs),
            *_best_point(run, places, trials),
        ],
        marks=_bounds(parameter),
        height_px=340,
        is_narrow=True,
    )  # fmt: skip


def is_log_axis(parameter: Parameter | None, values: Any) -> bool:
    """Whether a parameter's axis is logarithmic: in the space, or because its values span a factor of 8."""
    if parameter is not None and not isinstance(parameter, Choice):
        return parameter.log and any(value > 0 for value in values)
    numbers = [*values, *(parameter.values if parameter else ())]
    is_positive = all(is_number(value) and value > 0 for value in numbers)
    return is_positive and max(numbers) >= _LOG_RATIO * min(numbers)


def log_places(values: Iterable[float]) -> dict[float, float]:
    """The place of each number on a logarithmic axis, at least one of them above 0.

    The others stand to the left of all, in their order: a weight decay that is searched from 1e-6 may have a
    default of 0, and the default is the trial that every reader looks for.
    """
    distinct = set(values)
    least = min(value for value in distinct if value > 0)
    beside = sorted((value for value in distinct if value <= 0), reverse=True)
    places = {value: least / _LEFT_OF_ALL**number for number, value in enumerate(beside, start=1)}
    return {value: places.get(value, value) for value in sorted(distinct)}


def powers_of_ten(low: float, high: float) -> list[float]:
    """Every power of ten from `low` to `high`, both above 0."""
    return [10.0**power for power in range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)]


def slice_scale(name: str, parameter: Parameter | None, values: Sequence[Any]) -> tuple[list[float], Scale]:
    """The values' places on the axis, and the axis, which is one of numbers or of names.

    A choice of up to ten numbers has a tick at each, even at those that no trial had. Names are numbered in
    the order of the space, then those that only trials have.
    """
    if values and all(map(is_number, values)):
        is_log = is_log_axis(parameter, values)
        ticks: tuple[tuple[float, str], ...] = ()
        if (
            isinstance(parameter, Choice)
            and len(parameter.values) <= 10
            and all(map(is_number, parameter.values))
        ):
            ticks = tuple((float(value), value_text(value)) for value in sorted(parameter.values))
        at = log_places(values) if is_log else {}
        if beside := [(place, value_text(value)) for value, place in at.items() if value <= 0]:
            known = [value for value in at if value > 0]
            ticks = (*beside, *((each, value_text(each)) for each in powers_of_ten(min(known), max(known))))
        title = f"{shortened(name)}{' (log scale)' if is_log else ''}"
        return [float(at.get(value, value)) for value in values], Scale(
            title=title, is_log=is_log, ticks=ticks
        )
    given = parameter.values if isinstance(parameter, Choice) else ()
    names = list(dict.fromkeys(map(value_text, [*given, *values])))
    ticks = tuple((float(number), shortened(text)) for number, text in enumerate(names))
    places = [float(names.index(value_text(value))) for value in values]
    return places, Scale(title=shortened(name), ticks=ticks, span=(-0.5, len(names) - 0.5))


def _slice_points(run: RunData, rung: int, places: Sequence[float], trials: Sequence[TrialRecord]) -> Series:
    """The trials whose highest rung is `rung`."""
    points = [(x, trial) for x, trial in zip(places, trials, strict=True) if trial.rung == rung]
    return Series(
        name=f"rung {rung}",
        x=[x for x, _ in points],
        y=[trial.value(run.metric) for _, trial in points],
        hover=[hover_text(run, trial) for _, trial in points],
        colour=rung_colour(rung),
        symbol=rung_symbol(rung),
    )


def _best_point(run: RunData, places: Sequence[float], trials: Sequence[TrialRecord]) -> list[Series]:
    """The best trial as a star, on top of its own point; nothing if it does not have the parameter."""
    best = run.best
    at = [x for x, trial in zip(places, trials, strict=True) if trial is best]
    if best is None or not at:
        return []
    x, y = at[0], best.value(run.metric)
    hover = [f"{best.trial_id} ranks first"]
    return [
        Series(name="ranks first", x=[x], y=[y], colour=VERMILION, symbol="star", size_px=14, hover=hover)
    ]


def _bounds(parameter: Parameter | None) -> list[Mark]:
    """A line at each end of the range; none for unordered choices and normal distributions."""
    if parameter is None or isinstance(parameter, Normal):
        return []
    if isinstance(parameter, Choice):
        if not parameter.is_ordered:
            return []
        low, high = min(parameter.values), max(parameter.values)
    else:
        low, high = parameter.ends
    return [Mark(at=float(low), text="lower bound"), Mark(at=float(high), text="upper bound")]


def hover_text(run: RunData, trial: TrialRecord) -> str:
    """A trial's score and hparams in one line."""
    hparams = hparams_text(trial.hparams, run.shown_hparams)
    return f"{trial.trial_id}: {value_text(trial.value(run.metric))} with {hparams}"
