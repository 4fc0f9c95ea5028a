"""Numbers, budgets and limits as text for people. Pure.

Console, page and messages format here, so that one value reads alike everywhere. Four significant digits are
enough: seeds alone move an accuracy in the third.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from search.budget import Ladder, Limits, Spent
from search.energy.units import to_joules
from search.printable import counted
from search.space import Choice, Normal, Parameter
from search.tariff import JOULES_PER_KWH
from trainables.core.contract import Budget

if TYPE_CHECKING:
    from search.ledger.history import History, TrialRecord
    from search.ranking import Configuration
    from search.run.objective import ObjectiveValues
    from search.run.rerun import RerunEstimate
    from search.space import Space

DECIDERS = {"rung": "ranks", "model": "model", "random": "chance"}  # of a freeze-thaw search, as shown

_LIMIT_UNITS = {  # by the limit's name in a space; the unit of `cost` is its currency
    "trials": "trials",
    "hours": "h",
    "kwh": "kWh",
    "co2e_kg": "kg CO2e",
    "disk_gib": "GiB of checkpoints",
    "cache_gib": "GiB of decoded images",
    "grace_minutes": "min for running epochs at the end",
    "epoch_minutes": "min for an epoch",
    "stop_when_flat": "once it is flat",
}


def value_text(value: Any) -> str:
    """A value to four significant digits; a dash if it is unknown."""
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def objective_texts(values: ObjectiveValues) -> list[str]:
    """The value of each objective, joules with their uncertainty: "0.9512", "120.4 ± 5.2 J"."""
    texts = [value_text(number) for number in values.numbers]
    if values.cost:
        texts[-1] += f" ± {value_text(values.uncertainty)} J" if values.uncertainty else " J"
    return texts


def mean_text(configuration: Configuration) -> str:
    """The score; with repeats "0.9512 ± 0.0031 (2 of 3 repeats, 1 failed)".

    The ± is the sample standard deviation over repeats, not an interval of the mean. Repeats missing from the
    mean are counted, since those that failed or wait may be the bad ones.
    """
    mean, num = value_text(configuration.mean), len(configuration.trials)
    if num == 1:
        return mean
    spread = "" if configuration.spread is None else f" ± {value_text(configuration.spread)}"
    scored = len(configuration.scored)
    parts = [f"{num} repeats" if scored == num else f"{scored} of {num} repeats"]
    if configuration.num_failed:
        parts.append(f"{configuration.num_failed} failed")
    if configuration.num_open:
        parts.append(f"{configuration.num_open} without a score")
    if configuration.num_higher:
        parts.append(f"at rung {configuration.rung}, which all completed")
    return f"{mean}{spread} ({', '.join(parts)})"


def duration(seconds: float, *, whole: bool = False) -> str:
    """A time span: "0.42 s", "12 s", "3:05", "1:02:03".

    From one minute up, two parts are minutes and seconds, and three are hours, minutes and seconds. Seconds
    are rounded first: 119.7 s is 2:00 and not 1:60.

    Args:
        whole: Whether to omit hundredths, for a time that is still running.
    """
    if seconds < 9.995 and not whole:  # above, two decimals would be 10.00
        return f"{seconds:.2f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def energy_text(millijoules: int | None) -> str:
    """Joules followed by two spaces, for a line of columns; empty if no sensor was read.

    Args:
        millijoules: The unit of the counters and the journal.
    """
    return "" if millijoules is None else f"{to_joules(millijoules):.1f} J  "


def kwh_text(joules: float) -> str:
    """Joules as "0.00233 kWh", to three significant digits: a small search uses thousandths, never 0.0000."""
    return f"{joules / JOULES_PER_KWH:.3g} kWh"


def hparams_text(hparams: Mapping[str, Any], names: Iterable[str]) -> str:
    """The searched hparams as "lr=0.1 batch_size=64"."""
    return " ".join(f"{name}={value_text(hparams[name])}" for name in names if name in hparams)


def varied_text(trial: TrialRecord, space: Space, history: History) -> str:
    """What sets a trial apart, as "lr=0.1 batch_size=64"; in ablations, what differs from the default."""
    names, first = space.varied, next(iter(history.trials.values()))
    if space.ablations and first.proposed_by == "default":
        own, its = trial.hparams, first.hparams
        names = [name for name in names if repr(own.get(name)) != repr(its.get(name))]
    return hparams_text(trial.hparams, names)


def parameter_text(parameter: Parameter) -> str:
    """A parameter's range as "0.001 to 1, log", "16 to 64, in steps of 16" or "16, 32, 64".

    The ends are values that can occur: with steps, multiples of the step.
    """
    if isinstance(parameter, Choice):
        return ", ".join(value_text(value) for value in parameter.values)
    if isinstance(parameter, Normal):
        text = f"normal around {parameter.mean:g} with deviation {parameter.deviation:g}"
    else:
        text = "{:g} to {:g}".format(*parameter.ends)
    step = f", in steps of {parameter.step:g}" if parameter.step not in (None, 1) else ""
    return text + (", log" if parameter.log else "") + step


def budget_text(budget: Budget, unit: str = "px") -> str:
    """A budget as "3 epochs, 0.5 of the data, 14 px".

    Args:
        unit: The unit of the resolution, "px" for images.
    """
    parts = [counted(budget.epochs, "epoch")]
    # A float is a share of the training set and an int a count, so 1.0 is all data and 1 is one example.
    if isinstance(budget.subset, float):
        parts.append("all data" if budget.subset == 1 else f"{budget.subset:.3g} of the data")
    elif budget.subset is not None:
        parts.append(f"{budget.subset} examples")
    if budget.resolution is not None:
        parts.append(f"{budget.resolution} {unit}")
    return ", ".join(parts)


def rung_text(ladder: Ladder, rung: int) -> str:
    """What a trial has used at the end of a rung: "3 epochs, 14 px", "500 J, 14 px", "900 J or 40 epochs".

    Rungs measured in joules end by energy, however many epochs that takes. The top one also ends at the
    maximum number of epochs, so it alone names both.
    """
    text = budget_text(ladder.rungs[rung], ladder.resolution_unit)
    if not ladder.joules:
        return text
    epochs, *rest = text.split(", ")
    is_top = rung == len(ladder.rungs) - 1
    return ", ".join([f"{ladder.joules[rung]:g} J{f' or {epochs}' if is_top else ''}", *rest])


def limits_text(limits: Limits, spent: Spent, num_done: int) -> str:
    """How much of each limit is used: "14/24 trials  0.02/1 h  0.10/0.50 kWh".

    Energy that is not measured is "unknown", so that nobody waits for a limit that cannot be reached.
    """
    parts = [f"{num_done}/{limits.trials} trials" if limits.trials else f"{num_done} trials"]
    if limits.hours:
        parts.append(f"{spent.hours:.2f}/{limits.hours:g} h")
    for limit in limits.of_energy:
        used = "unknown" if spent.kwh is None else f"{spent.kwh * limit.per_kwh:.3f}"
        parts.append(f"{used}/{limit.most:g} {limit.unit}")
    return "  ".join(parts)


def given_limits_text(limits: Limits) -> str:
    """The limits that a space sets: "24 trials, 0.5 kWh, once it is flat"; empty if there are none."""
    units = {**_LIMIT_UNITS, "cost": limits.tariff.currency}
    given = {name: value for name, value in limits.stated.items() if value not in (None, False)}
    return ", ".join(
        units[name] if value is True else f"{value:g} {units[name]}" for name, value in given.items()
    )


def rerun_text(estimate: RerunEstimate) -> str:
    """What running failed trials again will cost, from the least to the most."""
    if not estimate.num_trials:
        return "no trial of the run has failed"
    causes = ", ".join(f"{count} {cause}" for cause, count in estimate.causes.items())
    few, many = estimate.epochs
    parts = [counted(few, "epoch") if few == many else f"{few} to {many} epochs"]
    seconds, joules = estimate.seconds, estimate.joules
    parts.append(f"{_range_text(seconds, duration)} of training" if seconds else "time unknown")
    parts.append(_range_text(joules, lambda each: f"{each:.1f} J") if joules else "energy unknown")
    text = f"{counted(estimate.num_trials, 'failed trial')} will be run again ({causes}): {', '.join(parts)}"
    if not seconds:
        text += "; this run has not completed an epoch"
    if estimate.scaled:
        rungs = ", ".join(map(str, estimate.scaled))
        text += f"; rung {rungs}, where no trial has trained yet, scaled by examples and pixels"
    return text


def _range_text(ends: tuple[float, float], text: Callable[[float], str]) -> str:
    least, most = map(text, ends)
    return least if least == most else f"{least} to {most}"
