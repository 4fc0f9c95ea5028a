"""When each trial trained, and at which rung: as many rows as trials trained at the same time. Pure.

The journal knows when epochs ended, but not on which worker. So a stay goes into the first row that is free,
and there are as many rows as trials ever trained together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from search.ledger.history import Event
from search.printable import counted
from search.report.charts.chart import Chart, Scale, Series, rung_colour
from search.report.formatting import duration, value_text
from search.report.page.run_data import RunData

_CELLS = 1000  # pixels of a row: a shorter bar is drawn one pixel wide, and a second one in it is not drawn
_MOST_ROWS = 64  # more would be a grey block: of a search on 1,000 workers the first ones are shown
_MOST_NAMED = 12  # rows with a number beside them
_SLACK_S = 0.25  # a stay ends and the next begins in the same worker; clocks of two events differ


@dataclass(frozen=True, kw_only=True)
class Stay:
    """Epochs of one trial at one rung, without a pause between them.

    Attributes:
        start_s, end_s: Seconds of the run, all its sessions one after the other.
        value: The metric after its last epoch; None if it had none.
        row: Its place among the stays at the same time, from 0.
    """

    trial_id: str
    rung: int
    start_s: float
    end_s: float
    num_epochs: int = 1
    value: float | None = None
    row: int = 0


def stays(events: Sequence[Event], metric: str) -> list[Stay]:
    """Every stay of every trial in the order in which they began, each in its row."""
    found: list[Stay] = []
    latest: dict[str, int] = {}  # by trial that trains, the place of its stay in `found`
    before_s = now_s = 0.0
    for event in events:
        if event["event"] == "session_started":
            before_s, latest = now_s, {}
        now_s = max(now_s, before_s + event.get("elapsed_s", 0.0))
        if event["event"] in ("trial_ended", "attempt_failed"):
            latest.pop(event["trial"], None)
        if event["event"] != "epoch" or event["row"].get("is_replay"):
            continue
        trial, row = event["trial"], event["row"]  # as JSON: making 15,000 EpochRows takes a second
        value = row["metrics"].get(metric)
        place = latest.get(trial)
        if place is not None and found[place].rung == row["rung"]:
            longer = {"end_s": now_s, "num_epochs": found[place].num_epochs + 1, "value": value}
            found[place] = replace(found[place], **longer)
            continue
        latest[trial] = len(found)
        start_s = max(before_s, now_s - row["seconds"])
        found.append(Stay(trial_id=trial, rung=row["rung"], start_s=start_s, end_s=now_s, value=value))
    return _in_rows(found)


def _in_rows(found: Sequence[Stay]) -> list[Stay]:
    """Each stay in the first row that is free when it begins."""
    free_s: list[float] = []
    placed = []
    for stay in sorted(found, key=lambda each: each.start_s):
        rows = (row for row, end_s in enumerate(free_s) if end_s <= stay.start_s + _SLACK_S)
        row = next(rows, len(free_s))
        free_s[row : row + 1] = [stay.end_s]
        placed.append(replace(stay, row=row))
    return placed


def timeline(run: RunData) -> Chart | None:
    """The stays as bars in the colours of their rungs; None before the first epoch.

    Gaps between bars are waiting: starts, imports, or nothing to train.
    """
    found = stays(run.events, run.metric)
    if not found:
        return None
    end_s = max(0.001, *(stay.end_s for stay in found))  # of a run whose clock showed nothing
    unit_s, unit = _unit(end_s)
    num_rows = max(stay.row for stay in found) + 1
    num_shown = min(num_rows, _MOST_ROWS)
    shown = _visible([stay for stay in found if stay.row < num_shown], end_s / _CELLS)
    height_px = max(170, min(560, 110 + 26 * num_shown))
    width_px = max(2.0, min(16.0, 0.6 * (height_px - 100) / num_shown))
    named = range(0, num_shown, math.ceil(num_shown / _MOST_NAMED))
    return Chart(
        key="timeline",
        title="When each trial trained, coloured by rung, in as many rows as trials trained at once"
        + (f" (the first {num_shown} of {num_rows})" if num_shown < num_rows else ""),
        x=Scale(title=f"time of the run ({unit})", span=(0.0, end_s / unit_s * 1.005)),
        y=Scale(
            title="",
            ticks=tuple((float(-row), str(row + 1)) for row in named),
            span=(0.4 - num_shown, 0.6),
        ),
        series=[
            _bars(run, [stay for stay in shown if stay.rung == rung], unit_s, width_px=width_px)
            for rung in sorted({stay.rung for stay in shown})
        ],
        height_px=height_px,
    )


def _unit(end_s: float) -> tuple[float, str]:
    """The unit in which a run reads best: seconds below ten minutes, minutes below ten hours, else hours."""
    if end_s < 600:
        return 1.0, "s"
    return (60.0, "min") if end_s < 36_000 else (3600.0, "h")


def _visible(found: Sequence[Stay], pixel_s: float) -> list[Stay]:
    """At most one bar for each of a row's 1,000 pixels, each at least a pixel long."""
    taken: set[tuple[int, int]] = set()
    shown = []
    for stay in found:
        cell = (stay.row, int(stay.start_s / pixel_s))
        if cell not in taken:
            taken.add(cell)
            # A gap of a pixel and a half tells two bars apart.
            shown.append(replace(stay, end_s=max(stay.end_s - 1.5 * pixel_s, stay.start_s + pixel_s)))
    return shown


def _bars(run: RunData, found: Sequence[Stay], unit_s: float, *, width_px: float) -> Series:
    """One rung's stays as one series: thick lines with a gap after each."""
    x: list[float | None] = []
    y: list[float | None] = []
    hover: list[str] = []
    for stay in found:
        x += [stay.start_s / unit_s, stay.end_s / unit_s, None]
        y += [-stay.row, -stay.row, None]
        epochs = counted(stay.num_epochs, "epoch")
        took = duration(stay.end_s - stay.start_s)
        text = f"{stay.trial_id}, {epochs} at rung {stay.rung} in {took}: {value_text(stay.value)}"
        hover += [text, text, ""]
    return Series(
        name=run.rung_name(found[0].rung),
        x=x,
        y=y,
        hover=hover,
        style="line",
        colour=rung_colour(found[0].rung),
        width_px=width_px,
    )
