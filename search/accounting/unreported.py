"""Joules that a lost meter had given to trials, and that no trial ever reported. Pure.

A meter gives joules to a window as they are used. The trial reports them at the end of each epoch, and the
meter reports the rest when the window is closed. A node that dies in between takes both reports with it, but
the last rows of its devices still count these joules under "trials", so the tables would not add up. The
difference, by node and kind of device, is therefore moved to unaccounted. It never exceeds what the open rows
of that node have, because closed rows are complete.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from search.energy.reading import KINDS, EnergyReading
from search.energy.units import to_joules
from search.ledger.history import History
from search.ledger.sessions import DeviceRow, millijoules

NodeKind = tuple[str, str]  # the node id that window names begin with; "gpu", "cpu", "dram" or "estimated"


def reported_mj(history: History, *, of_starts: bool = False) -> dict[NodeKind, int] | None:
    """Return what the trials reported, by node and kind of device; None if windows do not name their nodes.

    Args:
        of_starts: Return what their starts used instead.
    """
    reported: dict[NodeKind, int] = {}
    for trial in history.trials.values():
        by_window = trial.joules.starts_by_window() if of_starts else trial.joules.by_window()
        for window, energy in by_window.items():
            node, slash, _ = window.partition("/")
            if not slash:
                return None
            for kind, mj in _by_kind(energy).items():
                reported[node, kind] = reported.get((node, kind), 0) + mj
    return reported


def lost_mj(history: History) -> int:
    """Return millijoules of sessions that are over which devices gave to trials, and no trial reported."""
    return sum(
        millijoules(row, column) - millijoules(left, column)
        for session, rows in zip(history.sessions.all, without_unreported(history), strict=True)
        for row, left in zip(session.devices, rows, strict=True)
        for column in ("energy_trials_j", "energy_starts_j")
    )


def without_unreported(history: History) -> list[list[Mapping[str, Any]]]:
    """Return each session's device rows; what was lost with a meter is moved to unaccounted, with the reason.

    If an attempt dies with its node or its driver, only the device's last row has what it used since its last
    epoch; an attempt without an epoch leaves no other trace.
    """
    tables = [list(session.devices) for session in history.sessions.all]
    for column, of_starts in (("energy_trials_j", False), ("energy_starts_j", True)):
        reported = reported_mj(history, of_starts=of_starts)
        if reported is not None:
            tables = _without_unreported(history, tables, column, reported)
    return tables


def _without_unreported(
    history: History,
    before: Sequence[Sequence[DeviceRow]],
    column: str,
    reported: Mapping[NodeKind, int],
) -> list[list[DeviceRow]]:
    """Move unreported joules out of `column`, from the first session on until none are left.

    Only rows that were read before the end can have lost any: those of killed sessions and lost nodes. The
    running session has lost nothing yet, because its trials may still report.
    """
    sessions, is_running = history.sessions.all, history.ended is None
    unreported = _unreported_mj(history, column, reported)
    tables = []
    for session, devices in zip(sessions, before, strict=True):
        is_over = not (is_running and session is sessions[-1])
        rows = []
        for row in devices:
            key = node_kind(row)
            is_open = is_over and not row.get("is_closed", session.is_closed)
            unreported_mj = min(unreported.get(key, 0), millijoules(row, column)) if is_open else 0
            rows.append(_moved(row, column, unreported_mj) if unreported_mj > 0 else row)
            unreported[key] = unreported.get(key, 0) - max(0, unreported_mj)
        tables.append(rows)
    return tables


def node_kind(row: Mapping[str, Any]) -> NodeKind:
    """Return the node and kind of a device's row."""
    return row["node"].rpartition("/")[2], row["kind"]


def _unreported_mj(history: History, column: str, reported: Mapping[NodeKind, int]) -> dict[NodeKind, int]:
    """Return, by node and kind, what devices gave to trials in all sessions beyond what these reported."""
    given: dict[NodeKind, int] = {}
    for session in history.sessions.all:
        for row in session.devices:
            given[node_kind(row)] = given.get(node_kind(row), 0) + millijoules(row, column)
    return {key: mj - reported.get(key, 0) for key, mj in given.items()}


def _moved(row: DeviceRow, column: str, unreported_mj: int) -> Mapping[str, Any]:
    """Return the row with these joules under unaccounted, and the reason."""
    whose = "starts" if column == "energy_starts_j" else "attempts"
    reason = (
        f"{to_joules(unreported_mj)} J were of {whose} that ended with their meter and never reported them"
    )
    return {
        **row,
        column: to_joules(millijoules(row, column) - unreported_mj),
        "energy_unaccounted_j": to_joules(millijoules(row, "energy_unaccounted_j") + unreported_mj),
        "reason": "; ".join(filter(None, [row.get("reason", ""), reason])),
    }


def _by_kind(energy: EnergyReading) -> dict[str, int]:
    """Return the known parts, by kind of device."""
    return {kind: mj for kind in KINDS if (mj := energy.part_mj(kind)) is not None}
