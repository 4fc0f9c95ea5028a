"""What a window used and how far that is to be trusted: made by a meter, kept in the journal, read by tables.

Pure: to read it opens no meter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from search.energy.reading import End, EnergyReading, EnergySensors

# The fields that are no joules and no labels; tables have columns of the same names.
STATISTICS = (
    "exclusive_fraction",
    "coverage_fraction",
    "gpu_power_mean_w",
    "gpu_power_max_w",
    "gpu_power_min_w",
    "gpu_power_limit_w",
    "gpu_util_mean",
    "gpu_temp_mean_c",
    "gpu_sm_clock_mean_mhz",
    "gpu_memory_clock_mean_mhz",
)


@dataclass(frozen=True, kw_only=True)
class EnergySummary:
    """One attempt's account with the meter of its node; final once the window has ended.

    Attributes:
        window: Its name, which the rows of the attempt bear too.
        end: Why the window ended; empty while it is open.
        seconds: How long it was open, its starts left out; `start_s` is how long these took.
        reading: What the training used; `start` is what its starts used.
        exclusive_fraction: Share of its time alone on its GPUs, or on its CPUs where it has no GPU.
        coverage_fraction: Share of its time for which the counters' increments are in its joules.
        gpu_power_mean_w: Mean power of its whole GPUs together while it was open, others' work included.
        gpu_power_max_w: Sum of each GPU's largest sample; `gpu_power_min_w` of each one's smallest.
        gpu_util_mean: Mean share of time in which its GPUs were in use, in [0, 1].
    """

    window: str
    trial: str
    end: End
    seconds: float
    reading: EnergyReading
    sensors: EnergySensors
    start_s: float = 0.0
    start: EnergyReading = field(default_factory=EnergyReading)
    exclusive_fraction: float | None = None
    coverage_fraction: float | None = None
    gpu_power_mean_w: float | None = None
    gpu_power_max_w: float | None = None
    gpu_power_min_w: float | None = None
    gpu_power_limit_w: float | None = None
    gpu_util_mean: float | None = None
    gpu_temp_mean_c: float | None = None
    gpu_sm_clock_mean_mhz: float | None = None
    gpu_memory_clock_mean_mhz: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for the journal: whole millijoules, labels and statistics; what is unknown is left out.

        The trial is the event's own and not repeated here.
        """
        statistics = {name: getattr(self, name) for name in STATISTICS}
        return {
            "window": self.window,
            "end": self.end,
            "seconds": round(self.seconds, 3),
            "energy": self.reading.to_dict(),
            "start_s": round(self.start_s, 3),
            "start_energy": self.start.to_dict(),
            "sensors": {name: text for name, text in self.sensors.to_dict().items() if text},
            "statistics": {name: value for name, value in statistics.items() if value is not None},
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> EnergySummary:
        """What `to_dict` gave, from an event that may name the trial."""
        return cls(
            window=plain["window"],
            trial=plain.get("trial") or "",
            end=plain["end"],
            seconds=plain["seconds"],
            reading=EnergyReading(**plain["energy"]),
            start_s=plain["start_s"],
            start=EnergyReading(**plain["start_energy"]),
            sensors=EnergySensors(**plain["sensors"]),
            **plain["statistics"],
        )
