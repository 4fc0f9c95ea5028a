"""Where a run's joules go, by how its trials ended and beside them, and each device's present watts. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from search.accounting.unreported import lost_mj
from search.energy.units import to_joules
from search.ledger.history import History, TrialRecord
from search.ledger.sessions import DeviceRow, millijoules
from search.space.objectives import Bound

_STATUSES = ("finished", "paused", "stopped", "diverged", "failed", "infeasible", "interrupted", "running")
_WITHOUT_END = ("stopped", "diverged", "failed", "infeasible")  # the price of searching
_BESIDE = ("background", "idle", "external", "unaccounted")  # devices' joules, as devices.csv names them


def outcome_millijoules(history: History, rows: Sequence[DeviceRow] | None = None) -> dict[str, int]:
    """Return whole millijoules by outcome, without outcomes of 0; empty if nothing is known.

    Trials count with all their attempts. Their starts are added up separately, because the first start in a
    worker imports and decodes for all later ones. What they never reported of an earlier session is lost.
    External joules and gaps are listed, but are not the run's.

    Args:
        rows: The devices of the present session, if read more recently than the journal's rows.
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
    found = {**by_status, "starts": starts_mj, "lost": lost_mj(history), **beside}
    return {name: mj for name, mj in found.items() if mj}


def outcomes_text(history: History) -> str:
    """Return a line such as "finished 30.0 J, stopped 10.0 J, idle 2.0 J"; empty if nothing is known."""
    return ", ".join(f"{name} {to_joules(mj):.1f} J" for name, mj in outcome_millijoules(history).items())


def share_without_end(history: History) -> float | None:
    """Return the share of the trials' joules that went to `_WITHOUT_END`; None if none are known."""
    by_outcome = outcome_millijoules(history)
    of_trials = {status: by_outcome.get(status, 0) for status in _STATUSES}
    whole = sum(of_trials.values())
    return sum(of_trials[status] for status in _WITHOUT_END) / whole if whole else None


def without_end_text(history: History) -> str:
    """Return `share_without_end` as a sentence; empty if nothing is known."""
    share = share_without_end(history)
    if share is None:
        return ""
    return f"{share:.0%} of the trials' joules went to stopped, diverged, failed and infeasible ones"


def infeasible_text(history: History, constraints: Mapping[str, Bound]) -> str:
    """Return how many trials broke which constraint, and what they took of the run; empty if none did.

    For example "3 of 12 trials are infeasible and rank nowhere (params_m at most 1: 3); they took 0 of 31
    epochs and 0.8 of 94.1 s, starts included". Their joules are in `outcomes_text`.
    """
    trials = list(history.trials.values())
    broken = [trial for trial in trials if trial.status == "infeasible"]
    if not broken:
        return ""
    counts = {
        f"{name} {bound}": sum(
            bound.broken_by(trial.last_metrics[name]) for trial in broken if name in trial.last_metrics
        )
        for name, bound in constraints.items()
    }
    which = ", ".join(f"{text}: {count}" for text, count in counts.items() if count)
    epochs = [sum(len(trial.rows) for trial in group) for group in (broken, trials)]
    seconds = [sum(map(_taken_s, group)) for group in (broken, trials)]
    return (
        f"{len(broken)} of {len(trials)} trials are infeasible and rank nowhere ({which}); they took "
        f"{epochs[0]} of {epochs[1]} epochs and {seconds[0]:.1f} of {seconds[1]:.1f} s, starts included"
    )


def _taken_s(trial: TrialRecord) -> float:
    """Return the wall time of epochs, starts and between; without any epoch, from proposal to end."""
    if trial.rows:
        return trial.seconds + (trial.start_s or 0.0) + (trial.overhead_s or 0.0)
    return 0.0 if trial.ended_at is None else max(0.0, trial.ended_at - trial.asked_at)


class DeviceWatts:
    """Mean power of each device, by node and name, between the two latest readings of the meters."""

    def __init__(self) -> None:
        self.now: Mapping[tuple[str, str], float] = {}
        self._read_s = 0.0
        self._counters_mj: dict[tuple[str, str], int] = {}

    def on_reading(self, read_s: float, rows: Sequence[DeviceRow]) -> None:
        """Record what `Run.read_devices` returned; repeating a reading has no effect."""
        since_s, before_mj = read_s - self._read_s, self._counters_mj
        if since_s <= 0:
            return
        self._read_s = read_s
        self._counters_mj = {(row["node"], row["device"]): row["counter_end_mj"] for row in rows}
        self.now = {
            device: to_joules(counter_mj - before_mj[device]) / since_s
            for device, counter_mj in self._counters_mj.items()
            if device in before_mj
        }
