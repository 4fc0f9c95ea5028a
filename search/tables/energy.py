"""energy.csv, one row per trial and rung, and devices.csv, which reconciles it with the counters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from search.accounting.unreported import without_lost
from search.energy.reading import EnergyReading
from search.ledger.history import History, TrialRecord
from search.tables.columns import Column, Table, column_names, lifted, plain, row_of, rows_of
from search.tables.energy_columns import SPENT, num_examples
from search.trial import EpochRow


@dataclass
class RungRow:
    """What the row of one trial at one rung is made of."""

    trial: TrialRecord
    rung: int

    @cached_property
    def epochs(self) -> list[EpochRow]:
        """Those that were run at the rung, repeated ones too."""
        return [row for row in self.trial.rows if row.rung == self.rung]

    @cached_property
    def energy(self) -> EnergyReading:
        """Of its epochs, and what attempts that ended there used beside them."""
        return EnergyReading.sum([*(row.energy for row in self.epochs), self.trial.joules.at_rung(self.rung)])


def _energy(row: RungRow) -> EnergyReading:
    return row.energy


ENERGY_TABLE: Table[RungRow] = [
    Column("trial_id", "", "", lambda row: row.trial.trial_id),
    Column("rung", "", "", lambda row: row.rung),
    Column("epochs", "epochs", "run at this rung, repeated ones included", lambda row: len(row.epochs)),
    Column(
        "seconds",
        "s",
        "training and evaluation of these epochs",
        lambda row: round(sum(epoch.seconds for epoch in row.epochs), 3),
    ),
    Column("num_examples", "examples", "trained on", lambda row: num_examples(row.epochs)),
    *lifted(SPENT, _energy, "as in trials.csv"),
    Column("energy_scope", "", "as in trials.csv", lambda row: row.trial.sensors.get("scope", "")),
    Column("energy_quality", "", "as in trials.csv", lambda row: row.trial.sensors.get("quality", "")),
]
DEVICE_TABLE: Table[Mapping[str, Any]] = [
    plain("session", "", "0 is the first; each restart begins another"),
    plain(
        "is_closed",
        "",
        (
            "the row was read after the last trial's end; `False` where the session was killed or "
            "the node lost: the last reading before it"
        ),
    ),
    plain("node", "", "host, and the node's id in the cluster"),
    plain("device", "", "UUID of a GPU, zone of a CPU"),
    plain("kind", "", "`gpu`, `cpu`, `dram` or `estimated`"),
    plain("sensor", "", "as `gpu_sensor` in trials.csv"),
    plain("counter_start_mj", "mJ", "the counter at the session's start"),
    plain("counter_end_mj", "mJ", "and at the reading"),
    plain("energy_device_j", "J", "all the device used"),
    plain("energy_trials_j", "J", "by this run's trials, their starts left out"),
    plain(
        "energy_starts_j",
        "J",
        "by starts of this run's trials",
    ),
    plain(
        "energy_background_j",
        "J",
        "by the workload of `--background`, which is no trial",
    ),
    plain("energy_external_j", "J", "by processes that are neither"),
    plain("energy_idle_j", "J", "while nothing used it"),
    plain(
        "energy_unaccounted_j",
        "J",
        ("resets of the counter, gaps in sampling, and what was lost with a meter (`reason`)"),
    ),
    plain("residual_j", "J", "what is missing from these six: always 0"),
    plain("idle_power_w", "W", "power without any process, where it was learnt"),
    plain("context_power_w", "W", "power with an idle process, where it was learnt"),
    plain(
        "counter_power_ratio",
        "",
        ("counter against power in the first seconds; outside 0.8 to 1.25 power is integrated instead"),
    ),
    plain("sampler_cpu_s", "s", "CPU time of the meter"),
    plain("driver_version", "", ""),
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
    """One row per trial and rung: repeated epochs, and what attempts used beside their epochs, included."""
    return rows_of(
        ENERGY_TABLE,
        (
            RungRow(trial, rung)
            for trial in history.trials.values()
            for rung in sorted({row.rung for row in trial.rows} | trial.joules.rungs)
        ),
    )


def device_rows(history: History) -> list[dict[str, Any]]:
    """One row per session, node and device; a row may itself be marked as not closed."""
    return [
        row_of(DEVICE_TABLE, {"session": number, "is_closed": session.is_closed, **row})
        for number, (session, rows) in enumerate(
            zip(history.sessions.all, without_lost(history), strict=True)
        )
        for row in rows
    ]
