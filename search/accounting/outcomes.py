"""What each outcome cost: a run's joules by how its trials ended, and what went beside them. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from search.ledger.history import History
from search.ledger.sessions import DeviceRow, millijoules

_STATUSES = ("finished", "paused", "stopped", "diverged", "failed", "interrupted", "running")
_BESIDE = ("background", "idle", "external", "unaccounted")  # of the devices, as devices.csv names them


def outcome_millijoules(history: History, rows: Sequence[DeviceRow] | None = None) -> dict[str, int]:
    """Whole millijoules by outcome, those that cost nothing left out; empty if nothing is known.

    Trials count with all their attempts, but for their starts: these stand together, for the first one in a
    worker imports and decodes for all that follow. External joules and gaps are none of the run's.

    Args:
        rows: The devices of the present session, where they were read later than the journal has them.
    """
    trials = list(history.trials.values())
    sessions = history.sessions.all
    earlier, present = sessions[:-1], sessions[-1].devices if sessions and rows is None else rows or ()
    devices = [*(row for session in earlier for row in session.devices), *present]
    by_status = {
        status: sum(trial.energy.total_mj or 0 for trial in trials if trial.status == status)
        for status in _STATUSES
    }
    starts_mj = sum(trial.start_energy.total_mj or 0 for trial in trials)
    beside = {name: sum(millijoules(row, f"energy_{name}_j") for row in devices) for name in _BESIDE}
    return {name: mj for name, mj in {**by_status, "starts": starts_mj, **beside}.items() if mj}


def outcomes_text(history: History) -> str:
    """One line such as "finished 30.0 J, stopped 10.0 J, idle 2.0 J"; empty if nothing is known."""
    return ", ".join(f"{name} {mj / 1000:.1f} J" for name, mj in outcome_millijoules(history).items())
