"""The energy columns of a trial in trials.csv: its joules, and what its closed windows add to them. Pure.

Joules come from the trial's rows and windows together (`ledger.trial_energy`), so that a killed attempt
counts up to its last moment. Everything else (sensors, attribution, power, temperature, clocks) is known only
for whole windows: an attempt whose account was never closed, because its meter was lost, has its joules here
and none of these. Three rules hold for every cell:

- Unknown is empty, never 0, and `energy_reason` says why.
- A label is that of all attempts, joined by + if they differ: two GPUs of one model are one name.
- A mean is over the time of the attempts that know the value, never over their number: a restart after a
  minute must not weigh as much as the day before it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

from search.energy.reading import KINDS, EnergyReading, EnergySensors, EnergySummary
from search.energy.units import to_joules
from search.ledger.history import TrialRecord
from search.printable import counted
from search.run.objective import projected_full
from search.space import Space
from search.tables.columns import Column, lifted
from search.tables.energy import JOULES, num_examples
from search.tariff import Tariff


@dataclass
class TrialEnergyRow:
    """What the energy columns of one trial are made of; what is costly is computed once.

    Attributes:
        space: Defines which metric is best, and what full training would be.
        trial: The trial with its rows, and with its accounts in `trial.joules`.
    """

    space: Space
    trial: TrialRecord

    @cached_property
    def energy(self) -> EnergyReading:
        """The energy of all its attempts, starts left out.

        This sums all rows and accounts, which a trial of 10,000 epochs must do once and not for each column.
        """
        return self.trial.energy

    @property
    def tariff(self) -> Tariff:
        return self.space.limits.tariff

    @cached_property
    def windows(self) -> list[EnergySummary]:
        """The closed accounts of its attempts, oldest first."""
        return list(self.trial.joules.closed.values())

    @cached_property
    def sensors(self) -> list[EnergySensors]:
        """Sensors by attempt; while none is closed, as in the first row of the latest."""
        return [one.sensors for one in self.windows] or [EnergySensors(**self.trial.sensors)]  # type: ignore[arg-type]

    @cached_property
    def num_examples(self) -> int | None:
        """Examples trained on; None if an epoch did not report them."""
        return num_examples(self.trial.rows)

    @cached_property
    def unmeasured(self) -> dict[str, int]:
        """For each part of its joules, how many epochs it lacks; of a running trial that is not known yet."""
        return {} if self.trial.status == "running" else self.trial.unmeasured

    @property
    def energy_reason(self) -> str:
        """Why nothing or not everything is known: its sensors, a lost meter, or epochs that were too short.

        The sensors' reason is that of the latest attempt, since a remedy for an earlier node is of no use.
        Of earlier attempts without a sensor it is said how many epochs are missing.
        """
        reasons = self.trial.sensors.get("reason", ""), _lost_reason(self.trial), _unseen_reason(self.trial)
        return "; ".join(filter(None, (*reasons, _unmeasured_reason(self.unmeasured))))

    @property
    def energy_to_best_j(self) -> float | None:
        """The joules spent until the best epoch ended, in all attempts.

        They include its last run: an epoch that was repeated after a lost worker has cost twice. Unknown
        while any of these rows waits for the next tick of a sensor, and if any epoch was not measured: the
        sum would leave out joules that were used.
        """
        best = self.trial.best(self.space.metric, self.space.mode)
        if best is None:
            return None
        ends = [number for number, row in enumerate(self.trial.rows, start=1) if row.epoch == best[0]]
        rows = self.trial.rows[: ends[-1]]
        spent_mj = EnergyReading.sum(row.energy for row in rows).total_mj
        return None if self.unmeasured or any(row.lag_s for row in rows) else to_joules(spent_mj)

    @property
    def energy_projected_full_j(self) -> float | None:
        """The joules of a full training; None before an epoch whose joules and examples are known."""
        full = projected_full(self.space, self.trial)
        return full.joules if full else None

    @property
    def energy_rungs_j(self) -> float | None:
        """Joules that a ladder of joules has counted up to the latest row; None on other ladders."""
        used = self.trial.rows[-1].used if self.trial.rows else None
        return to_joules(used.mj) if used else None

    def joined(self, label: str) -> str:
        """A label of all attempts, joined by + if they differ."""
        return "+".join(sorted({text for one in self.sensors if (text := getattr(one, label))}))

    def mean(self, statistic: str) -> float | None:
        """The mean of one of the `STATISTICS` over the time of the attempts that know it."""
        known = [
            (value, one.seconds) for one in self.windows if (value := _number(one, statistic)) is not None
        ]
        seconds = sum(lasted_s for _, lasted_s in known)
        return sum(value * lasted_s for value, lasted_s in known) / seconds if seconds else None

    def extreme(self, choose: Callable[..., float], statistic: str) -> float | None:
        """The smallest or largest value of all attempts that know it; None if none does."""
        known = [value for one in self.windows if (value := _number(one, statistic)) is not None]
        return choose(known) if known else None


def _energy(row: TrialEnergyRow) -> EnergyReading:
    """The part that the columns of joules are lifted from."""
    return row.energy


def _label(name: str, meaning: str) -> Column[TrialEnergyRow]:
    """The column of one of the texts of `EnergySensors`, by its own name."""
    return Column(name, "", meaning, lambda row: row.joined(name))


def _mean(name: str, unit: str, meaning: str) -> Column[TrialEnergyRow]:
    """The column of one of the `STATISTICS` of a window, by its own name."""
    return Column(name, unit, meaning, lambda row: row.mean(name))


def _per(name: str, meaning: str, divisor: Callable[[TrialEnergyRow], int | None]) -> Column[TrialEnergyRow]:
    """`energy_j` divided by a count; empty if that is unknown or 0, or if the joules lack epochs."""

    def value(row: TrialEnergyRow) -> float | None:
        return None if row.unmeasured else _ratio(to_joules(row.energy.total_mj), divisor(row))

    return Column(name, "J", meaning, value)


ENERGY_OF_TRIAL: list[Column[TrialEnergyRow]] = [
    *lifted(JOULES, _energy),
    # Starts are separate: the first trial in a worker imports and decodes for all that follow it, so with its
    # start it would look more expensive than the same training run second.
    Column(
        "energy_start_j",
        "J",
        "joules used in `start_s`, measured plus estimated; in none of the columns above",
        lambda row: to_joules(row.trial.start_energy.total_mj),
    ),
    # Scope and quality show what may be compared with what: joules of gpu+cpu are not those of gpu alone, and
    # a D is a guess by shares where an A is the whole device's own counter.
    Column(
        "energy_scope",
        "",
        "the parts in `energy_j`, joined by +: `gpu`, `cpu`, `dram`, `estimated`",
        lambda row: row.energy.scope or row.trial.sensors.get("scope", ""),
    ),
    Column(
        "energy_quality",
        "",
        "grade of the worst part: A counter and exclusive, B counter and calibrated shares, C counter"
        " and plain utilisation or exclusive integral, D reserved or equal shares, E estimated;"
        " empty if nothing is known",
        lambda row: max((one.quality for one in row.sensors), default=""),
    ),
    Column(
        "energy_reason",
        "",
        "why nothing or not everything could be measured, and the remedy",
        lambda row: row.energy_reason,
    ),
    # Each with its basis, or why it is empty: a figure of another country or year, or without the PUE, is not
    # comparable, and a table outlives its space.
    Column(
        "co2e_g",
        "g",
        "CO2 equivalents of `energy_j`, on the basis in `co2e_basis`",
        lambda row: row.tariff.co2e_g(to_joules(row.energy.total_mj)),
    ),
    Column(
        "co2e_basis",
        "",
        "grams per kilowatt-hour with their source, and the PUE, from `search.report`; or why there are none",
        lambda row: row.tariff.co2e_basis,
    ),
    Column(
        "cost",
        "currency",
        "cost of `energy_j`, in the currency of `search.report`",
        lambda row: row.tariff.cost(to_joules(row.energy.total_mj)),
    ),
    Column(
        "cost_basis",
        "",
        "the price per kilowatt-hour, and the PUE; or why `cost` is empty",
        lambda row: row.tariff.cost_basis,
    ),
    _label(
        "gpu_sensor",
        "`nvml_counter` or `nvml_power_integral`; for AMD `amdsmi_counter` or `amdsmi_power_integral`",
    ),
    _label(
        "gpu_attribution",
        "how a shared GPU was split: `exclusive` (it was not), `calibrated` (utilisation times "
        "watts at full use; `energy_reason` says if an earlier run learnt these), `utilisation`, "
        "`equal`, `reserved`",
    ),
    _label(
        "cpu_sensor",
        "`rapl_powercap`, `estimated_user_model` (stated watts) or `estimated_tdp_model` (a TDP)",
    ),
    _label("cpu_attribution", "as for the GPU"),
    _label("gpu_model", "joined by + if attempts ran on different ones, as are the next three"),
    _label("gpu_driver_version", "such as `580.65.06`"),
    _label("cpu_model", "CPU of the node"),
    _label(
        "cpu_governor",
        "frequency governor of the node's cores when the trial ended, such as `performance`; "
        "joined by + if cores differ; empty if the node has none",
    ),
    # How much of the numbers is measured and how much is split: with both at 1 the joules are the counter's
    # own. Under 1 the second means that the sampler missed something, such as a machine that was suspended.
    _mean(
        "exclusive_fraction",
        "fraction",
        "part of its training time that it was alone on its GPUs, or on its CPUs if it has no GPU",
    ),
    _mean(
        "coverage_fraction",
        "fraction",
        "part of its training time for which the counters' increments are in its joules",
    ),
    # Readings of the whole device: on a shared GPU these include the neighbours' work, so they explain a
    # trial's joules (throttled, starved, cool) but do not measure them.
    _mean("gpu_power_mean_w", "W", "mean power of its whole GPUs while it trained, others' work included"),
    _mean("gpu_util_mean", "fraction", "mean utilisation of the GPU"),
    _mean("gpu_temp_mean_c", "°C", "mean temperature of the GPU's core"),
    _mean("gpu_sm_clock_mean_mhz", "MHz", "mean clock of the GPU's cores; lower than usual means throttled"),
    _mean("gpu_memory_clock_mean_mhz", "MHz", "mean clock of the GPU's memory"),
    # Extremes over all attempts, since a mean would hide that one of them was throttled.
    Column(
        "gpu_power_min_w",
        "W",
        "the smallest sample while it trained; with several GPUs, the sum of theirs",
        lambda row: row.extreme(min, "gpu_power_min_w"),
    ),
    Column(
        "gpu_power_max_w",
        "W",
        "the largest sample, likewise",
        lambda row: row.extreme(max, "gpu_power_max_w"),
    ),
    Column(
        "gpu_power_limit_w",
        "W",
        "the power limit that was set",
        lambda row: row.windows[-1].gpu_power_limit_w if row.windows else None,
    ),
    _per("energy_per_example_j", "`energy_j` / `num_examples`", lambda row: row.num_examples),
    _per(
        "energy_per_epoch_j",
        "`energy_j` / epochs run, repeated ones included; helps to choose `search.ladder.joules`",
        lambda row: len(row.trial.rows),
    ),
    # The following compare trials that were stopped at different epochs. Cumulative joules do not: of two
    # trials the one that was stopped first would always look cheaper.
    Column(
        "energy_to_best_j", "J", "joules spent until its best epoch ended", lambda row: row.energy_to_best_j
    ),
    Column(
        "energy_projected_full_j",
        "J",
        "what full training would use: the joules of its epochs divided by their share of full training's "
        "examples times pixels, without epochs that a sensor missed. Makes stopped and finished trials "
        "comparable. With a ladder of joules, full training is every epoch up to the cap at the top "
        "rung's budget, as in a promotion",
        lambda row: row.energy_projected_full_j,
    ),
    Column(
        "energy_rungs_j",
        "J",
        "with a ladder of joules, what its rungs have counted: the joules of the epochs that led to its "
        "present state, of its GPUs (of CPU and memory if it has none), without starts, waiting, and "
        "epochs that were run again after a lost worker. Empty with other ladders",
        lambda row: row.energy_rungs_j,
    ),
]


def _unseen_reason(trial: TrialRecord) -> str:
    """What is missing because epochs were shorter than a tick of their sensor.

    NVML's counter moves every 20 to 100 ms, and a shared device is settled once a second. If the whole trial
    was shorter, the part is unknown; if only single epochs were, only these are.
    """
    if trial.unseen_parts:
        return f"{', '.join(trial.unseen_parts)}: its epochs were over before the sensor moved once"
    waiting = {kind: sum(kind in row.lag_s for row in trial.rows) for kind in KINDS}
    return "; ".join(
        f"{kind}: without {counted(number, 'epoch')} that ended before the sensor moved"
        for kind, number in waiting.items()
        if number
    )


def _unmeasured_reason(unmeasured: Mapping[str, int]) -> str:
    """What is missing because a part was not measured in every session, or on every node."""
    return "; ".join(
        f"{kind}: without {counted(number, 'epoch')} in which it was not measured"
        for kind, number in unmeasured.items()
    )


def _lost_reason(trial: TrialRecord) -> str:
    """What is missing because accounts of attempts could not be closed: their last moments are in no column.

    A running trial has an open account, which is not a lost one.
    """
    if trial.status == "running":
        return ""
    num_lost = len({row.window for row in trial.rows if row.window} - trial.joules.closed.keys())
    return (
        f"the meter of {counted(num_lost, 'attempt')} was lost, with the joules since the last epoch"
        if num_lost
        else ""
    )


def _number(window: EnergySummary, statistic: str) -> float | None:
    """One of the `STATISTICS` of a closed window; None is unknown."""
    value: float | None = getattr(window, statistic)
    return value


def _ratio(part: float | None, whole: float | None) -> float | None:
    """The quotient; None if either number is unknown or the divisor is 0."""
    return part / whole if part is not None and whole else None
