"""The section on who decided what a freeze-thaw search trained, and how well its model predicted. Pure.

The journal has two sets of numbers: with each decision, the share of ranks in the decisions left to ranks and
model; with each trial that left its worker, what the model had predicted for the values that then came.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, median

from search.ledger.history import Event
from search.rank_correlation import spearman
from search.report.charts.chart import BLUE, GREY, ORANGE, VERMILION, Chart, Scale, Series, Symbol, evenly
from search.report.formatting import DECIDERS, value_text
from search.report.page.elements import Cell, Element, Section, Table, Text, number_cell, text_cell
from search.report.page.history import thinned_text
from search.report.page.run_data import RunData

_COLOURS = {"rung": BLUE, "model": ORANGE, "random": GREY}
_MOST_POINTS = 2000  # as in history.py
_CLAIMED = 0.8  # share of values that the model's intervals should hold
_FEWEST = 4  # values that a rank correlation needs


@dataclass(frozen=True, kw_only=True)
class Foreseen:
    """A value, and what the model had predicted for it.

    Attributes:
        low, high: Ends of the 80 % interval of the prediction.
    """

    trial_id: str
    epoch: int
    low: float
    expected: float
    high: float
    value: float

    @property
    def is_covered(self) -> bool:
        return self.low <= self.value <= self.high

    @property
    def text(self) -> str:
        interval = f"{value_text(self.low)} to {value_text(self.high)}"
        return (
            f"{self.trial_id}, epoch {self.epoch}: {value_text(self.value)}, "
            f"predicted {value_text(self.expected)} ({interval})"
        )


def deciders_section(run: RunData) -> Section:
    """Which decider was trusted over time, and the model's calibration; empty without a model."""
    title = "Who decided, and how well the model predicted"
    if run.space.scheduler.mode != "freeze_thaw":
        return Section(key="deciders", title=title, elements=[])
    decisions = [event for event in run.events if "decided_by" in event]
    if not decisions:
        return Section(key="deciders", title=title, elements=[Text(text="No decision has been made yet.")])
    elements: list[Element] = [Text(text=_decisions_sentence(decisions))]
    if shares := [event for event in decisions if "ranks_share" in event]:  # older journals have none
        elements.append(_trust_chart(shares))
    foreseen = foreseen_in(run.events)
    elements.append(Text(text=_calibration_sentence(foreseen), is_warning=_is_too_sure(foreseen)))
    if foreseen:
        elements += [_calibration_chart(run, foreseen), _table(foreseen)]
    return Section(key="deciders", title=title, elements=elements)


def foreseen_in(events: Sequence[Event]) -> list[Foreseen]:
    """Every value that the model had predicted, in the order in which the trials left their workers."""
    names = ("epoch", "low", "expected", "high", "value")
    return [
        Foreseen(trial_id=event["trial"], **dict(zip(names, numbers, strict=True)))
        for event in events
        for numbers in event.get("foreseen", ())
    ]


def _decisions_sentence(decisions: Sequence[Event]) -> str:
    made = Counter(DECIDERS[event["decided_by"]] for event in decisions)
    counts = ", ".join(f"{name} {count}" for name, count in made.most_common())
    latest = decisions[-1].get("ranks_share")
    trust = "" if latest is None else (
        f" Of the decisions left to ranks and model, ranks made {latest:.0%} in the end: the one "
        "that had predicted the ranks of trials better was given more of them."
    )  # fmt: skip
    return f"{len(decisions)} decisions: {counts}.{trust}"


def _trust_chart(shares: Sequence[Event]) -> Chart:
    """The share of decisions that ranks make, over all decisions, with a point for each by its decider.

    Above the middle ranks are trusted, below it the model. The share stays between 20 and 90 %, since a
    decider that is never asked could not win trust back.
    """
    numbers = [(number, event["ranks_share"], event["decided_by"]) for number, event in enumerate(shares, 1)]
    shown = evenly(numbers, _MOST_POINTS)
    x, y, _ = zip(*shown, strict=True)
    points = [
        Series(
            name=f"decided by {name}",
            x=[number for number, _, by in shown if by == decider],
            y=[share for _, share, by in shown if by == decider],
            hover=[f"decision {number}: {name}" for number, _, by in shown if by == decider],
            colour=_COLOURS[decider],
            symbol="square" if decider == "model" else "circle",
            size_px=6,
        )
        for decider, name in DECIDERS.items()
        if any(by == decider for *_, by in shown)
    ]
    return Chart(
        key="trust",
        title="Who is trusted: the share of ranks; the rest is the model's"
        + thinned_text(len(shown), len(numbers), "decisions"),
        x=Scale(title="decisions", is_whole=True),
        y=Scale(title="share of ranks", span=(0.0, 1.0)),
        series=[Series(name="share of ranks", x=x, y=y, style="steps", colour=GREY), *points],
        height_px=320,
    )


def _calibration_sentence(foreseen: Sequence[Foreseen]) -> str:
    if not foreseen:
        return "The model has predicted no value yet, so nothing is known of its calibration."
    covered = sum(each.is_covered for each in foreseen)
    low, high = _wilson(covered, len(foreseen))
    said = (
        f"The model's 80 % intervals contained {covered} of the {len(foreseen)} observed values: "
        f"{covered / len(foreseen):.0%} (95 % interval {low:.0%} to {high:.0%})."
    )
    if _is_too_sure(foreseen):
        return f"{said} The model is overconfident: treat its predictions with care."
    return f"{said} It is underconfident." if low > _CLAIMED else said


def _is_too_sure(foreseen: Sequence[Foreseen]) -> bool:
    covered = sum(each.is_covered for each in foreseen)
    return bool(foreseen) and _wilson(covered, len(foreseen))[1] < _CLAIMED


def _wilson(count: int, num: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share, which stays inside [0, 1] and never has width 0."""
    z = NormalDist().inv_cdf(0.975)
    middle, scale = count / num + z**2 / (2 * num), 1 + z**2 / num
    reach = z * math.sqrt(count / num * (1 - count / num) / num + z**2 / (4 * num**2))
    return max(0.0, (middle - reach) / scale), min(1.0, (middle + reach) / scale)


def _calibration_chart(run: RunData, foreseen: Sequence[Foreseen]) -> Chart:
    """The predictions, with their 80 % intervals, against what was reached: on the line the two are equal."""
    shown = evenly(foreseen, _MOST_POINTS // 4)  # each has an interval to draw
    ends = [min(each.low for each in shown), max(each.high for each in shown)]
    line = Series(name="as predicted", x=ends, y=ends, style="line", colour=GREY, is_dashed=True)
    held = [each for each in shown if each.is_covered]
    missed = [each for each in shown if not each.is_covered]
    series = [
        line,
        _with_intervals("within its interval", held, BLUE, "circle"),
        _with_intervals("outside", missed, VERMILION, "x"),
    ]
    return Chart(
        key="calibration",
        title="Predicted against observed" + thinned_text(len(shown), len(foreseen), "values"),
        x=Scale(title=f"predicted {run.metric}, with its 80 % interval"),
        y=Scale(title=f"observed {run.metric}"),
        series=[each for each in series if each.x],
    )


def _with_intervals(name: str, group: Sequence[Foreseen], colour: str, symbol: Symbol) -> Series:
    return Series(
        name=name,
        x=[each.expected for each in group],
        y=[each.value for each in group],
        errors=[(each.expected - each.low, each.high - each.expected) for each in group],
        hover=[each.text for each in group],
        colour=colour,
        symbol=symbol,
        size_px=6,
        opacity=0.75,
    )


def _table(foreseen: Sequence[Foreseen]) -> Table:
    """The calibration of each third of the search: a model of few curves is worse than one of many."""
    third = math.ceil(len(foreseen) / 3)
    stretches = [
        ("first third", foreseen[:third]),
        ("second third", foreseen[third : 2 * third]),
        ("last third", foreseen[2 * third :]),
        ("all", foreseen),
    ]
    return Table(
        caption="The model's predictions, against the values observed later",
        columns=(
            "part of the search",
            "values",
            "within the 80 % interval",
            "mean error",
            "typical error",
            "rank correlation",
        ),
        rows=[_row(name, group) for name, group in stretches if group],
    )


def _row(name: str, group: Sequence[Foreseen]) -> list[Cell]:
    errors = [each.value - each.expected for each in group]
    covered = fmean(each.is_covered for each in group)
    has_ranks = len(group) >= _FEWEST
    order = spearman([e.expected for e in group], [e.value for e in group]) if has_ranks else None
    return [
        text_cell(name),
        number_cell(len(group)),
        number_cell(covered, f"{covered:.0%}"),
        number_cell(fmean(errors), f"{fmean(errors):+.3g}"),
        number_cell(median(map(abs, errors)), f"{median(map(abs, errors)):.3g}"),
        number_cell(order, None if order is None else f"{order:.2f}", "" if has_ranks else "too few values"),
    ]
