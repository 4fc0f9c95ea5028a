"""Several objectives and constraints: each pair as a plot, the front as a table, what was infeasible. Pure.

A trial on the front is beaten by no other in all objectives; which of them is best is for a person to choose.
The energy section's plot of score against joules is also made here.
"""

from __future__ import annotations

from itertools import combinations

from search.accounting.spending import infeasible_text
from search.ledger.history import TrialRecord
from search.printable import counted
from search.ranking import is_comparable
from search.report.charts.chart import (
    VERMILION,
    Chart,
    Scale,
    Series,
    Style,
    Symbol,
    chart_key,
    rung_colour,
    rung_symbol,
)
from search.report.formatting import objective_texts
from search.report.page.elements import Cell, Element, Section, Table, Text, number_cell, text_cell
from search.report.page.run_data import RunData
from search.run.objective import ObjectiveValues, pareto_front, values_of
from search.space import Space

_Known = list[tuple[TrialRecord, ObjectiveValues]]


def objectives_section(run: RunData) -> Section:
    """The front in plots and as a table; empty if a space has one objective and no constraint."""
    elements: list[Element] = []
    if run.space.beside:
        elements += _front_elements(run)
    if run.space.constraints:
        text = infeasible_text(run.history, run.space.constraints)
        bounds = ", ".join(f"{name} {bound}" for name, bound in run.space.constraints.items())
        elements.append(Text(text=f"Constraints: {bounds}. {text or 'No trial broke one.'}"))
    return Section(key="objectives", title="Objectives", elements=elements)


def _front_elements(run: RunData) -> list[Element]:
    known = known_values(run, run.space)
    names = ", ".join(run.space.objective)
    if not known:
        return [Text(text=f"The front is left out: no trial has a value for each of {names}.")]
    num_lacking = sum(is_comparable(trial, run.metric) for trial in run.trials) - len(known)
    lacking = (
        f" Left out: {counted(num_lacking, 'trial')} without all of these values." if num_lacking else ""
    )
    note = (
        f"Trials were compared by {names} together. The front has those that no other trial beats in all of "
        "them, at the highest rung that any trial has completed; ranks in the table of trials are by "
        f"{run.metric} alone.{lacking}"
    )
    pairs = combinations(range(len(run.space.objective)), 2)
    charts = [pair_chart(run, run.space, known, pair, is_narrow=len(run.space.beside) > 1) for pair in pairs]
    return [Text(text=note), *charts, _front_table(run)]


def known_values(run: RunData, space: Space) -> _Known:
    """The trials with a score whose objectives in `space` are all known."""
    sound = [trial for trial in run.trials if is_comparable(trial, run.metric)]
    return [(trial, values) for trial in sound if (values := values_of(space, trial))]


def pair_chart(
    run: RunData,
    space: Space,
    known: _Known,
    pair: tuple[int, int],
    *,
    key: str = "",
    title: str = "",
    x_title: str = "",
    is_narrow: bool = False,
) -> Chart:
    """Two of the objectives of `space`, with the front of all objectives.

    Args:
        known: The result of `known_values`.
        pair: The places of the objectives on the y axis and on the x axis.
        title: The chart's title. Empty `title`, `key` and `x_title` are made from the objectives' names.
    """
    upwards, across = pair
    names = space.objective
    return Chart(
        key=key or chart_key("front", pair[0], pair[1], names[upwards], names[across]),
        title=title or f"{names[upwards]} against {names[across]}, with the Pareto front",
        x=Scale(title=x_title or _title(space, across)),
        y=Scale(title=_title(space, upwards)),
        series=[
            _front(run, space, pair),
            *_points(run, space, known, pair),
        ],
        is_narrow=is_narrow,
    )


def _title(space: Space, place: int) -> str:
    """The name with unit and direction, for an axis."""
    name = space.beside[place - 1].title if place else space.metric
    return f"{name}, {'larger' if space.modes[place] == 'max' else 'smaller'} is better"


def _front(run: RunData, space: Space, pair: tuple[int, int]) -> Series:
    """The front of two objectives as a dashed line, which only connects it: between two of its trials there
    is no configuration. The front of three as stars, as it is no line in any two of them."""
    upwards, across = pair
    front = (values.numbers for _, values in pareto_front(space, run.trials))
    ordered = sorted(front, key=lambda numbers: numbers[across])
    is_line = len(space.objective) == 2
    style: Style = "line" if is_line else "points"
    symbol: Symbol = "circle" if is_line else "star"
    return Series(
        name="Pareto front",
        x=[numbers[across] for numbers in ordered],
        y=[numbers[upwards] for numbers in ordered],
        style=style,
        symbol=symbol,
        colour=VERMILION,
        is_dashed=is_line,
        size_px=14.0,
    )


def _points(run: RunData, space: Space, known: _Known, pair: tuple[int, int]) -> list[Series]:
    """A point for each trial, by rung; horizontal intervals are the uncertainty of joules where a shared GPU
    had to be divided. Trials of different rungs do not compare, since a low rung's score is not final."""
    upwards, across = pair
    has_errors = across == len(space.objective) - 1 and space.joules_objective is not None
    series = []
    for rung in sorted({trial.rung or 0 for trial, _ in known}):
        at_rung = [(trial, values) for trial, values in known if trial.rung == rung]
        errors = [(values.uncertainty, values.uncertainty) for _, values in at_rung]
        series.append(
            Series(
                name=run.rung_name(rung),
                x=[values.numbers[across] for _, values in at_rung],
                y=[values.numbers[upwards] for _, values in at_rung],
                errors=errors if has_errors else (),
                hover=[_hover(trial, values) for trial, values in at_rung],
                colour=rung_colour(rung),
                symbol=rung_symbol(rung),
            )
        )
    return series


def _hover(trial: TrialRecord, values: ObjectiveValues) -> str:
    return f"{trial.trial_id}: {', '.join(objective_texts(values))}"


def _front_table(run: RunData) -> Table:
    front = pareto_front(run.space, run.trials)
    return Table(
        caption=f"The front: {len(front)} of {len(run.trials)} trials",
        columns=["trial", *run.space.objective, *run.shown_hparams],
        rows=[_row(run, trial, values) for trial, values in front],
    )


def _row(run: RunData, trial: TrialRecord, values: ObjectiveValues) -> list[Cell]:
    texts = objective_texts(values)
    return [
        text_cell(trial.trial_id),
        *(number_cell(number, text) for number, text in zip(values.numbers, texts, strict=True)),
        *(text_cell(trial.hparams.get(name)) for name in run.shown_hparams),
    ]
