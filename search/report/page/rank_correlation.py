"""The section on whether cheap scores can be trusted: rank correlations between rungs. Pure.

A search on rungs is only as good as its lowest rung: trials that it ranks low are never trained further. The
check on that is the correlation with the rung above, over the trials that completed both.
"""

from __future__ import annotations

from collections.abc import Sequence

from search.rank_correlation import Correlation, RungCorrelation
from search.report.charts.chart import BLUE, ORANGE, Chart, Mark, Scale, Series
from search.report.page.conclusion import rank_correlation_sentence
from search.report.page.elements import Cell, Element, Section, Table, Text, number_cell, text_cell
from search.report.page.run_data import RunData


def rank_correlation_section(run: RunData) -> Section:
    """Rank correlations between rungs with their intervals, and what to do if they are low."""
    known = [each for each in run.rung_correlations if each.overall]
    elements: list[Element] = [
        Text(text=rank_correlation_sentence(run), is_warning=any(each.warning for each in known))
    ]
    if known:
        elements += [_chart(known), _table(run)]
    return Section(key="rank_correlation", title="Can cheap scores be trusted?", elements=elements)


def _chart(known: Sequence[RungCorrelation]) -> Chart:
    """A row for each pair of neighbouring rungs, with two intervals: over all trials, and over the better
    half.

    1 is the same order, 0 no relation, and below 0.5 a rung is doubtful: there it orders one pair of trials
    in three the wrong way round. The better half decides, because the winner is in it; over all trials the
    correlation is flattered by configurations that are bad at any budget.
    """
    names = {number: f"rung {each.rung} to {each.rung + 1}" for number, each in enumerate(known)}
    halves = [(number, each.better_half) for number, each in enumerate(known)]
    wholes = [(number, each.overall) for number, each in enumerate(known)]
    return Chart(
        key="rank_correlation",
        title="Rank correlation of each rung with the next",
        x=Scale(title="Spearman's rank correlation, with its 95 % interval", span=(-1.05, 1.05)),
        y=Scale(title="", ticks=tuple(names.items()), span=(-0.6, len(known) - 0.4)),
        series=[
            _intervals("all trials", wholes, BLUE, shift=0.12),
            _intervals("the better half", halves, ORANGE, shift=-0.12),
        ],
        marks=[Mark(at=0.5, text="doubtful below")],
        height_px=190 + 60 * len(known),
    )


def _intervals(
    name: str, points: Sequence[tuple[int, Correlation | None]], colour: str, *, shift: float
) -> Series:
    """One series of correlations with their intervals.

    Args:
        shift: Distance from the row's middle, so that two series do not cover each other.
    """
    known = [(place, value) for place, value in points if value]
    return Series(
        name=name,
        x=[value.value for _, value in known],
        y=[place + shift for place, _ in known],
        errors=[(value.value - value.low, value.high - value.value) for _, value in known],
        hover=[f"{name}: {value.value:.2f} ({value.low:.2f} to {value.high:.2f})" for _, value in known],
        colour=colour,
        symbol="circle" if shift > 0 else "square",
    )


def _table(run: RunData) -> Table:
    """The correlations as numbers, with how many trials each rests on and how many are control trials."""
    columns = (
        "rung",
        "against",
        "trials",
        "control trials",
        "all trials",
        "from",
        "to",
        "better half",
        "from",
        "to",
    )
    return Table(
        caption="Spearman's rank correlation",
        columns=columns,
        rows=[_row(each) for each in run.rung_correlations],
    )


def _row(each: RungCorrelation) -> list[Cell]:
    return [
        number_cell(each.rung),
        text_cell(f"rung {each.rung + 1}"),
        number_cell(each.num_trials),
        number_cell(each.num_control_trials),
        *_cells(each.overall),
        *_cells(each.better_half),
    ]


def _cells(correlation: Correlation | None) -> list[Cell]:
    """Value and both ends; three empty cells with the reason if too few trials completed both rungs."""
    if correlation is None:
        return [Cell(text="", hint="too few trials completed both rungs")] * 3
    return [number_cell(value, f"{value:.2f}") for value in vars(correlation).values()]
