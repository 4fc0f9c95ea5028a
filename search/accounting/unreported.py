"""Joules that a lost meter had given to trials and that no trial ever reported. Pure.

A meter gives joules to a window as they are used; the trial reports them at the end of its epoch, and its
meter the rest when the window is closed. A node that dies in between takes both reports with it. Its
devices' last row still says "trials", so the tables would not add up: the difference, by node and kind of
device, is moved to unaccounted. It is never more than the open rows of that node had, for a closed row has
told all of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from search.energy.reading import KINDS, EnergyReading
from search.energy.units import to_joules
from search.ledger.history import History
from search.ledger.sessions import DeviceRow, millijoules

NodeKind = tuple[str, str]  # the id that names of windows begin with; "gpu", "cpu", "dram" or "estimated"


def reported_mj(history: History, *, of_starts: bool = False) -> dict[NodeKind, int] | None:
    """By node and kind of device, what the trials have; None where windows do not name their nodes.

    Args:
        of_starts: What their starts have instead.
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


def without_unreported(history: History) -> list[list[Mapping[str, Any]]]:
    """The devices' rows of each session; what was lost with a meter is moved to unaccounted, with the reason.

    An attempt that dies with its node, or with its driver, leaves what it used since its last epoch in the
    device's last row alone, and one that had no epoch yet leaves no other trace.
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
    """The rows with the unreported moved out of `column`, from the first session on until none is left.

    Only rows that were read before the end may have lost something: sessions that were killed, nodes that
    were lost. The session that runs has lost nothing yet; its trials may still report.
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
    """Where a device's row belongs."""
    return row["node"].rpartition("/")[2], row["kind"]


def _unreported_mj(history: History, column: str, reported: Mapping[NodeKind, int]) -> dict[NodeKind, int]:
    """By node and kind: what devices gave to trials in all sessions beyond what these report."""
    given: dict[NodeKind, int] = {}
    for session in history.sessions.all:
        for row in session.devices:
            given[node_kind(row)] = given.get(node_kind(row), 0) + millijoules(row, column)
    return {key: mj - reported.get(key, 0) for key, mj in given.items()}


def _moved(row: DeviceRow, column: str, unreported_mj: int) -> Mapping[str, Any]:
    """The row with these joules under unaccounted, and the reason."""
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
    """The known parts, by kind of device."""
    return {kind: mj for kind in KINDS if (mj := energy.part_mj(kind)) is not None}
