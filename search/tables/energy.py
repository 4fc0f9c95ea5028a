"""energy.csv, one row per trial and rung, and devices.csv, which reconciles it with the counters.

The two tables account for the same millijoules from two ends. energy.csv starts with trials: what the epochs
of a rung used, by their rows, and what the attempts that ended there used besides, by the accounts of their
windows. devices.csv starts with counters: how much each advanced in a session, and to whom that went. Neither
is made from the other, so `check_energy.py` can compare them. They must agree to the millijoule, since
everything here is a sum of whole millijoules and joules have three decimals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from search.accounting.unreported import without_unreported
from search.energy.reading import EnergyReading
from search.energy.units import to_joules
from search.ledger.history import History, TrialRecord
from search.tables.columns import Column, Table, column_names, lifted, plain, row_of, rows_of
from search.trial import EpochRow


def _joules(name: str, meaning: str, part: Callable[[EnergyReading], int | None]) -> Column[EnergyReading]:
    """A column in joules of a part of a reading, which is in millijoules: `gpu_mj` is `energy_gpu_j`."""
    return Column(name, "J", meaning, lambda reading: to_joules(part(reading)))


# Columns of any reading: a trial's, a rung's, an epoch's. `energy_j` is measured plus estimated joules,
# `energy_measured_j` those of GPU, CPU and memory, and the GPU's are the sum of its three layers: work,
# contexts, idling. A column is empty if a sensor below it is missing, except for the two sums, which cover
# what is known: `energy_scope` names these parts.
JOULES = [
    _joules(
        "energy_j",
        "all known joules, measured plus estimated, of all attempts, failed ones included; with the time "
        "between epochs, without starts. Empty if the whole trial was shorter than a tick of its sensor "
        "(`energy_reason`)",
        lambda reading: reading.total_mj,
    ),
    _joules(
        "energy_measured_j", "measured by sensors: GPU, CPU and memory", lambda reading: reading.measured_mj
    ),
    _joules(
        "energy_estimated_j",
        "estimated from what the user stated, where no sensor can be read",
        lambda reading: reading.estimated_mj,
    ),
    _joules("energy_gpu_j", "GPU", lambda reading: reading.gpu_mj),
    _joules(
        "energy_gpu_active_j",
        "the part of `energy_gpu_j` drawn by work",
        lambda reading: reading.gpu_active_mj,
    ),
    _joules(
        "energy_gpu_context_j",
        "the part drawn by the mere presence of processes on the GPU",
        lambda reading: reading.gpu_context_mj,
    ),
    _joules(
        "energy_gpu_idle_share_j",
        "the part that the GPU draws without any process, split by reserved shares",
        lambda reading: reading.gpu_idle_share_mj,
    ),
    _joules(
        "energy_gpu_uncertainty_j",
        "expected error (±) of `energy_gpu_j`",
        lambda reading: reading.gpu_uncertainty_mj,
    ),
    _joules("energy_cpu_j", "CPU packages", lambda reading: reading.cpu_mj),
    _joules("energy_dram_j", "memory, if it has a counter of its own", lambda reading: reading.dram_mj),
]

# The short form, for tables that have a row for each part of a trial: a rung, an epoch. The GPU's three
# layers are left out: for single epochs they depend on which idle levels had been learnt by then.
_SHORT = ("energy_j", "energy_gpu_j", "energy_cpu_j", "energy_dram_j", "energy_estimated_j")
SPENT = sorted((one for one in JOULES if one.name in _SHORT), key=lambda one: _SHORT.index(one.name))


@dataclass
class RungRow:
    """What the row of one trial at one rung is made of.

    The rung is where an epoch ran, not what it completed: an epoch that jumps over rungs (on a ladder of
    joules) is in the row of the budget it trained at. Trials have a row for each rung they trained at, and
    for a rung where a killed attempt left joules without an epoch.
    """

    trial: TrialRecord
    rung: int

    @cached_property
    def epochs(self) -> list[EpochRow]:
        """Epochs that were run at the rung, repeated ones included."""
        return [row for row in self.trial.rows if row.rung == self.rung]

    @cached_property
    def energy(self) -> EnergyReading:
        """Joules of its epochs, and what attempts that ended there used besides."""
        return EnergyReading.sum([*(row.energy for row in self.epochs), self.trial.joules.at_rung(self.rung)])


def _energy(row: RungRow) -> EnergyReading:
    """The part that the columns of joules are lifted from."""
    return row.energy


ENERGY_TABLE: Table[RungRow] = [
    Column("trial_id", "", "as in trials.csv", lambda row: row.trial.trial_id),
    Column("rung", "", "the rung at whose budget the epochs ran, from 0", lambda row: row.rung),
    # What the joules bought, as far as a rung shows it: the same budget costs different joules at another
    # batch size.
    Column(
        "epochs", "epochs", "epochs run at this rung, repeated ones included", lambda row: len(row.epochs)
    ),
    Column(
        "seconds",
        "s",
        "training and evaluation of these epochs",
        lambda row: round(sum(epoch.seconds for epoch in row.epochs), 3),
    ),
    Column("num_examples", "examples", "examples trained on", lambda row: num_examples(row.epochs)),
    *lifted(SPENT, _energy, "as in trials.csv"),
    Column("energy_scope", "", "as in trials.csv", lambda row: row.trial.sensors.get("scope", "")),
    Column("energy_quality", "", "as in trials.csv", lambda row: row.trial.sensors.get("quality", "")),
]
# `used = trials + starts + background + external + idle + unaccounted` for each row. The names follow
# energy/: a counter's reading in mJ as the driver shows it, everything derived from it in J.
DEVICE_TABLE: Table[Mapping[str, Any]] = [
    plain("session", "", "number of the session, from 0; each restart begins another"),
    plain(
        "is_closed",
        "",
        (
            "whether the row was read after the last trial ended; `False` if the session was killed or the "
            "node lost: the row is then the last reading before that"
        ),
    ),
    plain("node", "", "host, and the node's id in the cluster"),
    plain("device", "", "UUID of a GPU, zone of a CPU"),
    plain("kind", "", "`gpu`, `cpu`, `dram` or `estimated`"),
    plain("sensor", "", "as `gpu_sensor` in trials.csv"),
    # From the counter's own reading at the session's start to the one in this row. If a counter was reset in
    # between (a driver that was reloaded), the jump is in `energy_unaccounted_j`, which is then negative.
    plain("counter_start_mj", "mJ", "the counter at the session's start"),
    plain("counter_end_mj", "mJ", "the counter at the reading"),
    plain("energy_device_j", "J", "everything that the device used"),
    # Where it went: six parts, with each joule in exactly one. The run accounts for the first three and for
    # idling, and these count against `search.limits.kwh`, as does what was lost with a meter; external work
    # and gaps do not.
    plain("energy_trials_j", "J", "used by this run's trials, without their starts"),
    plain(
        "energy_starts_j",
        "J",
        "used by the starts of this run's trials",
    ),
    plain(
        "energy_background_j",
        "J",
        "used by the workload of `--background`",
    ),
    plain("energy_external_j", "J", "used by processes that are not part of the run"),
    plain("energy_idle_j", "J", "drawn while nothing used the device"),
    plain(
        "energy_unaccounted_j",
        "J",
        ("counter resets, gaps in sampling, and what was lost with a meter (`reason`)"),
    ),
    plain("residual_j", "J", "`energy_device_j` minus these six: always 0"),
    # What the split is based on, for readers who want to check it. Levels that were never seen are empty, and
    # idling is then in the trials' active part.
    plain("idle_power_w", "W", "power without any process, if it was learnt"),
    plain("context_power_w", "W", "power with an idle process, if it was learnt"),
    plain(
        "counter_power_ratio",
        "",
        (
            "the counter relative to integrated power in the first seconds; outside 0.8 to 1.25, power is "
            "integrated instead"
        ),
    ),
    plain("sampler_cpu_s", "s", "CPU time of the meter"),
    plain("driver_version", "", "driver version of the device, if it has one"),
    plain(
        "reason",
        "",
        (
            "what was lost with the meter of a node or a killed session: joules of attempts that "
            "never reported them"
        ),
    ),
]
ENERGY_COLUMNS = column_names(ENERGY_TABLE)
DEVICE_COLUMNS = column_names(DEVICE_TABLE)


def energy_rows(history: History) -> list[dict[str, Any]]:
    """One row per trial and rung, including repeated epochs and what attempts used besides their epochs.

    The rungs of a trial thus add up to its row in trials.csv. An epoch that was run again after a lost worker
    is included twice, also in `epochs`, because it was paid for twice.
    """
    return rows_of(
        ENERGY_TABLE,
        (
            RungRow(trial, rung)
            for trial in history.trials.values()
            for rung in sorted({row.rung for row in trial.rows} | trial.joules.rungs)
        ),
    )


def device_rows(history: History) -> list[dict[str, Any]]:
    """One row per session, node and device; a row may itself be marked as not closed.

    In that case its session was closed but its node was lost before: the row is the last from its meter.
    """
    return [
        row_of(DEVICE_TABLE, {"session": number, "is_closed": session.is_closed, **row})
        for number, (session, rows) in enumerate(
            zip(history.sessions.all, without_unreported(history), strict=True)
        )
        for row in rows
    ]


def num_examples(rows: Iterable[EpochRow]) -> int | None:
    """Examples trained on; None if an epoch did not report them: a sum without it would be too small."""
    counts = [row.metrics.get("num_examples") for row in rows]
    known = [count for count in counts if count is not None]
    return round(sum(known)) if len(known) == len(counts) else None
