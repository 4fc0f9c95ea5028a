"""A forecast in words, and beside it what came true."""

from __future__ import annotations

from collections.abc import Callable

from rich.table import Table

from search.budget import Spent
from search.forecast import Forecast, Span
from search.report.formatting import duration, rung_text
from search.space import Space


def ladder_table(space: Space, told: Forecast | None) -> Table:
    """The rungs, with the trials that end each and the epochs that are run at it where they are foretold."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("rung", "a trial has then used", *(("trials end it", "epochs run at it") if told else ())):
        table.add_column(column)
    for rung in range(len(space.ladder.rungs)):
        counts = [count_text(told.rung_trials[rung]), count_text(told.rung_epochs[rung])] if told else []
        table.add_row(str(rung), rung_text(space.ladder, rung), *counts)
    return table


def forecast_lines(told: Forecast) -> list[str]:
    """What the search will take, and which limit will end it."""
    if told.is_endless:
        return ["forecast: no limit ends it; it runs until it is interrupted"]
    if told.seconds is None:
        return [f"forecast: {forecast_text(told)}; the first epochs tell the time"]
    return [f"forecast: {forecast_text(told)}", f"ends by: {told.reason}; costs are {told.source}"]


def forecast_text(told: Forecast) -> str:
    """As "24 trials, 41 epochs (38 to 44), 1:40 (1:20 to 2:10), 0.03 kWh (0.02 to 0.04), 0.2 GiB of disk"."""
    kwh, disk = told.kwh, told.disk_gib
    parts = [
        _ranged(told.num_trials, "{:.0f}".format, " trials"),
        _ranged(told.epochs, "{:.0f}".format, " epochs"),
    ]
    if told.seconds is not None:
        parts.append(_ranged(told.seconds, duration))
        parts.append("kWh unknown" if kwh is None else _ranged(kwh, "{:.2g}".format, " kWh"))
    if disk is not None:
        parts.append(f"at most {disk:.2g} GiB of checkpoints")
    return ", ".join(parts)


def outcome_text(told: Forecast, *, epochs: int, spent: Spent) -> str:
    """What came true of it, as "took 1:38 (forecast 1:40, 1:20 to 2:10), 40 epochs (41, 38 to 44)"."""
    parts = []
    if told.seconds is not None:
        parts.append(f"{duration(spent.hours * 3600)} (forecast {_range_text(told.seconds, duration)})")
    parts.append(f"{epochs} epochs ({_range_text(told.epochs, '{:.0f}'.format)})")
    if told.kwh is not None and spent.kwh is not None:
        parts.append(f"{spent.kwh:.2g} kWh ({_range_text(told.kwh, '{:.2g}'.format)})")
    return "took " + ", ".join(parts)


def count_text(span: Span) -> str:
    """ "41", or with its range "41 (38 to 44)"."""
    return _ranged(span, "{:.0f}".format)


def _ranged(span: Span, text: Callable[[float], str], unit: str = "") -> str:
    middle, low, high = text(span.median), text(span.low), text(span.high)
    return f"{middle}{unit}" if low == high else f"{middle}{unit} ({low} to {high})"


def _range_text(span: Span, text: Callable[[float], str]) -> str:
    middle, low, high = text(span.median), text(span.low), text(span.high)
    return middle if low == high else f"{middle}, {low} to {high}"
