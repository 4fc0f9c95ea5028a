"""What each outcome cost: a run's joules by how its trials ended, and what went beside them. Pure."""

from __future__ import annotations

from search.history import History
from search.sessions import millijoules

_STATUSES = ("finished", "paused", "stopped", "diverged", "failed", "interrupted", "running")
_BESIDE = ("idle", "external", "unaccounted")  # of the devices, as devices.csv names them


def outcome_millijoules(history: History) -> dict[str, int]:
    """Whole millijoules by outcome, those that cost nothing left out; empty if nothing is known.

    Trials count with all their attempts. External joules and gaps are none of the run's.
    """
    trials = list(history.trials.values())
    devices = [row for session in history.sessions.all for row in session.devices]
    by_status = {
        status: sum(trial.energy.total_mj or 0 for trial in trials if trial.status == status)
        for status in _STATUSES
    }
    beside = {name: sum(millijoules(row, f"energy_{name}_j") for row in devices) for name in _BESIDE}
    return {name: mj for name, mj in {**by_status, **beside}.items() if mj}


def outcomes_text(history: History) -> str:
    """One line such as "finished 30.0 J, stopped 10.0 J, idle 2.0 J"; empty if nothing is known."""
    return ", ".join(f"{name} {mj / 1000:.1f} J" for name, mj in outcome_millijoules(history).items())
