"""Each trial as a line through its parameters to its score: parallel coordinates, drawn as lines. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from search.ledger.history import TrialRecord
from search.report.charts.chart import BLUE, GREY, VERMILION, Chart, Label, Scale, Series, shortened
from search.report.formatting import value_text
from search.report.page.run_data import RunData
from search.report.page.slices import hover_text, is_log_axis, log_places, powers_of_ten
from search.space.parameters import is_number

_MOST_LINES = 300  # more of them are one grey area
_MOST_NAMED = 6  # distinct values of a parameter that are all named on its axis
_FAINTEST = 0.12  # opacity of the worst trial: visible on white and on black
_APART = 0.09  # share of the axis between two ticks; closer ones would touch
_STEPS = (1, 2, 5, 10)  # round numbers within a power of ten


@dataclass(frozen=True)
class _Line:
    """How an axis of the parallel coordinates places its values between 0 and 1."""

    title: str
    ticks: Sequence[tuple[float, str]]
    places: Mapping[str, float]  # by trial


def parallel(run: RunData) -> Chart:
    """Each trial as a line through its parameters to its score, the last axis.

    Good trials are strong lines, bad ones faint. Where the strong ones pass through one place of an axis,
    that value matters; if they spread over all of it, it does not. Each axis has its own range, from the
    smallest to the largest value tried.
    """
    shown = run.ranked[:_MOST_LINES][::-1]  # the best is drawn last, over the others
    lines = [_hparam_line(run, name, shown) for name in run.shown_hparams]
    scores = {trial.trial_id: trial.value(run.metric) for trial in shown}
    lines.append(_number_line(run.metric, {name: v for name, v in scores.items() if v is not None}))
    labels = [
        Label(x=number, y=at, text=text)
        for number, line in enumerate(lines)
        for at, text in line.ticks
    ]  # fmt: skip
    return Chart(
        key="parallel",
        title="Parallel coordinates: one line per trial, stronger for better ranks"
        + (f" (the best {len(shown)} of {len(run.ranked):,})" if len(shown) < len(run.ranked) else ""),
        x=Scale(
            title="each axis from the smallest to the largest value tried; the last is the score",
            ticks=tuple(enumerate(line.title for line in lines)),
            span=(-0.15, len(lines) - 1 + 0.45),
        ),
        y=Scale(title="", ticks=((0.0, "lowest"), (1.0, "highest")), span=(-0.06, 1.08)),
        series=[
            *(
                _trial_line(run, trial, lines, share=number / max(1, len(shown) - 1))
                for number, trial in enumerate(shown)
            ),
            *(_axis_line(number) for number in range(len(lines))),
        ],
        labels=labels,
        height_px=430,
    )


def _trial_line(run: RunData, trial: TrialRecord, lines: Sequence[_Line], *, share: float) -> Series:
    """One trial's line.

    Args:
        share: Its rank, from 0 (the worst shown) to 1 (the best), which is drawn in colour.
    """
    known = [(number, line.places.get(trial.trial_id)) for number, line in enumerate(lines)]
    text = hover_text(run, trial)
    return Series(
        name=trial.trial_id,
        x=[number for number, _ in known],
        y=[place for _, place in known],
        style="line",
        colour=VERMILION if share == 1 else BLUE,
        opacity=_FAINTEST + (1 - _FAINTEST) * share,
        # A parameter that the trial does not have (`when`) is None, and its line has a gap there.
        hover=[text] * len(known),
        is_in_legend=False,
        width_px=3.0 if share == 1 else 1.6,
    )


def _axis_line(number: int) -> Series:
    """A vertical axis: the chart has one y axis, and each parameter needs one of its own."""
    return Series(
        name="axis", x=[number, number], y=[0, 1], style="line", colour=GREY, is_in_legend=False, width_px=1
    )


def _hparam_line(run: RunData, name: str, trials: Sequence[TrialRecord]) -> _Line:
    """The axis of a hyperparameter: of numbers, linear or logarithmic as it is searched, or of names.

    Names have no order, so they are placed alphabetically, evenly from 0 to 1.
    """
    values = {trial.trial_id: trial.hparams[name] for trial in trials if name in trial.hparams}
    if values and all(map(is_number, values.values())):
        return _number_line(name, values, is_log=is_log_axis(run.space.parameters.get(name), values.values()))
    names = sorted({value_text(value) for value in values.values()})
    at = {text: number / max(1, len(names) - 1) for number, text in enumerate(names)}
    return _Line(
        name,
        [(place, shortened(text)) for text, place in at.items()],
        {trial: at[value_text(value)] for trial, value in values.items()},
    )


def _number_line(name: str, values: Mapping[str, float], *, is_log: bool = False) -> _Line:
    """An axis of numbers, from the smallest (0) to the largest (1); a single value is placed in the middle.

    Up to six distinct values, such as those of a choice, are all named. Of more, the ends are, and round
    numbers in between.
    """
    at = log_places(values.values()) if is_log else {value: value for value in values.values()}
    low, high = min(at.values()), max(at.values())

    def place(value: float) -> float:
        if low == high:
            return 0.5
        if is_log:
            return math.log(at.get(value, value) / low) / math.log(high / low)
        return (value - low) / (high - low)

    distinct = sorted(at)
    named = distinct
    if len(distinct) > _MOST_NAMED:
        named = [distinct[0], distinct[-1], *_round_numbers(low, high, is_log=is_log)]
    ticks: list[tuple[float, str]] = []
    for value in named:  # the ends come first, and keep others off
        if len(distinct) <= _MOST_NAMED or all(abs(place(value) - at) >= _APART for at, _ in ticks):
            ticks.append((place(value), value_text(value)))
    return _Line(name, ticks, {trial: place(value) for trial, value in values.items()})


def _round_numbers(low: float, high: float, *, is_log: bool) -> list[float]:
    """Powers of ten between two numbers; on a linear axis, or within a factor of ten, two to five multiples
    of 1, 2 or 5."""
    if is_log and high >= 10 * low:
        return powers_of_ten(low, high)
    power = 10.0 ** math.floor(math.log10((high - low) / 4))
    step = next(factor * power for factor in _STEPS if factor * power >= (high - low) / 5)
    return [number * step for number in range(math.ceil(low / step), math.floor(high / step) + 1)]
