"""What to say of joules that no sensor measured: the reason, and how they are or could be estimated. Pure.

Console and page give the reason in one place, and refer to it elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable

from search.energy.counters.user_model import BY_TDP, BY_WATTS
from search.ledger.history import TrialRecord

_UNKNOWN_CPU = "the processor"
_STATED = {BY_WATTS: "stated watts", BY_TDP: "its TDP"}


def no_energy_reason(trials: Iterable[TrialRecord]) -> str:
    """Why no joules are known: the reason of the first trial that gives one."""
    reasons = (trial.sensors.get("reason", "") for trial in trials)
    return next(filter(None, reasons), "no trial reported a sensor")


def estimate_offer(trials: Iterable[TrialRecord]) -> str:
    """How to have the CPU's joules estimated, with the processor's name; empty if a CPU sensor was read.

    The watts are left to the user: a name alone does not identify a processor, least of all in a virtual
    machine, and a guess would look like a measurement.
    """
    trials = list(trials)
    if any(trial.sensors.get("cpu_sensor") for trial in trials):
        return ""
    models = (trial.sensors.get("cpu_model", "") for trial in trials)
    model = next(filter(None, models), _UNKNOWN_CPU)
    return (
        f"to estimate them (quality E), state the TDP of {model} from its data sheet: "
        "--set search.metering.cpu_tdp_w=WATTS; in a virtual machine also how many threads that processor "
        "has: --set search.metering.cpu_tdp_threads=THREADS"
    )


def no_energy_text(trials: Iterable[TrialRecord]) -> str:
    """The reason and the offer of an estimate, as one line."""
    trials = list(trials)
    return "; ".join(filter(None, (no_energy_reason(trials), estimate_offer(trials))))


def energy_note(trials: Iterable[TrialRecord]) -> str:
    """What a sum of joules is worth, in brackets after it: what is estimated, and which epochs it lacks."""
    trials = list(trials)
    return estimate_note(trials) + gap_note(trials)


def gap_note(trials: Iterable[TrialRecord]) -> str:
    """How many epochs a sum of joules lacks, of sessions without a sensor; empty if none, or all.

    For example " (without 3 of 12 epochs, in which nothing was measured)".
    """
    trials = list(trials)
    num_missing = sum(trial.num_without_joules for trial in trials)
    num_all = sum(len(trial.rows) for trial in trials)
    if not 0 < num_missing < num_all:
        return ""
    return f" (without {num_missing} of {num_all} epochs, in which nothing was measured)"


def estimate_note(trials: Iterable[TrialRecord]) -> str:
    """Which joules are estimates: " (the CPU's estimated by its TDP)"; empty if all are measured."""
    stated = {_STATED[name] for trial in trials if (name := trial.sensors.get("cpu_sensor", "")) in _STATED}
    return f" (the CPU's estimated by {' and '.join(sorted(stated))})" if stated else ""
