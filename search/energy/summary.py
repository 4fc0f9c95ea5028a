"""What a window used, and the columns of a trial that this fills. Pure: whoever reads it loads no meter."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from search.energy.reading import End, EnergyReading, EnergySources


@dataclass(frozen=True, kw_only=True)
class EnergySummary:
    """What a window used and how far that is to be trusted; final once the window has ended.

    Attributes:
        end: Why the window ended; empty while it is open.
        seconds: How long it was open, its starts left out; `start_s` is how long these took.
        reading: What the training used; `start` is what its starts used.
        exclusive_fraction: Share of its time alone on its GPUs, or on its CPUs where it has no GPU.
        coverage_frac: Share of its time for which the counters' increments are in its joules.
        gpu_power_mean_w: Mean power of its whole GPUs together while it was open, others' work included.
        gpu_power_max_w: Sum of each GPU's largest sample; `gpu_power_min_w` of each one's smallest.
    """

    trial: str
    end: End
    seconds: float
    reading: EnergyReading
    sources: EnergySources
    start_s: float = 0.0
    start: EnergyReading = field(default_factory=EnergyReading)
    exclusive_fraction: float | None = None
    coverage_frac: float | None = None
    gpu_power_mean_w: float | None = None
    gpu_power_max_w: float | None = None
    gpu_power_min_w: float | None = None
    gpu_util_mean: float | None = None
    gpu_temp_mean_c: float | None = None
    gpu_power_limit_w: float | None = None
    gpu_sm_clock_mean_mhz: float | None = None
    gpu_memory_clock_mean_mhz: float | None = None

    def columns(self) -> dict[str, Any]:
        """The energy columns of trials.csv that the meter knows; None is an empty cell."""
        reading, sources = self.reading, self.sources
        return {
            "energy_j": _joules(reading.total_mj),
            "energy_scope": reading.scope,
            "energy_measured_j": _joules(reading.measured_mj),
            "energy_estimated_j": _joules(reading.estimated_mj),
            "energy_gpu_j": _joules(reading.gpu_mj),
            "energy_gpu_active_j": _joules(reading.gpu_active_mj),
            "energy_gpu_context_j": _joules(reading.gpu_context_mj),
            "energy_gpu_idle_share_j": _joules(reading.gpu_idle_share_mj),
            "energy_gpu_uncertainty_j": _joules(reading.gpu_uncert_mj),
            "gpu_sensor": sources.gpu_sensor,
            "gpu_attribution": sources.gpu_attribution,
            "energy_cpu_j": _joules(reading.cpu_mj),
            "cpu_sensor": sources.cpu_sensor,
            "cpu_attribution": sources.cpu_attribution,
            "energy_dram_j": _joules(reading.dram_mj),
            "energy_quality": sources.quality,
            "exclusive_fraction": self.exclusive_fraction,
            "coverage_frac": self.coverage_frac,
            "gpu_power_mean_w": self.gpu_power_mean_w,
            "gpu_power_min_w": self.gpu_power_min_w,
            "gpu_power_max_w": self.gpu_power_max_w,
            "gpu_util_mean": self.gpu_util_mean,
            "gpu_temp_mean_c": self.gpu_temp_mean_c,
            "gpu_model": sources.gpu_model,
            "gpu_power_limit_w": self.gpu_power_limit_w,
            "gpu_sm_clock_mean_mhz": self.gpu_sm_clock_mean_mhz,
            "gpu_memory_clock_mean_mhz": self.gpu_memory_clock_mean_mhz,
            "gpu_driver_version": sources.gpu_driver_version,
            "cpu_model": sources.cpu_model,
            "cpu_governor": sources.cpu_governor,
        }


def _joules(millijoules: int | None) -> float | None:
    return None if millijoules is None else millijoules / 1000
