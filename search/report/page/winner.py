"""The promoted configurations against the default. Pure.

The gain is the answer of the whole search, so its interval comes with it everywhere: as a chart, in the
table, and in the sentence that leads the page.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from search.report.charts.chart import BLUE, Chart, Mark, Scale, Series
from search.report.gain import set_text
from search.report.page.elements import (
    Cell,
    Element,
    Section,
    Table,
    Text,
    hparam_cell,
    number_cell,
    text_cell,
)
from search.report.page.run_data import Promotion, RunData


def winner_section(run: RunData) -> Section:
    """The gain over the default with its interval; before any promotion, how to get one."""
    promotion = run.promotion
    if promotion is None:
        none = "Nothing has been promoted yet: promote.py trains the best and the default in full."
        return Section(key="winner", title="Winner against default", elements=[Text(text=none)])
    winner = promotion.winner
    if winner is None:
        none = "No promoted training has finished yet, so there is nothing to compare with the default."
        return Section(key="winner", title="Winner against default", elements=[Text(text=none)])
    elements: list[Element] = [
        Text(text=_scored_on(run, winner)),
        *_gain_chart(run, promotion),
        _table(run, promotion),
    ]
    if promotion.history.ended is None:
        running = "The promotion is still running: these are the trainings finished so far."
        elements.insert(0, Text(text=running))
    return Section(key="winner", title="Winner against default", elements=elements)


def _scored_on(run: RunData, winner: Mapping[str, Any]) -> str:
    """The set that the trainings were scored on, and the score of guessing there."""
    guessing = winner["guessing"]
    known = "unknown" if guessing is None else f"{guessing:.4g} in {run.metric.removeprefix('val_')}"
    return f"Scored on {set_text(winner, run.space)}. The score of guessing is {known}."


def _gain_chart(run: RunData, promotion: Promotion) -> list[Chart]:
    """The gain of each promoted configuration over the default, with its 95 % interval and a line at 0.

    An interval that crosses the line is a tie. A point without an interval has one seed or an unknown
    uncertainty. Right is better, even for metrics where less is better: their gains have the sign reversed.
    """
    rows = [row for row in promotion.rows if row["gain_mean"] is not None]
    if not rows:
        return []
    places = list(range(len(rows) - 1, -1, -1))
    points = Series(
        name="gain",
        x=[row["gain_mean"] for row in rows],
        y=places,
        errors=[_reach(row) for row in rows],
        hover=[
            f"{row['trial_id']}: {row['gain_mean']:+.4g}, {row['conclusion']}, from {row['gain_interval']}"
            for row in rows
        ],
        colour=BLUE,
        is_in_legend=False,
        size_px=10,
    )
    plain = run.metric.removeprefix("val_")
    chart = Chart(
        key="gain",
        title="Gain over the default configuration",
        x=Scale(title=f"gain in {plain}, with its 95 % interval (better to the right)"),
        y=Scale(
            title="",
            ticks=tuple((place, str(row["trial_id"])) for place, row in zip(places, rows, strict=True)),
            span=(-0.6, len(rows) - 0.4),
        ),
        series=[points],
        marks=[Mark(at=0.0, text="the default")],
        height_px=170 + 40 * len(rows),
    )
    return [chart]


def _reach(row: Mapping[str, Any]) -> tuple[float, float]:
    """How far the interval reaches below and above the gain; 0 without one.

    The two differ if an end is cut at the largest gain that the metric's range allows.
    """
    if row["gain_low"] is None:
        return 0.0, 0.0
    return row["gain_mean"] - row["gain_low"], row["gain_high"] - row["gain_mean"]


def _table(run: RunData, promotion: Promotion) -> Table:
    """The rows of promoted.csv, ranked by validation.

    Ranking by test would choose the winner on the test set, and its test score would no longer be an
    estimate.
    """
    plain = run.metric.removeprefix("val_")
    columns = ("rank", "trial", "seeds", f"validation {plain}", f"test {plain}", "95 % interval")
    return Table(
        caption="Promoted configurations, ranked by validation",
        columns=[
            *columns,
            "gain",
            "95 % interval of the gain",
            "conclusion",
            "time (s)",
            "energy (J)",
            *run.shown_hparams,
        ],
        rows=[_row(run, row) for row in promotion.rows],
    )


def _row(run: RunData, row: Mapping[str, Any]) -> list[Cell]:
    """One configuration. Hints say what an interval comes from, and why joules are missing."""
    joules = row["energy_j"]
    return [
        number_cell(row["rank"]),
        text_cell(f"{row['trial_id']}{' (default)' if row['is_default'] else ''}"),
        number_cell(row["num_seeds"]),
        number_cell(row["val_mean"]),
        number_cell(row["test_mean"]),
        Cell(text=_interval(row, "test"), hint=str(row["test_interval"] or "")),
        number_cell(row["gain_mean"]),
        Cell(text=_interval(row, "gain"), hint=str(row["gain_interval"] or "")),
        text_cell(row["conclusion"]),
        number_cell(row["seconds"], f"{row['seconds']:.1f}"),
        number_cell(
            joules,
            None if joules is None else f"{joules:.1f}",
            _energy_hint(run, row),
        ),
        *(hparam_cell(row.get(name)) for name in run.shown_hparams),
    ]


def _energy_hint(run: RunData, row: Mapping[str, Any]) -> str:
    """Why joules are missing; if the whole run has none, a reference to the place that says it."""
    if row["energy_j"] is not None:
        return ""
    return "see Energy" if run.spent_j is None else str(row["energy_reason"] or "")


def _interval(row: Mapping[str, Any], name: str) -> str:
    """ "0.91 to 0.95"; empty if there is no interval."""
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return "" if low is None else f"{low:.4g} to {high:.4g}"
