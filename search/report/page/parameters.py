"""The effect of the searched parameters: importance, parallel coordinates, and a slice for each.

They answer three questions in this order: which parameters matter at all, which combinations are good, and
where in its range each parameter is good. None of them is causal: a sampler tries good regions more often, so
a parameter that follows another looks important as well.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from search.ledger.history import TrialRecord
from search.report.charts.chart import (
    BLUE,
    GREY,
    VERMILION,
    Chart,
    Label,
    Scale,
    Series,
    bar_chart,
    evenly,
    shortened,
)
from search.report.formatting import value_text
from search.report.page.bounds import bound_sentence
from search.report.page.elements import Element, Section, Text
from search.report.page.run_data import RunData
from search.report.page.slices import hover_text, is_log_axis, slice_of
from search.space.parameters import is_number

# Trials that the forest behind the importance is grown on, evenly over the ranks: its time grows with the
# square of their number.
_MOST_ANALYSED = 500
_MOST_LINES = 300  # of the parallel coordinates; more of them are one grey area
_MOST_TICKS = 6  # distinct values of a parameter that are all named on its axis; of more, the two ends
_FAINTEST = 0.12  # opacity of the worst trial: visible on white and on black


def parameters_section(run: RunData) -> Section:
    """How the score follows the parameters; a sentence where there is nothing to see."""
    if not run.shown_hparams:
        none = "No hyperparameter differs between the trials."
        return Section(key="parameters", title="Parameters", elements=[Text(text=none)])
    if len(run.ranked) < 2:
        none = f"{len(run.ranked)} of {len(run.trials)} trials have a score; a comparison needs two."
        return Section(key="parameters", title="Parameters", elements=[Text(text=none)])
    elements: list[Element] = [*_bound_texts(run), *importance(run), parallel(run)]
    elements += [slice_of(run, name) for name in run.shown_hparams]
    return Section(key="parameters", title="Parameters", elements=elements)


def _bound_texts(run: RunData) -> list[Text]:
    """A warning for each parameter whose best value is at a bound of its range."""
    return [Text(text=bound_sentence(name), is_warning=True) for name in run.reached_bounds]


def importance(run: RunData) -> list[Element]:
    """A bar for each parameter, or the reason why there is none.

    Scores of one rung only are compared: over several, the budget would explain most of the variance, and the
    parameters what is left.
    """
    # Optuna and scikit-learn take 1 s to import, and a page of two trials needs neither.
    from search.sampling.importance import FEWEST, TooFew, importances

    rung, found = _compared(run, fewest=FEWEST)
    scored = evenly(found, _MOST_ANALYSED)
    try:
        shares = importances(run.space, [(trial.hparams, value) for trial, value in scored])
    except TooFew as error:
        return [Text(text=f"Importance of the parameters is left out: {error}.")]
    which = f"{len(scored)}" if len(scored) == len(found) else f"{len(scored):,} of {len(found):,}"
    note = (
        f"Importance by functional ANOVA over the {which} scores at {run.rung_name(rung)}: the share "
        "of their variance that a parameter explains by itself. With few trials this is rough."
    )
    left_out = [name for name in run.space.parameters if name not in shares]
    if left_out:
        note += f" Left out, because not every trial has them: {', '.join(left_out)}."
    return [Text(text=note), _importance_chart(shares)]


def _compared(run: RunData, *, fewest: int) -> tuple[int, list[tuple[TrialRecord, float]]]:
    """The rung whose scores are analysed: the highest that half of the ranked trials, and at least `fewest`,
    have completed, with their scores there; the lowest rung if there is none.

    The top rung is the one that matters, but few trials reach it, and those were chosen for being alike:
    among winners the learning rate hardly varies, and seems not to matter.
    """
    num_needed = max(fewest, len(run.ranked) / 2)
    scored: list[tuple[TrialRecord, float]] = []
    for rung in range(len(run.space.ladder.rungs) - 1, -1, -1):
        values = [(trial, trial.value_at(run.metric, rung)) for trial in run.ranked]
        scored = [(trial, value) for trial, value in values if value is not None]
        if len(scored) >= num_needed:
            return rung, scored
    return 0, scored


def _importance_chart(shares: Mapping[str, float]) -> Chart:
    """Bars up to 1.05: the shares add up to 1, and a single parameter may have all of it."""
    bars = [(shortened(name), share) for name, share in shares.items()]
    axis = Scale(title="share of the variance explained", span=(0, 1.05))
    return bar_chart(
        "importance", "Importance of the parameters", axis, bars, [f"{share:.3f}" for _, share in bars]
    )


@dataclass(frozen=True)
class _Line:
    """How an axis of the parallel coordinates places its values between 0 and 1."""

    title: str
    ticks: Sequence[tuple[float, str]]
    places: Mapping[str, float]  # by trial


def parallel(run: RunData) -> Chart:
    """Each trial as a line through its parameters to its score, the last axis.

    Good trials are strong lines, bad ones faint. Where the strong ones pass through one place of an axis,
    that value matters; where they spread over all of it, it does not. Each axis has its own range, from the
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
            title="parameter, and the metric at the trial's highest rung",
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
    """An axis of numbers, from the smallest (0) to the largest (1); one value alone is placed in the middle.

    Up to six distinct values are all named, as those of a choice; of more only the ends are.
    """
    low, high = min(values.values()), max(values.values())

    def place(value: float) -> float:
        if low == high:
            return 0.5
        if is_log:
            return math.log(value / low) / math.log(high / low)
        return (value - low) / (high - low)

    distinct = sorted(set(values.values()))
    named = distinct if len(distinct) <= _MOST_TICKS else [low, high]
    ticks = [(place(value), value_text(value)) for value in named]
    return _Line(name, ticks, {trial: place(value) for trial, value in values.items()})
