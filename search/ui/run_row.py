"""A run as a row of the list: what it is, how far it is, what it found and what it cost. Pure.

Each cell has its text, its sort key, and a hint, which says why a value is unknown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from statistics import fmean
from typing import Any, Literal

from search.printable import printable
from search.report.formatting import duration, value_text
from search.report.page.elements import Cell, text_cell
from search.report.page.run_data import RunData
from search.report.unmeasured import energy_note
from search.tariff import JOULES_PER_KWH

State = Literal["reading", "running", "promoting", "promoted", "ended", "killed", "damaged", "gone"]
_CHANGING = ("reading", "running", "promoting")
_UNKNOWN = Cell(text="")


@dataclass(frozen=True, kw_only=True)
class RunRow:
    """A run in the list.

    Attributes:
        name: The name of its folder.
        detail: Why it ended, which process was killed, or what is wrong.
        cells: Its cells by column.
    """

    name: str
    state: State
    detail: str = ""
    cells: Mapping[str, Cell] = field(default_factory=dict)

    @property
    def may_change(self) -> bool:
        """Whether it can change without a change of its files: its process may be killed."""
        return self.state in _CHANGING

    def to_dict(self) -> dict[str, Any]:
        """The row for JSON; a cell is its text, its sort key and its hint."""
        cells = {name: [cell.text, _finite(cell.order), cell.hint] for name, cell in self.cells.items()}
        return {"name": self.name, "state": self.state, "detail": self.detail, "cells": cells}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> RunRow:
        cells = {
            name: Cell(text=text, order=order, hint=hint)
            for name, (text, order, hint) in content["cells"].items()
        }
        return cls(name=content["name"], state=content["state"], detail=content["detail"], cells=cells)


def damaged_row(name: str, reason: str) -> RunRow:
    """The row of a run that cannot be read."""
    return RunRow(name=name, state="damaged", detail=printable(reason))


def run_row(run: RunData) -> RunRow:
    """The row of a run, whether it has ended or not."""
    state, detail = _state(run)
    joules, tariff = run.spent_j, run.space.limits.tariff
    reason = "" if joules is not None else run.energy_reason
    return RunRow(
        name=run.name,
        state=state,
        detail=printable(detail),
        cells={
            "space": Cell(text=run.space.name, order=run.space.name, hint=run.space.title),
            "trials": _trials(run),
            "best": _best(run),
            "gain": _gain(run),
            "epochs": _epochs(run),
            "time": Cell(text=duration(run.seconds), order=run.seconds),
            "kwh": _number(
                None if joules is None else joules / JOULES_PER_KWH,
                reason or f"{joules:.6g} J{energy_note(run.trials)}",
            ),
            "co2e": _number(tariff.co2e_g(joules), reason or tariff.co2e_basis),
            "cost": _number(tariff.cost(joules), reason or tariff.cost_basis, unit=tariff.currency),
            "started": _started(run),
        },
    )


def _state(run: RunData) -> tuple[State, str]:
    """The state of the run, and its detail. A search that was resumed is running again, promoted or not."""
    if run.history.ended is None:
        if holder := run.ledger.lost_holder:
            return "killed", f"{holder} was killed before the run ended; run its command again to resume"
        last = f"last written {_utc(run.events[-1]['time']):%Y-%m-%d %H:%M:%S} UTC" if run.events else ""
        return "running", last
    if run.promotion is None:
        return "ended", run.history.ended
    if run.promotion.history.ended is not None:
        return "promoted", f"search: {run.history.ended}; promotion: {run.promotion.history.ended}"
    if holder := run.promotion.ledger.lost_holder:
        return "killed", f"{holder} was killed before the promotion ended; run its command again to resume"
    return "promoting", run.history.ended


def _trials(run: RunData) -> Cell:
    limit, num_running = run.space.limits.trials, len(run.history.running())
    hint = f"{num_running} running" if num_running else ""
    return Cell(text=f"{len(run.trials)}{f' of {limit}' if limit else ''}", order=len(run.trials), hint=hint)


def _best(run: RunData) -> Cell:
    """The best of the search. Scores of different runs compare only if metric, data and budget agree."""
    if not run.configurations:
        return Cell(text="", hint="no trial has a score")
    first = run.configurations[0]
    text = f"{value_text(first.mean)} {run.metric}"
    return Cell(text=text, order=first.mean, hint=f"{first.first.trial_id} at {run.rung_name(first.rung)}")


def _gain(run: RunData) -> Cell:
    """The gain of the best over the default: after full training, or else in the search."""
    winner = run.promotion.winner if run.promotion else None
    if winner and winner["gain_mean"] is not None and not winner["is_default"]:
        low, high = winner["gain_low"], winner["gain_high"]
        interval = "" if low is None else f", 95 % interval {low:+.3g} to {high:+.3g}"
        text = f"{winner['gain_mean']:+.3g} ({winner['conclusion']})"
        return Cell(text=text, order=winner["gain_mean"], hint=f"after full training{interval}")
    if winner and winner["is_default"]:
        return Cell(text="default is best", order=0.0, hint="after full training")
    if not run.configurations:
        return _UNKNOWN
    if run.configurations[0].first.proposed_by == "default":
        return Cell(text="default is best", order=0.0, hint="in the search")
    return _gain_in_search(run)


def _gain_in_search(run: RunData) -> Cell:
    """The gain at the highest rung that both completed, since the default may have fewer epochs."""
    if run.beside_default is None:
        return Cell(text="", hint="the default has no score at a rung that the best completed")
    rung, ours, its = run.beside_default
    gain = (fmean(ours) - fmean(its)) * (1 if run.space.mode == "max" else -1)
    where = "" if rung == run.configurations[0].rung else f" (rung {rung})"
    hint = f"{value_text(fmean(its))} for the default at {run.rung_name(rung)}"
    hint += "; not promoted" if run.promotion is None else "; full training has no gain yet"
    return Cell(text=f"{gain:+.3g}{where}", order=gain, hint=hint)


def _epochs(run: RunData) -> Cell:
    whole = len(run.trials) * run.space.ladder.ends[-1]
    hint = f"{run.num_epochs / whole:.0%} of {whole}, a full training of each trial" if whole else ""
    return Cell(text=str(run.num_epochs), order=run.num_epochs, hint=hint)


def _started(run: RunData) -> Cell:
    """When the journal began, in UTC."""
    if not run.events:
        return _UNKNOWN
    at = _utc(run.events[0]["time"])
    return Cell(text=f"{at:%Y-%m-%d %H:%M}", order=run.events[0]["time"], hint=f"{at:%Y-%m-%d %H:%M:%S} UTC")


def _utc(time_s: float) -> datetime:
    return datetime.fromtimestamp(time_s, UTC)


def _number(value: float | None, hint: str, unit: str = "") -> Cell:
    """A cell with a number to three digits, or an empty one whose hint says why."""
    if value is None:
        return text_cell(None) if not hint else Cell(text="", hint=hint)
    return Cell(text=f"{value:.3g} {unit}".strip(), order=value, hint=hint)


def _finite(order: float | str | None) -> float | str | None:
    """The sort key, or None for NaN and infinity, which JSON does not have."""
    return None if isinstance(order, float) and not math.isfinite(order) else order
