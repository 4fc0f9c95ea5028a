"""The rows of energy.csv and devices.csv."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from search.accounting.unreported import without_lost
from search.energy import EnergyReading
from search.ledger.history import History, TrialRecord
from search.tables.energy_columns import joules
from search.tables.trials import num_examples

_PARTS = ("energy_j", "energy_gpu_j", "energy_cpu_j", "energy_dram_j", "energy_estimated_j")
ENERGY_COLUMNS = (
    *("trial_id", "rung", "epochs", "seconds", "num_examples"),
    *(*_PARTS, "energy_scope", "energy_quality"),
)
DEVICE_COLUMNS = (
    *("session", "is_closed", "node", "device", "kind", "sensor", "counter_start_mj", "counter_end_mj"),
    *(
        "energy_device_j",
        "energy_trials_j",
        "energy_starts_j",
        "energy_background_j",
        "energy_external_j",
        "energy_idle_j",
    ),
    *(
        "energy_unaccounted_j",
        "residual_j",
        "idle_power_w",
        "context_power_w",
        "counter_power_ratio",
        "sampler_cpu_s",
    ),
    *("driver_version", "reason"),
)


def energy_rows(history: History) -> list[dict[str, Any]]:
    """One row per trial and rung: repeated epochs, and what attempts used beside their epochs, included."""
    return [
        _rung_row(trial, rung)
        for trial in history.trials.values()
        for rung in sorted({row.rung for row in trial.rows} | trial.joules.rungs)
    ]


def device_rows(history: History) -> list[dict[str, Any]]:
    """One row per session, node and device; a row that says itself that it is not closed is not."""
    return [
        {"session": number, "is_closed": session.is_closed, **_shown(row)}
        for number, (session, rows) in enumerate(
            zip(history.sessions.all, without_lost(history), strict=True)
        )
        for row in rows
    ]


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    """What of a device's row has a column: the journal keeps what was learnt of its watts too."""
    return {name: value for name, value in row.items() if name in DEVICE_COLUMNS}


def _rung_row(trial: TrialRecord, rung: int) -> dict[str, Any]:
    epochs = [row for row in trial.rows if row.rung == rung]
    energy = EnergyReading.sum([*(row.energy for row in epochs), trial.joules.at_rung(rung)])
    spent_j = joules(energy)
    return {
        "trial_id": trial.trial_id,
        "rung": rung,
        "epochs": len(epochs),
        "seconds": round(sum(row.seconds for row in epochs), 3),
        "num_examples": num_examples(epochs),
        **{name: spent_j[name] for name in _PARTS},
        "energy_scope": trial.sources.get("scope", ""),
        "energy_quality": trial.sources.get("quality", ""),
    }
