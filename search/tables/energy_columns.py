"""The energy columns of a trial: its joules, and what its closed windows say of them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from search.energy import EnergyReading
from search.energy.reading import KINDS
from search.ledger.history import TrialRecord
from search.run.objective import projected_full
from search.space import Space

JOULES = (
    *("energy_j", "energy_measured_j", "energy_estimated_j", "energy_gpu_j", "energy_gpu_active_j"),
    *("energy_gpu_context_j", "energy_gpu_idle_share_j", "energy_gpu_uncertainty_j", "energy_cpu_j"),
    "energy_dram_j",
)
_LABELS = (
    *("gpu_sensor", "gpu_attribution", "cpu_sensor", "cpu_attribution"),
    *("gpu_model", "gpu_driver_version", "cpu_model", "cpu_governor"),
)
_MEANS = (
    *("exclusive_fraction", "coverage_frac", "gpu_power_mean_w", "gpu_util_mean", "gpu_temp_mean_c"),
    *("gpu_sm_clock_mean_mhz", "gpu_memory_clock_mean_mhz"),
)
_STATE = ("gpu_power_min_w", "gpu_power_max_w", "gpu_power_limit_w")
_QUALITY = ("energy_scope", "energy_quality", "energy_reason")
_DERIVED = ("energy_per_example_j", "energy_to_best_j", "energy_projected_full_j", "energy_rungs_j")
ENERGY_OF_TRIAL = (*JOULES, "energy_start_j", *_QUALITY, *_LABELS, *_MEANS, *_STATE, *_DERIVED)


def joules(energy: EnergyReading) -> dict[str, float | None]:
    """A reading as columns; None is an empty cell."""
    parts = {
        "energy_j": energy.total_mj,
        "energy_measured_j": energy.measured_mj,
        "energy_estimated_j": energy.estimated_mj,
        "energy_gpu_j": energy.gpu_mj,
        "energy_gpu_active_j": energy.gpu_active_mj,
        "energy_gpu_context_j": energy.gpu_context_mj,
        "energy_gpu_idle_share_j": energy.gpu_idle_share_mj,
        "energy_gpu_uncertainty_j": energy.gpu_uncert_mj,
        "energy_cpu_j": energy.cpu_mj,
        "energy_dram_j": energy.dram_mj,
    }
    return {name: None if mj is None else mj / 1000 for name, mj in parts.items()}


def energy_columns(space: Space, trial: TrialRecord, num_examples: int | None) -> dict[str, Any]:
    """All energy columns of a trial's row, as `ENERGY_OF_TRIAL` names them."""
    closed, sources = list(trial.joules.closed.values()), trial.sources
    said = [window["columns"] for window in closed] or [sources]
    spent_j, full = joules(trial.energy), projected_full(space, trial)
    start_mj = trial.start_energy.total_mj
    reasons = sources.get("reason", ""), _lost_reason(trial), _unseen_reason(trial)
    return {
        **spent_j,
        "energy_start_j": None if start_mj is None else start_mj / 1000,
        "energy_scope": trial.energy.scope or sources.get("scope", ""),
        "energy_quality": max((_text(one, "energy_quality", "quality") for one in said), default=""),
        "energy_reason": "; ".join(filter(None, reasons)),
        **{name: "+".join(sorted({one[name] for one in said if one.get(name)})) for name in _LABELS},
        **{name: _mean_over_time(closed, name) for name in _MEANS},
        "gpu_power_min_w": min(
            (one["gpu_power_min_w"] for one in said if one.get("gpu_power_min_w") is not None), default=None
        ),
        "gpu_power_max_w": max(
            (one["gpu_power_max_w"] for one in said if one.get("gpu_power_max_w")), default=None
        ),
        "gpu_power_limit_w": said[-1].get("gpu_power_limit_w"),
        "energy_per_example_j": _ratio(spent_j["energy_j"], num_examples),
        "energy_to_best_j": _to_best_j(space, trial),
        "energy_projected_full_j": full.joules if full else None,
        "energy_rungs_j": _rungs_j(trial),
    }


def _rungs_j(trial: TrialRecord) -> float | None:
    """What a ladder of joules has counted."""
    used = trial.rows[-1].used if trial.rows else None
    return None if used is None or used.mj is None else used.mj / 1000


def _to_best_j(space: Space, trial: TrialRecord) -> float | None:
    """What was spent until the best epoch ended, in all attempts."""
    best = trial.best(space.metric, space.mode)
    if best is None:
        return None
    ends = [number for number, row in enumerate(trial.rows, start=1) if row.epoch == best[0]]
    rows = trial.rows[: ends[-1]]
    spent_mj = EnergyReading.sum(row.energy for row in rows).total_mj
    return None if spent_mj is None or any(row.lag_s for row in rows) else spent_mj / 1000


def _unseen_reason(trial: TrialRecord) -> str:
    """What is missing because epochs were shorter than a tick of their sensor."""
    if trial.unseen_parts:
        return f"{', '.join(trial.unseen_parts)}: its epochs were over before the sensor moved once"
    waiting = {kind: sum(kind in row.lag_s for row in trial.rows) for kind in KINDS}
    return "; ".join(
        f"{kind}: without {number} epoch(s) that ended before the sensor moved"
        for kind, number in waiting.items()
        if number
    )


def _lost_reason(trial: TrialRecord) -> str:
    """What to know of attempts whose account nobody could close."""
    if trial.status == "running":
        return ""
    num_lost = len({row.window for row in trial.rows if row.window} - trial.joules.closed.keys())
    return (
        f"the meter of {num_lost} attempt(s) was lost, with the joules since the last epoch"
        if num_lost
        else ""
    )


def _text(columns: Mapping[str, Any], *names: str) -> str:
    return next((columns[name] for name in names if columns.get(name)), "")


def _mean_over_time(windows: Sequence[Mapping[str, Any]], name: str) -> float | None:
    known = [(window["columns"][name], window["seconds"]) for window in windows if name in window["columns"]]
    seconds = sum(lasted_s for _, lasted_s in known)
    return sum(value * lasted_s for value, lasted_s in known) / seconds if seconds else None


def _ratio(part: float | None, whole: float | None) -> float | None:
    return part / whole if part is not None and whole else None
